//! What is told of the attempts of a call: to its caller, to the origin, and to who watches.

use std::sync::{Arc, Mutex};

use fulmar_sim::trace::{Event, Outcome, Record};
use fulmar_sim::{AttemptRecord, Fault, Phase, Retry, Sim, Timeouts, Version, Why};

use super::policies::fields;
use super::retries::{retry_after, scripted, steady, with};
use super::support::{TlsConn, builder, ms, secs, secure, silent, until};

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
    assert_eq!(
        first.spent.to_string(),
        "dns 1ms, connect 2ms, first byte 400ms"
    );
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
    assert!(error.attempts()[1].delay() >= Some(secs(2)), "{error:#}");
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

/// The records of a secure call; where `is_mute` the server never shakes hands.
fn secure_records(is_mute: bool, timeouts: Timeouts) -> Vec<AttemptRecord> {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:443", move |mut conn| async move {
        if is_mute {
            while !conn.read(1024).await?.is_empty() {}
            return Ok(());
        }
        let mut tls = TlsConn::new(conn, "api.test");
        while tls.request().await? {}
        Ok(())
    });
    let client = secure(&sim).timeouts(timeouts).retry(steady(2));
    let client = client.build().unwrap();
    let run = sim.run(async move { client.get("https://api.test/").send().await.unwrap_err() });
    run.into_output().attempts().to_vec()
}

#[test]
fn a_record_tells_the_parts_of_a_dial_apart() {
    let of = |record: &AttemptRecord, phase| record.spent.in_phase(phase);
    let timeouts = Timeouts::new().first_byte(ms(400));
    let records = secure_records(false, timeouts);
    for (record, dns) in records.iter().zip([ms(1), ms(0)]) {
        // The second time the name is known.
        assert_eq!(of(record, Phase::Dns), dns, "{record:?}");
        assert_eq!(of(record, Phase::Connect), ms(2), "{record:?}");
        assert!(of(record, Phase::Tls) >= ms(2), "{record:?}");
        assert_eq!(of(record, Phase::FirstByte), ms(400), "{record:?}");
        assert_eq!(
            record.spent.dial(),
            dns + ms(2) + of(record, Phase::Tls),
            "{record:?}"
        );
        assert_eq!(of(record, Phase::Total), record.ended - record.started);
        assert_eq!(record.protocol, Some(Version::HTTP_11));
    }
    assert_eq!(records.len(), 2);

    // Of a dial that fails, too: by its own clock, and by the call's.
    for timeouts in [
        Timeouts::new().tls(ms(600)),
        Timeouts::new().attempt(ms(603)),
    ] {
        let records = secure_records(true, timeouts);
        let first = &records[0];
        let spent = [Phase::Dns, Phase::Connect, Phase::Tls].map(|phase| of(first, phase));
        assert_eq!(spent, [ms(1), ms(2), ms(600)], "{first:?}");
        assert_eq!((first.connection, first.protocol), (0, None));
    }
}

#[test]
fn a_dial_that_does_not_get_past_a_step_has_all_its_time_there() {
    for (fault, phase) in [
        (Fault::dns_silent("api.test"), Phase::Dns),
        (Fault::half_open("api.test"), Phase::Connect),
    ] {
        let mut sim = Sim::seeded(1);
        silent(&sim, "api.test:80");
        sim.between(.., fault);
        let timeouts = Timeouts::new().attempt(ms(700));
        let client = builder(&sim).timeouts(timeouts).retry(Retry::never());
        let client = client.build().unwrap();
        let run = sim.run(async move { client.get("http://api.test/").send().await.unwrap_err() });
        let error = run.expect();
        let spent = error.attempts()[0].spent;
        let there = if phase == Phase::Dns {
            ms(700)
        } else {
            ms(699)
        };
        assert_eq!(spent.in_phase(phase), there, "{error:#}");
        assert_eq!(spent.dial(), ms(700), "{error:#}");
    }
}

#[test]
fn an_error_in_full_has_a_line_for_each_attempt_with_all_that_is_known_of_it() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "api.test:80");
    let timeouts = Timeouts::new().first_byte(ms(400));
    let client = builder(&sim).timeouts(timeouts).retry(steady(2));
    let client = client.build().unwrap();
    let run = sim.run(async move { client.get("http://api.test/").send().await.unwrap_err() });
    let error = run.expect();
    let text = format!("{error:#}");
    let lines: Vec<_> = text.lines().skip(1).collect();
    // A timeout is paid for before it is repeated; the last one is not.
    let left = |record: &AttemptRecord| record.budget_left();
    let budget: Vec<_> = error.attempts().iter().map(left).collect();
    assert_eq!(budget, [Some(1), Some(1)], "{text}");
    assert_eq!(
        lines[0],
        "  attempt 1: first byte timeout after 403ms (dns 1ms, connect 2ms, first byte 400ms), \
         request maybe processed, connection 1 to 10.0.0.1:80 (HTTP/1.1), 1 retry token left"
    );
    assert!(
        lines[1].starts_with("  attempt 2 after a rest of "),
        "{text}"
    );
    assert_eq!(lines.len(), 2, "{text}");
}
