//! Connections that are killed while a whole client is at work on them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fulmar_sim::{
    Backoff, Client, Fault, Instant, Jitter, Limits, Retry, Sim, StopReason, Timeouts,
};

use super::super::script::Script;

const fn ms(millis: usize) -> Duration {
    Duration::from_millis(millis as u64)
}

/// So many requests go well first, and fill the retry budget.
const FIRST: usize = 100;
/// By then they have ended.
const WARM: Duration = ms(2_000);

/// What came of a play.
#[derive(Clone, Copy, Debug, Default)]
pub struct Killed {
    /// Attempts that the origin saw beyond one for each request.
    pub repeats: usize,
    /// Requests.
    pub requests: usize,
    /// Those of them that the retry budget let fail: too many died with them.
    pub over_budget: usize,
}

/// What the origin does with a request.
#[derive(Clone, Copy, Debug)]
enum Act {
    Answer,
    /// Answers, and closes after so long.
    Last(Duration),
    Close,
    Reset,
    /// Breaks off within the head.
    Torn,
}

/// I3.9: however connections are killed, while they are dialled, idle, at work or drained, no
/// request fails that may be repeated and has attempts, budget and time left.
///
/// # Panics
///
/// Where it does not hold.
pub fn i3_9_a_killed_connection_fails_no_request(data: &[u8]) -> Killed {
    let mut script = Script::new(data);
    let per_origin = 1 + script.below(3) as u32;
    let acts: Vec<_> = (0..script.below(12)).map(|_| act(&mut script)).collect();
    let faults: Vec<_> = (0..script.below(4)).map(|_| kill(&mut script)).collect();
    let starts: Vec<_> = (0..=script.below(8))
        .map(|_| WARM + ms(script.below(256) * 4))
        .collect();
    let mut sim = Sim::seeded(u64::from(script.byte()));
    let seen = serve(&sim, &acts);
    sim.plan(&faults);
    // Each act and each fault costs a request a few attempts at most.
    let rest = Backoff::constant(ms(40)).jitter(Jitter::None);
    let client = Client::builder(sim.net("laptop"))
        .retry(Retry::new(100).backoff(rest).throttle(rest))
        .limits(Limits::new().per_origin(per_origin))
        // Longer than the wait for the next dial after connections that ended before a response.
        .timeouts(Timeouts::new().pool(Duration::from_secs(30)))
        .build()
        .expect("settings that go together");
    sim.watch(&client);
    let ends = Arc::new(Mutex::new(Vec::new()));
    let (handle, calls, told) = (sim.handle(), starts.len(), Arc::clone(&ends));
    let run = sim.run(async move {
        for _ in 0..FIRST {
            let first = client.get("http://api.test/").send().await;
            first.expect("nothing is killed yet");
        }
        assert!(handle.now() < Instant::ORIGIN + WARM);
        for start in starts {
            let (client, timer, ends) = (client.clone(), handle.clone(), Arc::clone(&told));
            handle.spawn(async move {
                timer.sleep_until(Instant::ORIGIN + start).await;
                let end = client.get("http://api.test/").send().await;
                let end = end.map(|response| response.status().as_u16());
                ends.lock().expect("nobody panics under it").push(end);
            });
        }
        handle.sleep(Duration::from_secs(60)).await;
    });
    run.expect();
    let ends = ends.lock().expect("nobody panics under it");
    assert_eq!(ends.len(), calls, "every request ends");
    let over_budget = ends.iter().filter(|end| match end {
        Ok(status) => {
            assert_eq!(*status, 200);
            false
        }
        Err(error) => {
            let stop = error.retry_stop_reason();
            let is_short = stop == Some(StopReason::BudgetEmpty);
            assert!(is_short, "{error:?}: {acts:?}, {faults:?}");
            true
        }
    });
    let over_budget = over_budget.count();
    Killed {
        repeats: seen.load(Ordering::Relaxed).saturating_sub(FIRST + calls),
        requests: calls,
        over_budget,
    }
}

fn act(script: &mut Script<'_>) -> Act {
    match script.below(6) {
        0 => Act::Close,
        1 => Act::Reset,
        2 => Act::Torn,
        3 => Act::Last(ms(script.below(200))),
        _ => Act::Answer,
    }
}

fn kill(script: &mut Script<'_>) -> (std::ops::Range<Duration>, Fault) {
    let start = WARM + ms(script.below(256) * 4);
    let target = "api.test";
    let fault = match script.below(3) {
        0 => Fault::refuse(target),
        1 => Fault::reset(target),
        _ => Fault::down(target),
    };
    (start..start + ms(1 + script.below(200)), fault)
}

/// The n-th request over all connections is treated as the n-th act says, and later ones well.
fn serve(sim: &Sim, acts: &[Act]) -> Arc<AtomicUsize> {
    let (acts, count) = (acts.to_vec(), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&count);
    sim.serve("api.test:80", move |mut conn| {
        let (acts, count) = (acts.clone(), Arc::clone(&count));
        async move {
            while conn.request_head().await?.is_some() {
                let place = count.fetch_add(1, Ordering::Relaxed);
                let act = place.checked_sub(FIRST).and_then(|place| acts.get(place));
                match act.copied().unwrap_or(Act::Answer) {
                    Act::Answer => conn.respond(200, "a body").await?,
                    Act::Last(after) => {
                        conn.respond(200, "a body").await?;
                        conn.sleep(after).await;
                        return Ok(());
                    }
                    Act::Close => return Ok(()),
                    Act::Reset => {
                        conn.reset();
                        return Ok(());
                    }
                    Act::Torn => {
                        conn.write_all("HTTP/1.1 200 O").await?;
                        return Ok(());
                    }
                }
            }
            Ok(())
        }
    });
    seen
}
