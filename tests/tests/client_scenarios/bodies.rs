//! Response bodies: every framing, every way to end.

use fulmar_sim::{Client, Method, Retry, Sim, Timeouts};

use super::support::{assert_quiet, builder, drain, ms, raw, secs};

fn never(sim: &Sim) -> Client {
    builder(sim)
        .timeouts(Timeouts::new())
        .retry(Retry::never())
        .build()
        .unwrap()
}

/// Reads a little of a body of this length and drops the rest; then asks again.
fn half_read(length: usize, ready: bool) -> (bool, u64) {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", move |mut conn| async move {
        while let Some(request) = conn.request().await? {
            if request.path() == "/next" {
                conn.respond(200, "next").await?;
                continue;
            }
            conn.write_all(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\nx",
                length + 1
            ))
            .await?;
            if !ready {
                conn.sleep(ms(20)).await;
            }
            conn.write_all(vec![b'y'; length]).await?;
        }
        Ok(())
    });
    let client = never(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut response = client.get("http://api.test/").send().await.unwrap();
        assert!(response.chunk().await.unwrap().is_some());
        drop(response);
        assert_eq!(client.gauges().busy, 0);
        handle.sleep(ms(60)).await;
        assert_quiet(client.gauges());
        let response = client.get("http://api.test/next").send().await.unwrap();
        let reused = response.is_reused();
        assert_eq!(response.text().await.unwrap(), "next");
        reused
    });
    let connections = run.stats().connections;
    assert_eq!(run.leaks(), [""; 0]);
    (run.into_output(), connections)
}

#[test]
fn a_short_rest_of_a_dropped_body_is_drained_and_its_connection_reused() {
    assert_eq!(half_read(3_000, true), (true, 1));
    assert_eq!(half_read(3_000, false), (true, 1));
    assert_eq!(half_read(60_000, false), (true, 1));
}

#[test]
fn a_long_rest_of_a_dropped_body_closes_its_connection() {
    assert_eq!(half_read(80_000, true), (false, 2));
    assert_eq!(half_read(80_000, false), (false, 2));
}

#[test]
fn a_rest_that_does_not_come_is_not_waited_for_longer_than_fifty_milliseconds() {
    let mut sim = Sim::seeded(1);
    raw(
        &sim,
        "api.test:80",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
    );
    let client = never(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut response = client.get("http://api.test/").send().await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "hello");
        drop(response);
        assert_eq!(client.gauges().draining, 1);
        handle.sleep(ms(49)).await;
        assert_eq!(client.gauges().draining, 1);
        handle.sleep(ms(2)).await;
        assert_eq!(client.gauges().total, 0);
    });
    run.expect();
}

#[test]
fn dropped_bodies_beyond_four_of_an_origin_are_closed_instead_of_drained() {
    let mut sim = Sim::seeded(1);
    raw(
        &sim,
        "api.test:80",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
    );
    let client = never(&sim);
    let run = sim.run(async move {
        let mut responses = Vec::new();
        for _ in 0..7 {
            responses.push(client.get("http://api.test/").send().await.unwrap());
        }
        drop(responses);
        (client.gauges().draining, client.gauges().total)
    });
    assert_eq!(*run.expect(), (4, 4));
}

#[test]
fn a_rate_of_bytes_leads_to_its_virtual_time() {
    let mut sim = Sim::seeded(1);
    sim.link("laptop", "api.test").bandwidth(1 << 20);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request().await?;
        conn.respond(200, vec![b'x'; 5 << 20]).await?;
        conn.request().await.map(|_| ())
    });
    let client = never(&sim);
    let run = sim.run(async move {
        let response = client
            .request(Method::GET, "http://api.test/")
            .send()
            .await
            .unwrap();
        drain(response).await.unwrap()
    });
    assert_eq!(*run.expect(), 5 << 20);
    assert!(
        run.elapsed() > secs(5) && run.elapsed() < ms(5100),
        "{:?}",
        run.elapsed()
    );
}

#[test]
fn a_body_that_failed_fails_the_request_it_is_sent_with() {
    let mut sim = Sim::seeded(1);
    raw(
        &sim,
        "bad.test:80",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
    );
    super::support::echo(&sim, "api.test:80");
    let client = never(&sim);
    let run = sim.run(async move {
        let response = client.get("http://bad.test/").send().await.unwrap();
        let mut body = response.into_body();
        while let Ok(Some(_)) = body.chunk().await {}
        assert!(!body.is_empty());
        client
            .post("http://api.test/")
            .body(body)
            .send()
            .await
            .map(drop)
    });
    let error = run.expect().as_ref().unwrap_err();
    assert_eq!(error.kind(), fulmar_sim::Kind::Request);
}

#[test]
fn time_in_which_nobody_reads_is_not_the_peers() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request().await?;
        conn.write_all("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
            .await?;
        conn.sleep(secs(40)).await;
        conn.write_all("b").await
    });
    let (client, handle) = (never(&sim), sim.handle());
    let run = sim.run(async move {
        let mut response = client.get("http://api.test/").send().await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "a");
        {
            let mut chunk = Box::pin(response.chunk());
            std::future::poll_fn(|cx| {
                assert!(chunk.as_mut().poll(cx).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
        }
        handle.sleep(secs(30)).await;
        response.chunk().await
    });
    assert_eq!(run.expect().as_ref().unwrap().as_ref().unwrap(), "b");
}

#[test]
fn asking_anew_again_and_again_does_not_stop_the_clock() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request().await?;
        conn.write_all("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
            .await?;
        conn.sleep(secs(600)).await;
        Ok(())
    });
    let (client, handle) = (never(&sim), sim.handle());
    let run = sim.run(async move {
        let mut response = client.get("http://api.test/").send().await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "a");
        for _ in 0..60 {
            let at = client.deadline(secs(1));
            if let Some(chunk) = super::support::until(&handle, at, response.chunk()).await {
                return chunk.is_err();
            }
        }
        false
    });
    assert!(*run.expect());
}
