//! Wall time of one echo on loopback, for the ratio between clients of one run.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group};
use fulmar_benches::server::{Process, SERVE};
use fulmar_websocket_benches::pattern::Pattern;
use fulmar_websocket_benches::peers::{self, Error, Peer};
use fulmar_websocket_benches::server::serve;
use tokio::runtime::{Builder, Runtime};

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn echo(criterion: &mut Criterion) {
    let server = Process::with_args(&[SERVE]).expect("a server process");
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for len in [64, 64 * 1024, 1024 * 1024] {
        let mut group = criterion.benchmark_group(format!("echo-{len}"));
        group.throughput(Throughput::Bytes(len as u64));
        bench::<peers::bare::Bare>(&mut group, &runtime, server.addr(), len);
        bench::<peers::ours::Ours>(&mut group, &runtime, server.addr(), len);
        bench::<peers::tungstenite::Tungstenite>(&mut group, &runtime, server.addr(), len);
        bench::<peers::fastwebsockets::Fastwebsockets>(&mut group, &runtime, server.addr(), len);
        bench::<peers::tokio_websockets::TokioWebsockets>(&mut group, &runtime, server.addr(), len);
        bench::<peers::yawc::Yawc>(&mut group, &runtime, server.addr(), len);
        bench::<peers::sockudo::Sockudo>(&mut group, &runtime, server.addr(), len);
        group.finish();
    }
}

fn bench<P: Peer>(group: &mut Group<'_>, runtime: &Runtime, addr: SocketAddr, len: usize) {
    group.bench_function(BenchmarkId::from_parameter(P::NAME), |bencher| {
        bencher.iter_custom(|iterations| {
            let timed = runtime.spawn(time::<P>(addr, len, iterations as usize));
            runtime
                .block_on(timed)
                .expect("no panic")
                .expect("every echo comes")
        });
    });
}

/// How long so many echoes take on a connection that is warm.
async fn time<P: Peer>(addr: SocketAddr, len: usize, echoes: usize) -> Result<Duration, Error> {
    let mut peer = P::open(addr, "/").await?;
    let pattern = Pattern::PingPong(len);
    pattern.play(&mut peer, 2).await?;
    let start = Instant::now();
    pattern.play(&mut peer, echoes).await?;
    Ok(start.elapsed())
}

criterion_group!(benches, echo);

fn main() {
    if std::env::args().any(|arg| arg == SERVE) {
        serve().expect("a server");
        return;
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
