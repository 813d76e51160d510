//! Prints one table: allocations, user-space instructions and system calls per keep-alive GET, and
//! heap per idle connection, of each client, from one run against one server process.
//!
//! `cargo run --release -p fulmar-benches --bin counts [--check] [CLIENT..]`
//!
//! `.. --bin counts pool [--check]` prints what the pool takes beside many routes instead, what ten
//! thousand idle connections take, and how long threads that share a client wait for each other.
//!
//! With `--check` it fails where a figure of this library is over its budget, and names it. The
//! threads have none: their waits depend on the machine.

use std::alloc::System;
use std::env;
use std::process::ExitCode;

use fulmar_benches::budgets::{Budget, COLUMNS};
use fulmar_benches::clients::{Error, Look};
use fulmar_benches::counts::{self, IDLE, LOAD};
use fulmar_benches::load::{self, Load, Who};
use fulmar_benches::pool::{self, Work};
use fulmar_benches::server::{Process, SERVE, serve};
use fulmar_benches::table::{IDLE_CONNECTIONS, Row};
use fulmar_benches::threads::{CROWD, Crowd, THREADS, busy};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The argument that asks whether this library keeps to its budgets.
const CHECK: &str = "--check";

/// The argument that asks for the pool's table.
const POOL: &str = "pool";

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
        [pool::WORK, routes, pairs] => work(routes, pairs),
        [pool::HEAP, routes] => heap(routes),
        [CROWD, addr, threads, requests] => crowd(addr, threads, requests),
        [POOL] => pool_table(false),
        [POOL, CHECK] => pool_table(true),
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
    println!(
        "{}",
        load::idle(client(who)?, addr.parse()?, count.parse()?, live)?
    );
    Ok(())
}

/// Bytes of heap that are allocated now.
fn live() -> isize {
    let stats = ALLOCATOR.stats();
    stats
        .bytes_allocated
        .wrapping_sub(stats.bytes_deallocated)
        .cast_signed()
}

/// In a process of its own: checkouts and parks, and prints their allocations.
fn work(routes: &str, pairs: &str) -> Result<(), Error> {
    let work = Work {
        routes: routes.parse()?,
        pairs: pairs.parse()?,
    };
    let allocations = || {
        let stats = ALLOCATOR.stats();
        stats.allocations + stats.reallocations
    };
    println!("{}", work.run(allocations)?);
    Ok(())
}

/// In a process of its own: prints the bytes of routes without and with idle connections.
fn heap(routes: &str) -> Result<(), Error> {
    let [bare, full] = pool::heap(routes.parse()?, live)?;
    println!("{bare} {full}");
    Ok(())
}

/// In a process of its own: threads that share a client; prints the seconds, and those of a processor.
fn crowd(addr: &str, threads: &str, requests: &str) -> Result<(), Error> {
    let crowd = Crowd {
        threads: threads.parse()?,
        requests: requests.parse()?,
    };
    let before = busy()?;
    let elapsed = crowd.run(addr.parse()?)?.as_secs_f64();
    println!("{elapsed} {}", busy()?.saturating_sub(before).as_secs_f64());
    Ok(())
}

/// The pool beside many routes, ten thousand idle connections, and many threads.
fn pool_table(is_checked: bool) -> Result<(), Error> {
    println!("One checkout and its park, of the pool alone; each route has one idle connection.\n");
    println!(
        "| routes | instructions | allocations of 101,000 | bytes per route | with one idle | MB in all |"
    );
    println!("|---|---|---|---|---|---|");
    let mut excesses = Vec::new();
    let mut least = None;
    for routes in pool::ROUTES {
        let row = pool::Row::measure(routes);
        println!("{row}");
        let least = *least.get_or_insert(row.instructions().unwrap_or(0.0));
        excesses.extend(row.excesses(least));
    }
    let server = Process::start(IDLE_CONNECTIONS)?;
    println!("\n{IDLE_CONNECTIONS} idle connections, bytes of heap each:\n");
    println!("| client | bytes |\n|---|---|");
    for who in [Who::Fulmar, Who::Hyper, Who::Reqwest] {
        let bytes = counts::idle(server.addr(), who, IDLE_CONNECTIONS);
        match &bytes {
            Ok(bytes) => println!("| {} | {bytes} |", who.as_str()),
            Err(missing) => println!("| {} | {missing} |", who.as_str()),
        }
        if let Some(most) = Budget::of(who).map(|budget| budget.idle_bytes)
            && !bytes.as_ref().is_ok_and(|bytes| *bytes <= most)
        {
            excesses.push(format!("{}: idle: the budget is {most}", who.as_str()));
        }
    }
    let crowd = Crowd {
        threads: THREADS,
        requests: 2_000,
    };
    println!("\n{THREADS} threads, each with a runtime of its own, share one client:\n");
    match crowd.measure(server.addr()) {
        Ok(waits) => {
            let held = pool::held()?;
            let share = held.as_secs_f64() / waits.get.as_secs_f64();
            println!(
                "{:.4} waits for a lock per GET, {:.2} % of the threads' time.",
                waits.per_get,
                100.0 * waits.share
            );
            println!(
                "A checkout and its park: {held:?} of the {:?} of processor time that a GET takes, {:.2} %.",
                waits.get,
                100.0 * share
            );
        }
        Err(missing) => println!("{missing}"),
    }
    if is_checked && !excesses.is_empty() {
        return Err(excesses.join("\n").into());
    }
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
