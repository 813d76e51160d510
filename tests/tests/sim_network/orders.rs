//! The order of tasks that are ready at one instant.

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::sync::Mutex;

use fulmar_sim::{Client, Schedule, Sim, explore, explore_randomly};

use crate::support::ms;

/// Three tasks that are ready at once: in which order they ran.
fn order(schedule: &Schedule) -> String {
    let mut sim = Sim::seeded(1);
    sim.schedule(schedule);
    for name in ["a", "b", "c"] {
        let handle = sim.handle();
        sim.spawn(async move { handle.trace_line(name, "runs") });
    }
    let nap = sim.sleep(ms(1));
    sim.run(nap).expect();
    let lines = sim.trace();
    lines
        .lines()
        .filter_map(|line| line.strip_suffix(" runs"))
        .filter_map(|line| line.chars().last())
        .collect()
}

#[test]
fn every_order_is_explored_and_the_usual_one_comes_first() {
    let orders = Mutex::new(Vec::new());
    let explored = explore(1000, |schedule| {
        orders.lock().unwrap().push(order(schedule));
    });
    assert!(explored.is_complete);
    let orders = orders.into_inner().unwrap();
    assert_eq!(orders.len(), explored.runs);
    assert_eq!(orders[0], "abc");
    let different: BTreeSet<_> = orders.iter().map(String::as_str).collect();
    let all = ["abc", "acb", "bac", "bca", "cab", "cba"];
    assert_eq!(different, BTreeSet::from(all));
}

#[test]
fn exploration_ends_at_its_bound() {
    let explored = explore(4, |schedule| {
        order(schedule);
    });
    assert_eq!((explored.runs, explored.is_complete), (4, false));
}

#[test]
fn a_schedule_is_replayed_from_what_it_prints() {
    assert_eq!(
        order(&Schedule::replay([2, 1])),
        order(&Schedule::replay([2, 1]))
    );
    assert_ne!(order(&Schedule::replay([2, 1])), "abc");
    assert_eq!(
        format!("{:?}", Schedule::replay([2, 1])),
        "Schedule::replay([2, 1])"
    );
    let orders: BTreeSet<_> = (0..50).map(|seed| order(&Schedule::seeded(seed))).collect();
    assert_eq!(orders.len(), 6, "fifty seeds meet six orders");
    assert_eq!(order(&Schedule::seeded(7)), order(&Schedule::seeded(7)));
}

/// Two tasks that each read a number, yield, and write it back one higher: a lost update, in some
/// orders only.
fn count_twice(schedule: &Schedule) {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    let mut sim = Sim::seeded(1);
    sim.schedule(schedule);
    let count = Arc::new(AtomicU32::new(0));
    for _ in 0..2 {
        let (count, handle) = (Arc::clone(&count), sim.handle());
        sim.spawn(async move {
            // In the usual order, each of these is over before the other begins.
            let read = count.load(Relaxed);
            handle.spawn(async move { count.store(read + 1, Relaxed) });
        });
    }
    let nap = sim.sleep(ms(1));
    sim.run(nap).expect();
    let counted = count.load(Relaxed);
    assert_eq!(counted, 2, "an update was lost");
}

#[test]
fn a_failing_order_is_named_so_that_it_can_be_replayed() {
    let said = |result: Result<(), Box<dyn std::any::Any + Send>>| {
        let panic = result.expect_err("some order loses an update");
        panic.downcast_ref::<String>().cloned().unwrap_or_default()
    };
    let text = said(catch_unwind(|| {
        explore(1000, count_twice);
    }));
    assert!(text.contains("an update was lost"), "{text}");
    assert!(text.contains("sim.schedule(&Schedule::replay(["), "{text}");
    let text = said(catch_unwind(|| explore_randomly(100, count_twice)));
    assert!(text.contains("sim.schedule(&Schedule::seeded("), "{text}");
}

#[test]
fn a_client_serves_two_calls_in_whatever_order_its_tasks_run() {
    let explored = explore(150, |schedule| {
        let mut sim = Sim::seeded(1);
        sim.schedule(schedule);
        sim.check();
        sim.serve("api.test:80", |mut conn| async move {
            while let Some(request) = conn.request().await? {
                conn.respond(200, request.path()).await?;
            }
            Ok(())
        });
        let limits = fulmar_sim::Limits::new().total(1);
        let client = Client::builder(sim.net("laptop"));
        let client = client.limits(limits).build().unwrap();
        sim.watch(&client);
        let other = client.clone();
        let told = std::sync::Arc::new(Mutex::new(None));
        let heard = std::sync::Arc::clone(&told);
        sim.spawn(async move {
            let response = other.get("http://api.test/b").send().await;
            let text = response.unwrap().text().await.unwrap();
            *told.lock().unwrap() = Some(text);
        });
        let handle = sim.handle();
        let run = sim.run(async move {
            let response = client.get("http://api.test/a").send().await.unwrap();
            assert_eq!(response.text().await.unwrap(), "/a");
            handle.sleep(ms(100)).await;
        });
        run.expect();
        assert_eq!(heard.lock().unwrap().as_deref(), Some("/b"));
        assert_eq!(run.open_sockets(), 0);
    });
    assert!(explored.runs > 10, "{explored:?}");
}
