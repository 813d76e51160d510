//! The dry run of a request.

use std::path::Path;

use fulmar_sim::{
    Admission, Client, Held, Limits, Lookup, Preview, Profile, Retry, RetryVerdict, Sim,
    StopReason, Timeouts, Transport,
};

use super::support::{builder, client, echo, join_all, ms, secs, silent, text};

#[test]
fn it_says_what_is_in_force_on_a_line_each() {
    let sim = Sim::seeded(1);
    let client = builder(&sim)
        .profile(
            "*.corp.test",
            Profile::new().per_origin(2).retry(Retry::new(5)),
        )
        .timeout(secs(30))
        .max_in_flight(7)
        .build()
        .unwrap();
    let said = client
        .explain(&client.post("http://api.corp.test:81/x"))
        .unwrap();
    assert_eq!(
        said.to_string(),
        "POST http://api.corp.test:81/x\n\
         profile: *.corp.test\n\
         route: http://api.corp.test:81 #1\n\
         in flight: begins at once, 0 of 7 are\n\
         transport: TCP, port 81\n\
         name: looked up by a dial\n\
         protocol: HTTP/1.1\n\
         pool: dials\n\
         limits: 512 connections, 2 of an origin\n\
         timeouts: pool 5s, dns 3s, connect 5s, tls 3s, write 10s, first byte 15s, head 15s, \
         between bytes 15s, in all 30s\n\
         retry: up to 5 attempts, where the origin cannot have acted on it; the method is unsafe, \
         with no idempotency key, no body; budget 3.000"
    );
    let over = client.get("http://127.0.0.1/").unix_socket("/run/x");
    let said = client.explain(&over).unwrap();
    let path = Path::new("/run/x").into();
    assert_eq!(
        (said.transport, said.lookup),
        (Transport::Unix(path), Lookup::Unneeded)
    );
    assert!(said.profile.is_none());
    let literal = client.explain(&client.get("http://127.0.0.1/")).unwrap();
    assert_eq!(literal.lookup, Lookup::Known);
    assert!(client.explain(&client.get("no url")).is_err());
}

#[test]
fn it_says_what_the_pool_then_does() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    silent(&sim, "busy.test:80");
    let limits = Limits::new().total(2).per_origin(1).waiters(2);
    let client = builder(&sim).limits(limits).build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let pool = |url: &str| client.explain(&client.get(url)).unwrap().pool;
        assert_eq!(pool("http://api.test/"), Preview::Dial { evicts: false });
        text(&client, "http://api.test/").await.unwrap();
        assert_eq!(pool("http://api.test/"), Preview::Idle);
        let post = client.post("http://api.test/");
        assert_eq!(client.explain(&post).unwrap().pool, Preview::Idle);
        handle.sleep(secs(5)).await;
        // It has idled too long for what cannot be repeated.
        let dial = Preview::Dial { evicts: true };
        assert_eq!(client.explain(&post).unwrap().pool, dial);
        let busy = Box::pin(text(&client, "http://busy.test/"));
        let busy = super::support::until(&handle, client.deadline(ms(100)), busy);
        let (ended, ()) = super::support::join(busy, async {
            handle.sleep(ms(50)).await;
            let why = Held::PerOrigin(1);
            let wait = Preview::Wait { position: 1, why };
            assert_eq!(pool("http://busy.test/"), wait);
            assert_eq!(pool("http://third.test/"), dial, "the idle one makes room");
        })
        .await;
        assert!(ended.is_none());
        client.shutdown(client.deadline(ms(1))).await;
        assert!(matches!(pool("http://api.test/"), Preview::Refused(_)));
    });
    run.expect();
}

#[test]
fn it_says_whether_a_call_would_be_tried_again() {
    let mut sim = Sim::seeded(1);
    sim.host("refused.test");
    let client = builder(&sim).max_in_flight(1).build().unwrap();
    let run = sim.run(async move {
        let verdict = |call| client.explain(&call).unwrap().retry.verdict;
        let url = "http://refused.test/";
        assert_eq!(verdict(client.get(url)), RetryVerdict::Repeatable);
        assert_eq!(verdict(client.post(url)), RetryVerdict::IfUnprocessed);
        assert_eq!(
            verdict(client.post(url).idempotent()),
            RetryVerdict::Repeatable
        );
        let keyed = client.post(url).idempotency_key("k");
        assert_eq!(verdict(keyed), RetryVerdict::Repeatable);
        let never = RetryVerdict::Never(StopReason::MaxAttempts);
        assert_eq!(verdict(client.get(url).retry(Retry::never())), never);
        while client.explain(&client.get(url)).unwrap().retry.tokens >= 1_000 {
            assert!(text(&client, url).await.is_err());
        }
        let empty = RetryVerdict::Never(StopReason::BudgetEmpty);
        assert_eq!(verdict(client.get(url)), empty);
        assert_eq!(text(&client, url).await.unwrap_err().tries(), 1);
        let held = text(&client, url);
        let mut held = Box::pin(held);
        std::future::poll_fn(|cx| std::task::Poll::Ready(held.as_mut().poll(cx).is_ready())).await;
        let admission = client.explain(&client.get(url)).unwrap().admission;
        let waits = Admission::Waits {
            position: 1,
            max: 1,
        };
        assert_eq!(admission, [waits]);
    });
    run.expect();
}

/// The same calls, each explained before, often.
fn trace(explained: usize) -> String {
    let mut sim = Sim::seeded(7);
    sim.link("laptop", "api.test").latency(ms(5)..ms(40));
    echo(&sim, "api.test:80");
    sim.host("refused.test");
    let client: Client = builder(&sim)
        .limits(Limits::new().per_origin(2))
        .timeouts(Timeouts::new().total(secs(9)))
        .profile("api.test", Profile::new().per_origin(1))
        .build()
        .unwrap();
    let run = sim.run(async move {
        for urls in [["http://api.test/a", "http://refused.test/"]; 4] {
            let calls = urls.iter().flat_map(|url| [*url; 3]).map(|url| {
                let client = &client;
                async move {
                    let call = client.get(url);
                    for _ in 0..explained {
                        client.explain(&call).unwrap();
                    }
                    let _ = call.send().await;
                }
            });
            join_all(calls).await;
        }
    });
    run.expect();
    run.trace().clone()
}

#[test]
fn to_explain_changes_nothing() {
    let plain = trace(0);
    assert!(plain.len() > 1_000);
    assert_eq!(plain, trace(1));
    assert_eq!(plain, trace(5));
}

#[test]
fn to_explain_needs_no_runtime() {
    let sim = Sim::seeded(1);
    let client = client(&sim);
    let said = client.explain(&client.get("http://api.test/")).unwrap();
    assert_eq!((client.gauges().total, said.time_left), (0, None));
}
