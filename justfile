# Names for the project's commands. Each is a line that works without `just`, too.

# Every test, doctests included; arguments are a filter.
test *args:
    .ci/test {{args}}

# Format, clippy and docs with warnings denied; the purity lists bite.
lint:
    .ci/lint

# The documentation; `just docs --open` shows it.
docs *args:
    .ci/docs {{args}}

# All that CI runs.
ci:
    .ci/run

# The story on real sockets, then in the simulator; arguments are URLs of real servers.
tour *args:
    cargo run --release --example tour -- {{args}}

# The tour and the download, on every runtime.
examples:
    .ci/examples

# Retry storms of up to 10,000 clients: tables, the gates, and a chart (`target/fleet.svg`). `just fleet small` takes seconds.
fleet *args:
    cargo run --release --example fleet -- {{args}}

# Wall time beside hyper and reqwest.
bench *args:
    cargo bench -p fulmar-benches {{args}}

# Allocations, instructions, system calls and idle memory, beside hyper and reqwest; `just counts pool`: 100,000 routes, 16 threads.
counts *args:
    cargo run --release -p fulmar-benches --bin counts -- {{args}}

# So many random pairs of client and plan, from a seed on; CI plays 5,000.
swarm pairs='100000' from='0':
    SWARM={{pairs}} SWARM_FROM={{from}} cargo test --release -p fulmar-tests --test swarm -- --nocapture

# So many random operations on the pool and on a naive model of it, with equal outcomes; CI compares 100,000.
pool-model operations='1000000':
    POOL_OPERATIONS={{operations}} cargo test --release -p fulmar-tests --test pool_properties the_pool_agrees -- --nocapture

# Each planted bug in a copy of the tree: the swarm or the suite must find it.
planted *patches:
    .ci/planted {{patches}}

# Each mutant of the core's machines: some test must fail. Hours; `just mutants --re Queue` takes minutes. Needs cargo-mutants.
mutants *args:
    cargo mutants -p fulmar-core {{args}}

# Each fuzz target for 60 seconds, or those named. Nightly and cargo-fuzz.
fuzz *targets:
    .ci/fuzz {{targets}}

# Licences, bans, advisories and sources of every dependency. Needs cargo-deny.
deny:
    cargo deny --all-features check
