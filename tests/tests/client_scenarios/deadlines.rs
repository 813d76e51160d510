//! Limits on the whole call, and what one request may change.

use std::time::Duration;

use fulmar_sim::{Fate, Phase, Retry, Sim, Timeouts};

use super::support::{builder, client, echo, ms, secs, silent};
use super::timeouts::{assert_timeout, failure};

#[test]
fn the_whole_call_times_out_at_its_instant_and_is_not_tried_again() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "api.test:80");
    let timeouts = Timeouts::new().total(secs(1));
    let client = builder(&sim).timeouts(timeouts).build().unwrap();
    let (error, elapsed) = failure(&mut sim, client, "http://api.test/");
    assert_timeout(&error, Phase::Total, Fate::MaybeProcessed);
    assert!(error.is_deadline());
    assert_eq!((elapsed, error.tries()), (secs(1), 1));
}

#[test]
fn the_total_covers_the_body_too() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request().await?;
        conn.write_all("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            .await?;
        for _ in 0..1000 {
            conn.write_all("x").await?;
            conn.sleep(ms(10)).await;
        }
        Ok(())
    });
    let timeouts = Timeouts::new().total(secs(1));
    let client = builder(&sim).timeouts(timeouts).build().unwrap();
    let (error, elapsed) = failure(&mut sim, client, "http://api.test/");
    assert_timeout(&error, Phase::Total, Fate::Processed);
    assert_eq!(elapsed, secs(1));
}

#[test]
fn one_deadline_is_shared_by_many_calls() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while conn.request().await?.is_some() {
            conn.sleep(ms(400)).await;
            conn.respond(200, "ok").await?;
        }
        Ok(())
    });
    let client = client(&sim);
    let run = sim.run(async move {
        let deadline = client.deadline(secs(1));
        let mut done = 0;
        loop {
            match client
                .get("http://api.test/")
                .deadline(deadline)
                .send()
                .await
            {
                Ok(_) => done += 1,
                Err(error) => return (done, error),
            }
        }
    });
    let (done, error) = run.expect();
    assert_eq!(*done, 2);
    assert!(error.is_deadline(), "{error}");
    assert_eq!(run.elapsed(), secs(1));
}

#[test]
fn a_deadline_that_has_passed_sends_nothing() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    let client = client(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        let deadline = client.deadline(ms(10));
        handle.sleep(ms(10)).await;
        client
            .get("http://api.test/")
            .deadline(deadline)
            .send()
            .await
            .unwrap_err()
    });
    assert_timeout(run.expect(), Phase::Total, Fate::NotProcessed);
    assert_eq!((run.elapsed(), run.stats().connections), (ms(10), 0));
}

#[test]
fn a_request_overrides_the_clients_timeouts_off_included() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while conn.request().await?.is_some() {
            conn.sleep(secs(20)).await;
            conn.respond(200, "late").await?;
        }
        Ok(())
    });
    let client = builder(&sim).retry(Retry::never()).build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let begun = handle.now();
        let error = client.get("http://api.test/").send().await.unwrap_err();
        assert_eq!(
            (error.phase(), handle.now() - begun),
            (Some(Phase::FirstByte), ms(3) + secs(15))
        );
        let begun = handle.now();
        let patient = Timeouts::new().first_byte(None);
        let response = client
            .get("http://api.test/")
            .timeouts(patient)
            .send()
            .await
            .unwrap();
        assert_eq!(response.text().await.unwrap(), "late");
        assert!(handle.now() - begun > secs(20));
        let begun = handle.now();
        let hasty = client
            .get("http://api.test/")
            .timeout(ms(70))
            .send()
            .await
            .unwrap_err();
        assert_eq!(
            (hasty.phase(), handle.now() - begun),
            (Some(Phase::Total), ms(70))
        );
    });
    run.expect();
}

#[test]
fn no_time_at_all_means_at_once_or_not_at_all() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    let timeouts = Timeouts::new().total(Duration::ZERO);
    let client = builder(&sim).timeouts(timeouts).build().unwrap();
    let (error, elapsed) = failure(&mut sim, client, "http://api.test/");
    assert!(error.is_deadline());
    assert_eq!(elapsed, Duration::ZERO);
}
