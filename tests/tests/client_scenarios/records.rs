//! What is told of the attempts of a call: to its caller, to the origin, and to who watches.

use std::sync::{Arc, Mutex};

use fulmar_sim::trace::{Event, Outcome, Record};
use fulmar_sim::{Phase, Retry, Sim, Timeouts, Why};

use super::policies::fields;
use super::retries::{retry_after, scripted, steady, with};
use super::support::{builder, ms, secs, silent, until};

#[test]
fn a_record_tells_the_connection_the_reason_and_where_the_time_went() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "api.test:80");
    let retry = steady(2);
    let timeouts = Timeouts::new().first_byte(ms(400));
    let client = builder(&sim).timeouts(timeouts).retry(retry);
    let client = client.build().unwrap();
    let run = sim.run(async move { client.get("http://api.test/").send().await.unwrap_err() });
    let error = run.expect();
    let [first, second] = error.attempts() else {
        panic!("{error:#}")
    };
    assert_eq!((first.why, second.why), (Why::First, Why::Backoff));
    assert_eq!((first.connection, second.connection), (1, 2));
    assert!(
        first.peer.is_some() && first.peer == second.peer,
        "{first:?}"
    );
    for record in [first, second] {
        assert_eq!(
            record.spent.in_phase(Phase::FirstByte),
            ms(400),
            "{record:?}"
        );
        // I2.5: no time is unaccounted for.
        let sum = record.spent.in_phase(Phase::Total);
        assert_eq!(sum, record.ended - record.started, "{record:?}");
        assert!(record.spent.in_phase(Phase::Connect) > ms(1), "{record:?}");
    }
    assert_eq!(first.spent.to_string(), "connect 3ms, first byte 400ms");
}

#[test]
fn a_record_tells_a_wait_that_the_origin_asked_for_from_one_of_the_clients_own() {
    let mut sim = Sim::seeded(1);
    scripted(&sim, |attempt| (attempt == 0).then(|| retry_after(503, 2)));
    let client = with(&sim, steady(3));
    let run = sim.run(async move { client.get("http://api.test/").send().await.unwrap_err() });
    let error = run.expect();
    let why: Vec<_> = error.attempts().iter().map(|record| record.why).collect();
    let told = [Why::First, Why::Asked, Why::Transparent, Why::Backoff];
    assert_eq!(why, told, "{error:#}");
    assert!(error.attempts()[1].delay >= Some(secs(2)), "{error:#}");
    assert!(
        format!("{error:#}").contains("later, as asked"),
        "{error:#}"
    );
}

#[test]
fn the_origin_is_told_which_attempt_it_is_where_that_is_asked_for() {
    let mut sim = Sim::seeded(1);
    let seen = fields(&sim, "retry-attempt", 502);
    let client = builder(&sim)
        .attempt_header("Retry-Attempt")
        .retry(steady(3));
    let client = client.build().unwrap();
    let run = sim.run(async move {
        let get = client.get("http://api.test/").header("retry-attempt", "9");
        assert_eq!(get.send().await.unwrap().attempts(), 3);
    });
    run.expect();
    let told = ["1", "2", "3"].map(|number| Some(number.to_owned()));
    assert_eq!(*seen.lock().unwrap(), told);

    let error = builder(&Sim::seeded(1)).attempt_header("no name").build();
    assert!(error.unwrap_err().is_builder());
}

#[test]
fn nobody_is_told_which_attempt_it_is_by_default() {
    let mut sim = Sim::seeded(1);
    let seen = fields(&sim, "retry-attempt", 200);
    let client = builder(&sim).build().unwrap();
    let run = sim.run(async move { client.get("http://api.test/").send().await.map(drop) });
    run.expect().as_ref().unwrap();
    assert_eq!(*seen.lock().unwrap(), [None]);
}

#[test]
fn a_split_deadline_leaves_time_for_another_attempt() {
    for (split, tries) in [(false, 1), (true, 2)] {
        let mut sim = Sim::seeded(1);
        silent(&sim, "api.test:80");
        let timeouts = Timeouts::new().total(secs(4)).split_deadline(split);
        let client = builder(&sim).timeouts(timeouts).retry(steady(2));
        let client = client.build().unwrap();
        let run = sim.run(async move { client.get("http://api.test/").send().await.unwrap_err() });
        let error = run.expect();
        assert!(error.is_deadline(), "{error}");
        assert_eq!(error.tries(), tries, "{error:#}");
        assert_eq!(run.elapsed(), secs(4));
        let lasted = error.attempts()[0].ended - error.attempts()[0].started;
        assert_eq!(lasted, if split { secs(2) } else { secs(4) });
    }
}

#[test]
fn a_limit_on_attempts_of_ones_own_is_not_split() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "api.test:80");
    let timeouts = Timeouts::new().total(secs(4)).attempt(secs(3));
    let timeouts = timeouts.split_deadline(true);
    let client = builder(&sim).timeouts(timeouts).retry(steady(2));
    let client = client.build().unwrap();
    let run = sim.run(async move { client.get("http://api.test/").send().await.unwrap_err() });
    let first = &run.expect().attempts()[0];
    assert_eq!(first.ended - first.started, secs(3));
}

#[test]
fn whoever_watches_tells_a_call_that_was_cancelled_from_one_whose_deadline_passed() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "api.test:80");
    let ends = Arc::new(Mutex::new(Vec::new()));
    let kept = ends.clone();
    let client = builder(&sim)
        .retry(Retry::never())
        .observer(move |record: &Record| {
            if let Event::CallEnded { outcome, .. } = &record.event {
                kept.lock().unwrap().push(*outcome);
            }
        });
    let client = client.build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let get = || client.get("http://api.test/");
        let soon = handle.now() + ms(50);
        assert!(until(&handle, soon, get().send()).await.is_none());
        get().timeout(ms(50)).send().await.unwrap_err();
        let phase = Timeouts::new().first_byte(ms(50));
        get().timeouts(phase).send().await.unwrap_err();
    });
    run.expect();
    let ends = ends.lock().unwrap();
    assert!(
        matches!(
            **ends,
            [
                Outcome::Cancelled,
                Outcome::Deadline,
                Outcome::Failed {
                    phase: Phase::FirstByte,
                    ..
                }
            ]
        ),
        "{ends:?}"
    );
}
