//! A day with servers that close idle connections whenever they like.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use fulmar_sim::{Client, Conn, Handle, Limits, Retry, Sim};

use super::support::{assert_quiet, builder, join_all, ms, secs};

const DAY: Duration = secs(86_400);
const HOSTS: u64 = 4;
/// Calls to one host in a row.
const BURST: u64 = 8;

/// What the servers saw.
#[derive(Default)]
struct Seen {
    /// Connections that were closed while they idled.
    closed: AtomicUsize,
    /// Of those, on which a request was under way all the same.
    crossed: AtomicUsize,
}

/// Answers until a connection has idled for as long as was drawn: now with a FIN, and now with a
/// reset. One that was never used is closed as well, after half a second at least.
async fn fickle(mut conn: Conn, seen: Arc<Seen>) -> std::io::Result<()> {
    let mut is_used = false;
    loop {
        // Below a second a client does not learn to be careful, so that closes and requests cross.
        let patience = match conn.uniform(0..3) {
            1 | 2 if is_used => conn.uniform(0..1_000_000),
            _ => conn.uniform(500_000..60_000_000),
        };
        let mut idle = Box::pin(conn.sleep(Duration::from_micros(patience)));
        let request = {
            let mut request = Box::pin(conn.request());
            poll_fn(|cx| {
                if let Poll::Ready(request) = request.as_mut().poll(cx) {
                    return Poll::Ready(Some(request));
                }
                idle.as_mut().poll(cx).map(|()| None)
            })
            .await
        };
        let Some(request) = request else {
            seen.closed.fetch_add(1, Ordering::Relaxed);
            if conn.chance(0.3) {
                conn.reset();
                return Ok(());
            }
            conn.shutdown();
            if !conn.read(1).await?.is_empty() {
                seen.crossed.fetch_add(1, Ordering::Relaxed);
            }
            return Ok(());
        };
        let Some(request) = request? else {
            return Ok(());
        };
        conn.respond(200, request.path()).await?;
        is_used = true;
    }
}

/// A caller who asks one host after another, several times each, by methods that may be repeated;
/// says how many calls it made, and how many attempts too many they took.
async fn caller(client: Client, handle: Handle, number: u64) -> (u64, u32) {
    let (mut calls, mut repeats) = (0, 0);
    while handle.now() < super::support::at(DAY) {
        let url = format!("http://h{}.test/{number}", calls / BURST % HOSTS);
        let request = match calls % 5 {
            0 => client.put(url).body(vec![b'x'; 20_000]),
            1 => client.delete(url),
            2 => client.head(url),
            _ => client.get(url),
        };
        let response = request.retry(Retry::new(1)).send().await;
        let response = response.unwrap_or_else(|error| {
            panic!("a call failed at {:?}: {error}", handle.now());
        });
        repeats += response.attempts() - 1;
        let text = response.text().await.unwrap();
        assert!(calls % 5 == 2 || text == format!("/{number}"));
        calls += 1;
        let is_last = calls % BURST == 0;
        let pause = if is_last { 50_000 } else { 0 };
        handle.sleep(ms(pause + calls * 7_919 % 800)).await;
    }
    (calls, repeats)
}

#[test]
fn not_one_call_that_may_be_repeated_fails_in_a_day_of_servers_that_close_at_random() {
    let mut sim = Sim::seeded(0xDA1);
    sim.limit(DAY + secs(3_600));
    let seen = Arc::new(Seen::default());
    for host in 0..HOSTS {
        let (seen, name) = (seen.clone(), format!("h{host}.test"));
        sim.link("laptop", &name).latency(ms(2)..ms(25));
        sim.serve(&format!("{name}:80"), move |conn| {
            fickle(conn, seen.clone())
        });
    }
    let limits = Limits::new().per_origin(4);
    let client = builder(&sim).limits(limits).build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let callers = (0..2).map(|n| {
            let caller: Pin<Box<dyn Future<Output = _>>> =
                Box::pin(caller(client.clone(), handle.clone(), n));
            caller
        });
        let sums = join_all(callers).await;
        handle.sleep(secs(1)).await;
        assert_quiet(client.gauges());
        sums.into_iter()
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    });
    let (calls, repeats) = *run.expect();
    let (closed, crossed) = (
        seen.closed.load(Ordering::Relaxed),
        seen.crossed.load(Ordering::Relaxed),
    );
    // It means something: requests and closes did cross, again and again.
    assert!(calls > 20_000, "{calls} calls");
    assert!(closed > 1_000, "{closed} closed");
    assert!(crossed > 100, "{crossed} crossed");
    assert!(repeats as usize >= crossed, "{repeats} repeated");
    assert_eq!(run.leaks(), [""; 0]);
}
