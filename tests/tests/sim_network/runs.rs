//! When a run ends, and what it leaves.

use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use fulmar_sim::net::Net;
use fulmar_sim::{Failure, Handle, Sim};

use crate::support::{connect, echoing, exchange, ms, read};

const SECOND: Duration = Duration::from_secs(1);

async fn tick(handle: Handle) {
    loop {
        handle.sleep(SECOND).await;
    }
}

/// The message of a panic.
fn panic_of(f: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(f)).expect_err("it did not panic");
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn waiting_for_nothing_is_a_deadlock() {
    let (mut sim, net) = echoing(1);
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        read(&mut socket).await.unwrap()
    });
    let names = vec!["server of laptop>api.test:80#1".to_owned()];
    assert_eq!(run.failure(), Some(&Failure::Deadlock(names)));
    let report = panic_of(|| {
        run.expect();
    });
    assert!(
        report.contains("deadlock") && report.contains("Sim::seeded(0x1)"),
        "{report}"
    );
    assert!(
        report.contains("laptop>api.test:80#1 is established"),
        "{report}"
    );
}

#[test]
fn a_timer_set_to_never_is_not_waited_for() {
    let mut sim = Sim::seeded(1);
    let net = sim.net("laptop");
    let run = sim.run(async move { net.sleep(fulmar_core::time::Instant::MAX).await });
    assert_eq!(run.failure(), Some(&Failure::Deadlock(vec![])));
}

#[test]
fn idle_timers_alone_do_not_keep_a_run_going() {
    let mut sim = Sim::seeded(1);
    sim.spawn(tick(sim.handle()));
    let run = sim.run(pending::<()>());
    assert_eq!(
        run.failure(),
        Some(&Failure::Stalled(vec!["spawned".to_owned()]))
    );
    assert!(
        run.elapsed() < Duration::from_secs(302),
        "{:?}",
        run.elapsed()
    );
}

#[test]
fn a_main_future_that_sleeps_is_not_stalled() {
    let mut sim = Sim::seeded(1);
    sim.spawn(tick(sim.handle()));
    let nap = sim.sleep(SECOND * 3000);
    let run = sim.run(nap);
    run.expect();
    assert_eq!(run.elapsed(), SECOND * 3000);
}

#[test]
fn a_run_ends_at_its_limit_of_virtual_time() {
    let mut sim = Sim::seeded(1);
    sim.limit(SECOND * 10);
    let handle = sim.handle();
    let run = sim.run(tick(handle));
    assert_eq!(run.failure(), Some(&Failure::TimeLimit(SECOND * 10)));
    assert_eq!(run.elapsed(), SECOND * 10);
}

#[test]
fn a_task_that_wakes_itself_for_ever_is_found() {
    let mut sim = Sim::seeded(1);
    let run = sim.run(poll_fn::<(), _>(|cx| {
        cx.waker().wake_by_ref();
        Poll::Pending
    }));
    assert_eq!(run.failure(), Some(&Failure::Livelock));
}

#[test]
fn a_panic_anywhere_fails_the_run() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |_conn| async { panic!("no {}", "luck") });
    let net = sim.net("laptop");
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        exchange(&mut socket, b"hello").await.unwrap()
    });
    let task = "server of laptop>api.test:80#1".to_owned();
    assert_eq!(
        run.failure(),
        Some(&Failure::Panicked(task, "no luck".to_owned()))
    );
    let run = sim.run(async { assert_eq!(1, 2, "numbers differ") });
    assert!(
        run.failure()
            .is_some_and(|failure| failure.to_string().contains("numbers differ"))
    );
}

#[test]
fn a_failure_that_nobody_looks_at_is_not_lost() {
    let report = panic_of(|| {
        let run = Sim::seeded(1).run(pending::<()>());
        drop(run);
    });
    assert!(
        report.contains("nobody looked at a failed run: deadlock"),
        "{report}"
    );
}

/// Says when it is dropped.
struct Guard(
    &'static str,
    Arc<Mutex<Vec<&'static str>>>,
    fulmar_sim::SimNet,
);

impl Drop for Guard {
    fn drop(&mut self) {
        // Whoever is dropped may use the world: its lock is free.
        let _ = self.2.now();
        self.2
            .spawn(Box::pin(async { unreachable!("the run is over") }));
        self.1
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(self.0);
    }
}

#[test]
fn what_is_left_is_dropped_in_the_order_in_which_it_was_spawned() {
    let mut sim = Sim::seeded(1);
    let net = sim.net("laptop");
    let order = Arc::new(Mutex::new(Vec::new()));
    let guard = |name| Guard(name, Arc::clone(&order), net.clone());
    for name in ["first", "second", "third"] {
        let guard = guard(name);
        sim.spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        });
    }
    let (main, handle, late) = (guard("main"), sim.handle(), guard("late"));
    let run = sim.run(async move {
        let _main = main;
        handle.sleep(SECOND).await;
        handle.spawn(async move {
            let _late = late;
            pending::<()>().await;
        });
    });
    run.expect();
    assert_eq!(
        *order.lock().unwrap(),
        ["main", "first", "second", "third", "late"]
    );
}

#[test]
fn woken_tasks_run_in_the_order_of_their_wakes() {
    let mut sim = Sim::seeded(1);
    let order = Arc::new(Mutex::new(Vec::new()));
    for (name, delay) in [("b", 20), ("a", 10), ("c", 20)] {
        let (order, nap) = (Arc::clone(&order), sim.sleep(ms(delay)));
        sim.spawn(async move {
            nap.await;
            order.lock().unwrap().push(name);
        });
    }
    let nap = sim.sleep(SECOND);
    sim.run(nap).expect();
    assert_eq!(*order.lock().unwrap(), ["a", "b", "c"]);
}

#[test]
fn sockets_that_outlive_the_run_are_reported() {
    let (mut sim, net) = echoing(1);
    let run = sim.run(async move { connect(&net, "api.test").await.unwrap() });
    assert_eq!(run.open_sockets(), 1);
    assert_eq!(run.leaks(), ["10.0.0.2:49152 to 10.0.0.1:80"]);
}

#[test]
fn time_goes_on_from_run_to_run_and_servers_stay() {
    let (mut sim, net) = echoing(1);
    let start = net.wall();
    for round in 1..=3 {
        let net = net.clone();
        let run = sim.run(async move {
            let mut socket = connect(&net, "api.test").await.unwrap();
            exchange(&mut socket, b"hello").await.unwrap()
        });
        assert_eq!(run.expect(), b"hello");
        assert_eq!(run.elapsed(), ms(41));
        assert_eq!(sim.now().since_origin(), ms(41) * round);
    }
    assert_eq!(net.wall().duration_since(start).unwrap(), ms(123));
}

#[test]
fn blocking_work_runs_inline() {
    let mut sim = Sim::seeded(1);
    let net = sim.net("laptop");
    let done = Arc::new(Mutex::new(false));
    let flag = Arc::clone(&done);
    sim.run(async move {
        net.block(Box::new(move || *flag.lock().unwrap() = true))
            .await;
    })
    .expect();
    assert!(*done.lock().unwrap());
}

#[test]
fn a_timer_can_be_moved_both_ways() {
    let mut sim = Sim::seeded(1);
    let net = sim.net("laptop");
    let run = sim.run(async move {
        let at = |n| fulmar_core::time::Instant::ORIGIN + ms(n);
        let mut timer = net.sleep(at(100));
        let armed = |timer: &mut Box<dyn fulmar_sim::net::Sleep>| {
            let waker = std::task::Waker::noop();
            let mut cx = std::task::Context::from_waker(waker);
            std::pin::Pin::new(timer).poll(&mut cx).is_pending()
        };
        assert!(armed(&mut timer));
        timer.reset(at(300));
        assert!(armed(&mut timer));
        timer.reset(at(200));
        (&mut timer).await;
        assert_eq!(net.now(), at(200));
        timer.reset(at(250));
        timer.await;
        net.now().since_origin()
    });
    assert_eq!(run.into_output(), ms(250));
}
