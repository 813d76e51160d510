//! Prints one table: allocations, user-space instructions and system calls per keep-alive GET, and
//! heap per idle connection, of each client, from one run against one server process.
//!
//! `cargo run --release -p fulmar-benches --bin counts [CLIENT..]`

use std::alloc::System;
use std::env;
use std::fmt::Display;
use std::process::ExitCode;

use fulmar_benches::clients::{Error, Look};
use fulmar_benches::counts::{Count, IDLE, LOAD, Missing, Subject, idle};
use fulmar_benches::load::{self, Load, Who};
use fulmar_benches::server::{Process, SERVE, serve};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How many idle connections are held for the last column.
const IDLE_CONNECTIONS: usize = 10_000;

/// How many GETs are in flight in the second half of the table.
const AT_ONCE: usize = 64;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        [SERVE, gather] => gather
            .parse()
            .map_err(Error::from)
            .and_then(|n| Ok(serve(n)?)),
        [LOAD, addr, who, look, requests, at_once] => child(addr, who, look, requests, at_once),
        [IDLE, addr, who, count] => hold(addr, who, count),
        _ => table(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// In the client's process: does the load, and prints the allocations of its whole life.
fn child(addr: &str, who: &str, look: &str, requests: &str, at_once: &str) -> Result<(), Error> {
    let load = Load {
        who: client(who)?,
        look: if look == "headers" {
            Look::Headers
        } else {
            Look::Body
        },
        requests: requests.parse()?,
        concurrency: at_once.parse()?,
    };
    load.run(addr.parse()?)?;
    let stats = ALLOCATOR.stats();
    println!("{}", stats.allocations + stats.reallocations);
    Ok(())
}

/// In the client's process: holds idle connections, and prints the bytes for each.
fn hold(addr: &str, who: &str, count: &str) -> Result<(), Error> {
    let live = || {
        let stats = ALLOCATOR.stats();
        stats
            .bytes_allocated
            .wrapping_sub(stats.bytes_deallocated)
            .cast_signed()
    };
    println!(
        "{}",
        load::idle(client(who)?, addr.parse()?, count.parse()?, live)?
    );
    Ok(())
}

fn client(name: &str) -> Result<Who, Error> {
    let known = || Who::ALL.map(Who::as_str).join(", ");
    let found = Who::ALL.into_iter().find(|who| who.as_str() == name);
    found.ok_or_else(|| format!("unknown client {name}; there are {}", known()).into())
}

/// The whole table, or the lines of the clients named.
fn table(names: &[&str]) -> Result<(), Error> {
    let clients = match names {
        [] => Who::ALL.to_vec(),
        names => names
            .iter()
            .map(|name| client(name))
            .collect::<Result<_, _>>()?,
    };
    let server = Process::start(IDLE_CONNECTIONS)?;
    println!(
        "One keep-alive GET: 200, 8 response headers, 128-byte body, status checked, body read."
    );
    println!(
        "Client process only, one thread. n/n/n: instructions / allocations / system calls.\n"
    );
    println!("| client | one at a time | {AT_ONCE} at once | with headers | idle, bytes |");
    println!("|---|---|---|---|---|");
    for who in clients {
        let cell = |look, concurrency| {
            let subject = Subject {
                addr: server.addr(),
                who,
                look,
                concurrency,
            };
            let [instructions, allocations, syscalls] =
                [Count::Instructions, Count::Allocations, Count::Syscalls]
                    .map(|c| subject.per_get(c));
            format!(
                "{} / {} / {}",
                show(instructions, |n| format!("{n:.0}")),
                show(allocations, |n| format!("{:.2}", n.max(0.0))),
                show(syscalls, |n| format!("{n:.2}")),
            )
        };
        println!(
            "| {} | {} | {} | {} | {} |",
            who.as_str(),
            cell(Look::Body, 1),
            cell(Look::Body, AT_ONCE),
            if who == Who::Bare {
                "-".into()
            } else {
                cell(Look::Headers, 1)
            },
            show(idle(server.addr(), who, IDLE_CONNECTIONS), |n| n
                .to_string()),
        );
    }
    Ok(())
}

fn show<T>(number: Result<T, Missing>, format: impl Fn(T) -> String) -> impl Display {
    number.map_or_else(|missing| missing.to_string(), format)
}
