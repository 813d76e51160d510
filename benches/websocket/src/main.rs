//! Prints one table: user-space instructions, allocations and system calls per message, and heap per
//! idle connection, of each client, from one run against one server process.
//!
//! `cargo run --release --manifest-path benches/websocket/Cargo.toml [-- [--check] [CLIENT..]]`
//!
//! With `--check` it fails where a figure of this library is over its budget, and names it.

use std::alloc::System;
use std::env;
use std::net::SocketAddr;
use std::process::ExitCode;

use fulmar_benches::server::{Process, SERVE};
use fulmar_websocket_benches::pattern::{self, Pattern};
use fulmar_websocket_benches::peers::{self, Error, Peer};
use fulmar_websocket_benches::server::serve;
use fulmar_websocket_benches::table::{IDLE, PLAY, Row, excesses, heading};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The argument that asks whether this library keeps to its budgets.
const CHECK: &str = "--check";

/// What counts the bytes of heap in use.
type Heap = fn() -> isize;

/// What a client can be asked for.
struct Client {
    name: &'static str,
    run: fn(Pattern, SocketAddr, usize) -> Result<(), Error>,
    idle: fn(SocketAddr, usize, Heap) -> Result<isize, Error>,
}

const fn client<P: Peer>() -> Client {
    Client {
        name: P::NAME,
        run: |pattern, addr, messages| pattern.run::<P>(addr, messages),
        idle: pattern::idle::<P>,
    }
}

/// Everybody, in the order of the table.
const CLIENTS: [Client; 7] = [
    client::<peers::ours::Ours>(),
    client::<peers::bare::Bare>(),
    client::<peers::tungstenite::Tungstenite>(),
    client::<peers::fastwebsockets::Fastwebsockets>(),
    client::<peers::tokio_websockets::TokioWebsockets>(),
    client::<peers::yawc::Yawc>(),
    client::<peers::sockudo::Sockudo>(),
];

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        [SERVE] => serve().map_err(Error::from),
        [PLAY, addr, name, pattern, messages] => play(addr, name, pattern, messages),
        [IDLE, addr, name, count] => hold(addr, name, count),
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

/// In the client's process: plays, and prints the allocations of its whole life.
fn play(addr: &str, name: &str, pattern: &str, messages: &str) -> Result<(), Error> {
    let pattern = Pattern::named(pattern).ok_or("unknown pattern")?;
    (named(name)?.run)(pattern, addr.parse()?, messages.parse()?)?;
    let stats = ALLOCATOR.stats();
    println!("{}", stats.allocations + stats.reallocations);
    Ok(())
}

/// In the client's process: holds idle connections, and prints the bytes for each.
fn hold(addr: &str, name: &str, count: &str) -> Result<(), Error> {
    let live = || {
        let stats = ALLOCATOR.stats();
        stats
            .bytes_allocated
            .wrapping_sub(stats.bytes_deallocated)
            .cast_signed()
    };
    println!(
        "{}",
        (named(name)?.idle)(addr.parse()?, count.parse()?, live)?
    );
    Ok(())
}

fn named(name: &str) -> Result<&'static Client, Error> {
    let known = || CLIENTS.each_ref().map(|client| client.name).join(", ");
    let found = CLIENTS.iter().find(|client| client.name == name);
    found.ok_or_else(|| format!("unknown client {name}; there are {}", known()).into())
}

/// The whole table, or the lines of the clients named.
fn table(args: &[&str]) -> Result<(), Error> {
    let names = args.iter().filter(|arg| **arg != CHECK);
    let mut clients: Vec<&Client> = names.map(|name| named(name)).collect::<Result<_, _>>()?;
    if clients.is_empty() {
        clients = CLIENTS.iter().collect();
    }
    let server = Process::with_args(&[SERVE])?;
    println!(
        "Per message, one thread: instructions / allocations / system calls.\n\n{}",
        heading()
    );
    let mut rows = Vec::new();
    for client in clients {
        let row = Row::measure(server.addr(), client.name);
        println!("{row}");
        rows.push(row);
    }
    let excesses = excesses(&rows);
    if !args.contains(&CHECK) || excesses.is_empty() {
        Ok(())
    } else {
        Err(excesses.join("\n").into())
    }
}
