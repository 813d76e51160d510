//! Wall time of one keep-alive GET on loopback, for the ratio between clients of one run.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group};
use fulmar_benches::clients::bare::Bare;
use fulmar_benches::clients::hyper::Hyper;
use fulmar_benches::clients::ours::Ours;
use fulmar_benches::clients::reqwest::Reqwest;
use fulmar_benches::clients::{Client, Error, Look};
use fulmar_benches::server::{Process, SERVE, serve};
use fulmar_tokio::Tokio;
use tokio::runtime::{Builder, Runtime};

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn one_at_a_time(criterion: &mut Criterion) {
    let server = Process::start(1).expect("a server process");
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut group = criterion.benchmark_group("get");
    bench::<Bare>(&mut group, "bare", &runtime, server.addr());
    bench::<Hyper>(&mut group, "hyper", &runtime, server.addr());
    bench::<Ours<Tokio>>(&mut group, "fulmar", &runtime, server.addr());
    bench::<Reqwest>(&mut group, "reqwest", &runtime, server.addr());
    group.finish();
}

fn bench<C: Client>(group: &mut Group<'_>, name: &str, runtime: &Runtime, addr: SocketAddr) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            // In a task, as `load` has it.
            let timed = runtime.spawn(time::<C>(addr, iterations));
            runtime
                .block_on(timed)
                .expect("no panic")
                .expect("every GET succeeds")
        });
    });
}

/// How long `iterations` GETs take on a connection that is warm.
async fn time<C: Client>(addr: SocketAddr, iterations: u64) -> Result<Duration, Error> {
    let shared = C::shared(addr)?;
    let mut client = C::open(&shared).await?;
    client.get("/users/1", Look::Body).await?;
    let start = Instant::now();
    for _ in 0..iterations {
        client.get("/users/1", Look::Body).await?;
    }
    Ok(start.elapsed())
}

criterion_group!(benches, one_at_a_time);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [first, gather] = &args[..]
        && first == SERVE
    {
        serve(gather.parse().expect("a number")).expect("a port");
        return;
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
