//! How a call ends that fails, and what its last attempt left behind.

use std::sync::atomic::{AtomicUsize, Ordering};

use fulmar_sim::net::FaultKind;
use fulmar_sim::{
    AttemptOutcome, Cause, Error, Fate, Instant, Phase, Retry, Sim, StopReason, Timeouts, Why,
};

use super::retries::steady;
use super::support::{builder, ms, raw, raw_then_close, secs};

const CUT_SHORT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello";

/// Reads a body to its end, with a rest of 70 ms before it asks for each chunk.
fn failing(sim: &mut Sim, timeouts: Timeouts, retry: Retry) -> Error {
    let client = builder(sim).timeouts(timeouts).retry(retry);
    let client = client.build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut response = client.get("http://api.test/").send().await.unwrap();
        loop {
            handle.sleep(ms(70)).await;
            match response.chunk().await {
                Ok(chunk) => assert!(chunk.is_some(), "it does not end"),
                Err(error) => {
                    // Sticky: asked again, it says the same.
                    let again = response.chunk().await.unwrap_err();
                    assert_eq!(format!("{again:#}"), format!("{error:#}"));
                    return error;
                }
            }
        }
    });
    run.into_output()
}

#[test]
fn an_attempt_whose_body_stalls_is_recorded_with_its_phase_and_its_times() {
    let mut sim = Sim::seeded(1);
    raw(&sim, "api.test:80", CUT_SHORT);
    let timeouts = Timeouts::new().between_bytes(ms(300));
    let error = failing(&mut sim, timeouts, Retry::never());
    let [record] = error.attempts() else {
        panic!("{error:#}")
    };
    let stalled = Cause::Timeout(Phase::Body);
    assert_eq!(record.outcome, AttemptOutcome::Failed(stalled));
    assert_eq!((record.number, record.why), (1, Why::First));
    assert_eq!((record.fate, record.reused), (Fate::Processed, false));
    assert!(record.sent > 0 && record.received as usize == CUT_SHORT.len());
    assert_eq!(
        (record.connection, record.peer.as_deref().copied()),
        (1, error.remote_addr())
    );
    // I2.5: name and transport 3 ms, the answer 2 ms, two rests of 70 ms, and the stall.
    assert_eq!(record.started, Instant::ORIGIN);
    assert_eq!(record.ended - record.started, ms(5 + 140 + 300));
    assert_eq!(record.spent.in_phase(Phase::Total), ms(5 + 300));
    assert_eq!(record.spent.in_phase(Phase::Body), ms(300));
    assert_eq!(record.suspended(), ms(140));
    assert_eq!(error.retry_stop_reason(), Some(StopReason::NotRetryable));
}

#[test]
fn an_attempt_whose_body_ends_early_is_the_last_of_those_before_it() {
    let mut sim = Sim::seeded(1);
    let attempts = AtomicUsize::new(0);
    sim.serve("api.test:80", move |mut conn| {
        let answer = if attempts.fetch_add(1, Ordering::Relaxed) == 0 {
            "HTTP/1.1 503 Later\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        } else {
            CUT_SHORT
        };
        async move {
            conn.request().await?;
            conn.write_all(answer).await
        }
    });
    let error = failing(&mut sim, Timeouts::new(), steady(3));
    let [busy, short] = error.attempts() else {
        panic!("{error:#}")
    };
    assert_eq!(busy.outcome, AttemptOutcome::Status(503));
    assert_eq!((short.number, short.why), (2, Why::Backoff));
    assert_eq!((short.connection, error.tries()), (2, 2));
    let AttemptOutcome::Failed(cause) = &short.outcome else {
        panic!("{error:#}")
    };
    assert_eq!(cause.phase(), Some(Phase::Body), "{cause:?}");
    for record in [busy, short] {
        let sum = record.spent.in_phase(Phase::Total) + record.suspended();
        assert_eq!(sum, record.ended - record.started, "{record:?}");
    }
    assert_eq!(busy.suspended(), ms(0));
    // One rest before each of the two chunks that were asked for.
    assert_eq!(short.suspended(), ms(140));
    assert!(
        format!("{error:#}").contains("\n  attempt 2 after a rest of"),
        "{error:#}"
    );
}

#[test]
fn an_attempt_with_a_status_and_a_failed_body_has_one_record() {
    let mut sim = Sim::seeded(1);
    let answer = "HTTP/1.1 503 Later\r\nContent-Length: 50\r\n\r\nhello";
    raw_then_close(&sim, "api.test:80", answer);
    let error = failing(&mut sim, Timeouts::new(), Retry::new(1));
    let [record] = error.attempts() else {
        panic!("{error:#}")
    };
    assert!(
        matches!(record.outcome, AttemptOutcome::Failed(_)),
        "{record:?}"
    );
    let sum = record.spent.in_phase(Phase::Total) + record.suspended();
    assert_eq!(sum, record.ended - record.started, "{record:?}");
    assert_eq!(record.suspended(), ms(140));
    // What the response said already stays.
    assert_eq!(error.retry_stop_reason(), Some(StopReason::MaxAttempts));
}

#[test]
fn a_body_that_the_deadline_ends_says_so_in_its_record() {
    let mut sim = Sim::seeded(1);
    raw(&sim, "api.test:80", CUT_SHORT);
    let timeouts = Timeouts::new().total(secs(1));
    let error = failing(&mut sim, timeouts, Retry::never());
    let [record] = error.attempts() else {
        panic!("{error:#}")
    };
    assert_eq!(record.ended - record.started, secs(1));
    assert_eq!(error.retry_stop_reason(), Some(StopReason::DeadlineExpired));
    assert!(error.is_deadline());
}

#[test]
fn a_body_whose_connection_is_reset_has_the_fault_in_its_record() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request().await?;
        conn.write_all(CUT_SHORT).await?;
        conn.sleep(ms(200)).await;
        conn.reset();
        Ok(())
    });
    let error = failing(&mut sim, Timeouts::new(), Retry::never());
    let [record] = error.attempts() else {
        panic!("{error:#}")
    };
    let AttemptOutcome::Failed(Cause::Fault(fault)) = &record.outcome else {
        panic!("{error:#}")
    };
    assert_eq!((fault.kind, fault.phase), (FaultKind::Reset, Phase::Body));
}

#[test]
fn a_wait_for_a_place_among_the_calls_in_flight_is_no_time_of_the_first_attempt() {
    let mut sim = Sim::seeded(1);
    raw(&sim, "api.test:80", CUT_SHORT);
    let timeouts = Timeouts::new().between_bytes(ms(300));
    let client = builder(&sim).max_in_flight(1).timeouts(timeouts);
    let client = client.retry(Retry::never()).build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let first = client.clone();
        handle.spawn(async move {
            let read = first.get("http://api.test/").send().await.unwrap();
            read.bytes().await.unwrap_err();
        });
        handle.sleep(ms(1)).await;
        let response = client.get("http://api.test/").send().await.unwrap();
        response.bytes().await.unwrap_err()
    });
    let error = run.into_output();
    let [record] = error.attempts() else {
        panic!("{error:#}")
    };
    // The one before it took 305 ms.
    assert_eq!(record.started, Instant::ORIGIN + ms(305));
    let sum = record.spent.in_phase(Phase::Total) + record.suspended();
    assert_eq!(sum, record.ended - record.started, "{record:?}");
}
