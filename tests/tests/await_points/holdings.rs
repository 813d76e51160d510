//! What a client says that it holds is what it holds, and what it keeps is bounded.

use fulmar_sim::{Client, Limits, Profile, Sim};

use crate::server::URL;
use crate::support::{PollTimes, builder, join_all, secs};
use crate::world::everything;

/// What is taken: in flight, queued, `WebSocket`s, those queued, deadlines.
fn taken(client: &Client) -> [usize; 5] {
    let now = client.holdings();
    [
        now.in_flight,
        now.queued,
        now.websockets,
        now.websockets_queued,
        now.deadlines,
    ]
}

#[test]
fn holdings_tell_what_is_under_way() {
    let mut sim = Sim::seeded(1);
    everything(&sim);
    sim.serve("ws.test:80", |conn| async move {
        match crate::server::Peer::accept(conn, "").await? {
            Some(mut peer) => peer.echo().await,
            None => Ok(()),
        }
    });
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx";
    crate::support::raw(&sim, "narrow.test:80", answer);
    let url = URL.replace("api.test", "ws.test");
    let client = builder(&sim)
        .limits(Limits::new().per_origin(1))
        .websocket_limits(1, 1)
        .max_in_flight(2)
        .profile("narrow.test", Profile::new().max_in_flight(1))
        .build()
        .unwrap();
    let run = sim.run(async move {
        assert_eq!(client.holdings(), fulmar_sim::Holdings::default());
        let held = client.get("http://narrow.test/").send().await.unwrap();
        // Under both caps.
        assert_eq!(taken(&client)[..4], [2, 0, 0, 0]);
        let waits = || Box::pin(client.get("http://api.test/a").send());
        let mut both = (waits(), waits());
        std::future::poll_fn(|cx| {
            assert!(both.0.as_mut().poll(cx).is_pending() && both.1.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        assert_eq!(
            taken(&client),
            [3, 1, 0, 0, 3],
            "for an answer, and for a place"
        );
        drop((both, held));
        let ws = client.websocket(&*url).connect().await.unwrap();
        let mut other = Box::pin(client.websocket(&*url).connect());
        std::future::poll_fn(|cx| {
            assert!(other.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        assert_eq!(taken(&client)[..4], [0, 0, 1, 1]);
        drop((ws, other));
    });
    run.expect();
}

#[test]
fn what_is_kept_of_buffers_is_bounded_whatever_went_through_them() {
    let mut sim = Sim::seeded(1);
    sim.link("laptop", "api.test").window(4 << 20);
    sim.serve("api.test:80", |mut conn| async move {
        while conn.request().await?.is_some() {
            conn.respond(200, vec![b'x'; 2 << 20]).await?;
        }
        Ok(())
    });
    let client = builder(&sim).build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        for polls in [2, 3, 4, 6, 8, 100] {
            let calls = (0..100).map(|_| {
                let put = client.put("http://api.test/").body(vec![b'x'; 1 << 20]);
                PollTimes::new(
                    polls,
                    Box::pin(async move {
                        let mut response = put.send().await.unwrap();
                        while response.chunk().await.unwrap().is_some() {}
                    }),
                )
            });
            join_all(calls).await;
            handle.sleep(secs(1)).await;
            let holdings = client.holdings();
            assert!(holdings.spare_buffers <= 32, "{holdings:?}");
            assert!(holdings.spare_bytes <= 32 * (64 << 10), "{holdings:?}");
            assert_eq!((holdings.deadlines, holdings.in_flight), (0, 0));
        }
        assert!(client.holdings().spare_buffers > 0);
    });
    run.expect();
}
