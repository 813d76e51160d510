//! The retry budget is charged for the retries that are made, wherever calls are dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fulmar_sim::{Backoff, Client, Handle, Jitter, Limits, Retry, Sim};

use crate::harness::Act;
use crate::support::{PollTimes, builder, ms, secs, text};

/// Fails every request but those for `/fine`, at once; says how many there were.
fn failing(sim: &Sim) -> Arc<AtomicU32> {
    let count = Arc::new(AtomicU32::new(0));
    let requests = count.clone();
    sim.serve("api.test:80", move |mut conn| {
        let requests = requests.clone();
        async move {
            while let Some(request) = conn.request().await? {
                if request.path() == "/fine" {
                    conn.sleep(ms(20)).await;
                    conn.respond(200, "").await?;
                    continue;
                }
                requests.fetch_add(1, Ordering::Relaxed);
                conn.respond(503, "").await?;
            }
            Ok(())
        }
    });
    count
}

/// Tokens that a retry could have, in thousandths.
fn tokens(client: &Client) -> u32 {
    let get = client.get("http://api.test/");
    client.explain(&get).unwrap().retry.tokens
}

fn retrying(client: &Client) -> Act {
    let backoff = Backoff::constant(ms(100)).jitter(Jitter::None);
    let get = client
        .get("http://api.test/")
        .retry(Retry::new(3).backoff(backoff));
    Box::pin(async move { drop(get.send().await) })
}

/// Before its end, it was dropped after so many polls: what was charged for and what was sent.
fn charged(polls: usize, rival: bool) -> (u32, u32, bool) {
    let mut sim = Sim::seeded(1);
    let requests = failing(&sim);
    let limits = Limits::new().per_origin(1);
    let client = builder(&sim).limits(limits).build().unwrap();
    let handle: Handle = sim.handle();
    let run = sim.run(async move {
        let before = tokens(&client);
        assert_eq!(before, 3_000);
        if rival {
            // The only place is another's when the rest is over.
            let (client, handle) = (client.clone(), handle.clone());
            handle.clone().spawn(async move {
                handle.sleep(ms(90)).await;
                text(&client, "http://api.test/fine").await.unwrap();
            });
        }
        let done = PollTimes::new(polls, retrying(&client)).await.is_some();
        handle.sleep(secs(1)).await;
        (before - tokens(&client), done)
    });
    let (spent, done) = *run.expect();
    // Success gives a tenth back, and time a hundredth a second.
    let retries = (spent + 200) / 1_000;
    (retries, requests.load(Ordering::Relaxed), done)
}

#[test]
fn a_retry_that_is_dropped_before_it_is_sent_costs_nothing() {
    for rival in [false, true] {
        let mut unsent = 0;
        for polls in 1.. {
            let (retries, requests, done) = charged(polls, rival);
            assert_eq!(
                retries,
                requests.saturating_sub(1),
                "{polls} polls, rival: {rival}"
            );
            unsent += usize::from(requests == 1);
            if done {
                assert_eq!(requests, 3);
                break;
            }
        }
        assert!(unsent >= 2, "it was dropped in its rest");
    }
}
