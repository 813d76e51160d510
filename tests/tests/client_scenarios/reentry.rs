//! The user's own code inside a call: it may ask the client, and it may panic.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use fulmar_sim::{Body, Client, Sim};

use super::support::{assert_quiet, builder, client, echo, ms, text};
use super::uploads::Poller;

/// Asks the client when it is dropped.
struct Nosy(Client, Arc<AtomicUsize>);

impl Drop for Nosy {
    fn drop(&mut self) {
        let _ = self.0.gauges();
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn an_observer_may_use_the_client_and_so_may_what_a_body_drops() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while let Some(request) = conn.request().await? {
            if request.path() == "/cut" {
                return Ok(());
            }
            conn.respond(200, vec![b'x'; 10_000]).await?;
        }
        Ok(())
    });
    let known = Arc::new(std::sync::OnceLock::<Client>::new());
    let (seen, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (watched, count) = (known.clone(), seen.clone());
    let client = builder(&sim)
        .observer(move |_: &fulmar_core::trace::Record| {
            if let Some(client) = watched.get() {
                let _ = client.gauges();
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
        .build()
        .unwrap();
    let _ = known.set(client.clone());
    let handle = sim.handle();
    let drops = dropped.clone();
    let run = sim.run(async move {
        for (path, limit) in [("x", 100), ("cut", 100), ("x", 4)] {
            let (nosy, mut left) = (Nosy(client.clone(), drops.clone()), 3);
            let body = Body::stream(Poller(move |_: &mut Context<'_>| {
                let _ = &nosy;
                left -= 1;
                Poll::Ready((left > 0).then(|| std::io::Result::Ok(Bytes::from_static(b"abc"))))
            }));
            let put = client
                .put(format!("http://api.test/{path}"))
                .body(body)
                .send();
            let until = handle.now() + ms(limit);
            if let Some(Ok(mut response)) = super::support::until(&handle, until, put).await {
                response.chunk().await.unwrap();
            }
        }
        drop(text(&client, "http://nowhere.test/").await);
    });
    run.expect();
    assert_eq!(dropped.load(Ordering::Relaxed), 3);
    assert!(seen.load(Ordering::Relaxed) > 20);
}

#[test]
fn a_users_stream_that_panics_leaves_the_client_usable() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    let client = client(&sim);
    let run = sim.run(async move {
        let body = Body::stream(Poller(
            |_: &mut Context<'_>| -> Poll<Option<std::io::Result<Bytes>>> { panic!("on purpose") },
        ));
        let mut put = Box::pin(client.put("http://api.test/x").body(body).send());
        let outcome = std::future::poll_fn(|cx| {
            let polled = std::panic::AssertUnwindSafe(|| put.as_mut().poll(cx));
            match std::panic::catch_unwind(polled) {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(_)) => Poll::Ready(false),
                Err(_) => Poll::Ready(true),
            }
        })
        .await;
        assert!(outcome, "the panic is the caller's");
        drop(put);
        assert_quiet(client.gauges());
        assert_eq!(text(&client, "http://api.test/y").await.unwrap(), "/y");
    });
    run.expect();
}
