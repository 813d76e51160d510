//! Prints one table: allocations, user-space instructions and system calls per keep-alive GET, and
//! heap per idle connection, of each client, from one run against one server process.
//!
//! `cargo run --release -p fulmar-benches --bin counts [--check] [CLIENT..]`
//!
//! With `--check` it fails where a figure of this library is over its budget, and names it.

use std::alloc::System;
use std::env;
use std::process::ExitCode;

use fulmar_benches::budgets::{Budget, COLUMNS};
use fulmar_benches::clients::{Error, Look};
use fulmar_benches::counts::{IDLE, LOAD};
use fulmar_benches::load::{self, Load, Who};
use fulmar_benches::server::{Process, SERVE, serve};
use fulmar_benches::table::{IDLE_CONNECTIONS, Row};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The argument that asks whether this library keeps to its budgets.
const CHECK: &str = "--check";

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

/// The whole table, or the lines of the clients named. With [`CHECK`] among the names, it fails
/// where ours is over a budget.
fn table(args: &[&str]) -> Result<(), Error> {
    let names = args.iter().filter(|arg| **arg != CHECK);
    let mut clients: Vec<Who> = names.map(|name| client(name)).collect::<Result<_, _>>()?;
    if clients.is_empty() {
        clients = Who::ALL.to_vec();
    }
    let is_checked = args.contains(&CHECK);
    if is_checked && !clients.iter().any(|who| Budget::of(*who).is_some()) {
        return Err(format!("{CHECK} is about this library: none of those has a budget").into());
    }
    let server = Process::start(IDLE_CONNECTIONS)?;
    println!(
        "One keep-alive GET: 200, 8 response headers, 128-byte body, status checked, body read."
    );
    println!("The one thread of the client. n/n/n: instructions / allocations / system calls.\n");
    let names = COLUMNS.map(|column| column.name).join(" | ");
    println!("| client | {names} | idle, bytes |");
    println!("|---|---|---|---|---|");
    let mut excesses = Vec::new();
    for who in clients {
        let row = Row::measure(server.addr(), who);
        println!("{row}");
        if is_checked {
            excesses.extend(row.excesses());
        }
    }
    if excesses.is_empty() {
        Ok(())
    } else {
        Err(excesses.join("\n").into())
    }
}
