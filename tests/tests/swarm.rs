//! Thousands of random clients under random plans of faults.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use fulmar_sim::{Fault, Plan};
use fulmar_tests::swarm;

/// How many pairs `SWARM` asks for, from `SWARM_FROM` on.
fn pairs() -> std::ops::Range<u64> {
    let number = |name, default| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number of pairs"))
    };
    let from = number("SWARM_FROM", 0);
    from..from + number("SWARM", 5_000)
}

#[test]
fn whatever_happens_calls_end_in_time_nothing_leaks_and_nothing_is_replayed() {
    const BATCH: u64 = 25;
    let pairs = pairs();
    let next = AtomicU64::new(pairs.start);
    let work = || {
        let mut ends = [0; 3];
        loop {
            let from = next.fetch_add(BATCH, Ordering::Relaxed);
            if from >= pairs.end {
                return ends;
            }
            let tally = swarm::check_seeds(from..pairs.end.min(from + BATCH));
            ends[0] += tally.answered;
            ends[1] += tally.failed;
            ends[2] += tally.cancelled;
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let ends = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined = workers.into_iter().map(thread::ScopedJoinHandle::join);
        joined.fold([0; 3], |sum, ends| {
            let ends = ends.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            [0, 1, 2].map(|n| sum[n] + ends[n])
        })
    });
    let [answered, failed, cancelled] = ends;
    println!("{answered} answered, {failed} failed, {cancelled} cancelled");
    // A swarm in which everything fails, or nothing, proves little.
    let all = answered + failed + cancelled;
    assert!(
        answered > all / 4 && failed > all / 20 && cancelled > all / 50,
        "{ends:?}"
    );
}

#[test]
fn a_failing_pair_is_made_small_and_printed_as_a_test() {
    let ms = Duration::from_millis;
    let reset = (ms(20)..ms(30), Fault::reset("a.test"));
    let others = [
        Fault::refuse("b.test"),
        Fault::segment("a.test", 7),
        Fault::down("a.test"),
    ];
    let mut plan: Vec<_> = others
        .into_iter()
        .map(|fault| (ms(1)..ms(9), fault))
        .collect();
    plan.insert(2, reset.clone());
    let small = swarm::minimal(&plan.into(), |plan| plan.contains(&reset));
    assert_eq!(small, Plan::from(vec![reset]));
    let text = swarm::failing_test(7, &small);
    assert!(
        text.contains("fulmar_tests::swarm::check(7, &plan);"),
        "{text}"
    );
    assert!(text.contains("Fault::reset(\"a.test\")"), "{text}");
}
