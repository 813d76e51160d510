//! Expect: 100-continue.

use std::future::Future;
use std::task::Poll;

use fulmar_sim::{Sim, Timeouts};

use super::support::ms;
use super::uploads::never;

#[test]
fn a_body_waits_for_the_peer_to_ask_for_it() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        let head = conn.request_head().await?.unwrap();
        assert_eq!(head.header("expect"), Some("100-continue"));
        conn.sleep(ms(300)).await;
        let mut pause = Box::pin(conn.sleep(ms(1)));
        let early = {
            let mut read = Box::pin(conn.read(10));
            std::future::poll_fn(move |cx| match read.as_mut().poll(cx) {
                Poll::Ready(read) => Poll::Ready(Some(read)),
                Poll::Pending => pause.as_mut().poll(cx).map(|()| None),
            })
            .await
        };
        assert!(early.is_none(), "nothing was sent before it was asked for");
        conn.write_all("HTTP/1.1 100 Continue\r\n\r\n").await?;
        assert_eq!(conn.read(10).await?, "body");
        conn.respond(200, "thanks").await
    });
    let client = never(&sim, Timeouts::new());
    let run = sim.run(async move {
        let put = client
            .put("http://api.test/")
            .header("Expect", "100-continue")
            .body("body");
        put.send().await?.text().await
    });
    assert_eq!(run.expect().as_deref().unwrap(), "thanks");
    assert_eq!(run.elapsed(), ms(4 + 301 + 1 + 1 + 1));
}

#[test]
fn a_body_that_nobody_asks_for_is_sent_after_a_second() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request_head().await?;
        assert_eq!(conn.read(10).await?, "body");
        conn.respond(200, conn.now().to_string()).await
    });
    let client = never(&sim, Timeouts::new());
    let run = sim.run(async move {
        let put = client
            .put("http://api.test/")
            .header("Expect", "100-continue")
            .body("body");
        put.send().await?.text().await
    });
    run.expect().as_deref().unwrap();
    assert_eq!(run.elapsed(), ms(3 + 1000 + 2));
}
