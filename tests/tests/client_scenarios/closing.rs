//! The end of a client, looked at with ill will.

use std::task::{Context, Poll, Waker};

use fulmar_sim::{Kind, Sim};

use super::support::{builder, client, echo, join, join_all, ms, secs, silent, text};

#[test]
fn a_client_that_was_never_used_is_down_at_once() {
    let mut sim = Sim::seeded(1);
    let client = client(&sim);
    let run = sim.run(async move {
        let begun = client.deadline(ms(0));
        client.shutdown(client.deadline(secs(10))).await;
        assert_eq!(client.deadline(ms(0)), begun);
        let error = text(&client, "http://api.test/").await.unwrap_err();
        assert_eq!(error.kind(), Kind::Closed);
        assert!(client.clone().is_closed());
    });
    run.expect();
    assert_eq!(run.leaks(), [""; 0]);
}

#[test]
fn a_shutdown_that_nobody_polls_closes_nothing_and_a_deadline_that_has_passed_cuts() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "api.test:80");
    let client = client(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        drop(client.shutdown(client.deadline(ms(0))));
        assert!(!client.is_closed());
        let call = text(&client, "http://api.test/");
        let shutdown = async {
            handle.sleep(ms(100)).await;
            client.shutdown(client.deadline(ms(0))).await;
            client.deadline(ms(0))
        };
        let (ended, at) = join(call, shutdown).await;
        assert_eq!(ended.unwrap_err().kind(), Kind::Closed);
        assert!(at - fulmar_sim::Instant::ORIGIN <= ms(200), "{at:?}");
        assert_eq!(client.gauges().total, 0);
    });
    run.expect();
    assert_eq!(run.leaks(), [""; 0]);
}

#[test]
fn handles_that_go_while_it_shuts_down_do_not_end_it() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while let Some(request) = conn.request().await? {
            conn.sleep(secs(1)).await;
            conn.respond(200, request.path()).await?;
        }
        Ok(())
    });
    let client = client(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        let call = client.get("http://api.test/a").send();
        let call = async { call.await.unwrap().text().await.unwrap() };
        let shutdowns = async {
            handle.sleep(ms(100)).await;
            let deadline = client.deadline(secs(5));
            let all = [client.clone(), client.clone(), client];
            let all = all.map(|client| async move {
                client.shutdown(deadline).await;
                client.gauges().total
            });
            join_all(all).await
        };
        let (answer, left) = join(call, shutdowns).await;
        assert_eq!((answer.as_str(), left), ("/a", vec![0, 0, 0]));
    });
    run.expect();
    assert!(run.elapsed() < secs(2), "{:?}", run.elapsed());
}

#[test]
fn a_request_that_was_made_before_and_is_sent_after_fails_before_anything_is_sent() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    let client = builder(&sim).max_in_flight(3).build().unwrap();
    let run = sim.run(async move {
        let request = client.get("http://api.test/early");
        let mut sending = Box::pin(client.get("http://api.test/sent").send());
        client.shutdown(client.deadline(secs(1))).await;
        let error = request.send().await.unwrap_err();
        assert_eq!((error.kind(), error.tries()), (Kind::Closed, 1));
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(Err(error)) = sending.as_mut().poll(&mut cx) else {
            panic!("it is closed");
        };
        assert_eq!(error.kind(), Kind::Closed);
        assert_eq!(error.fate(), fulmar_sim::Fate::NotProcessed);
    });
    run.expect();
    assert_eq!(run.stats().connections, 0);
}
