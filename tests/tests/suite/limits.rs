//! The pool's limits, as calls meet them.

use fulmar::{Kind, Limits, Phase, Profile};

use crate::env::{Env, Gate, PollTimes, Server, join_all};
use crate::responses::text;

suite![
    callers_of_one_connection_are_served_in_their_order,
    a_full_queue_refuses_at_once,
    the_limit_of_an_origin_holds_and_is_used,
    the_total_holds_over_many_origins,
    the_total_makes_room_for_another_origin_by_closing_an_idle_connection,
    gauges_count_what_there_is,
    calls_in_flight_are_capped_and_the_others_follow,
    a_profile_limits_its_hosts_and_no_others,
];

/// Answers when the gate is open.
fn gated(env: &Env, gate: &Gate) -> Server {
    let gate = gate.clone();
    env.serve(move |mut peer| {
        let gate = gate.clone();
        async move {
            while let Some(request) = peer.request().await? {
                gate.opened().await;
                peer.respond(200, request.target).await?;
            }
            Ok(())
        }
    })
}

pub(crate) async fn callers_of_one_connection_are_served_in_their_order(env: Env) {
    let server = env.echo();
    let client = env
        .builder()
        .limits(Limits::new().per_origin(1))
        .build()
        .unwrap();
    let paths: Vec<_> = (0..20).map(|n| format!("/{n}")).collect();
    join_all(paths.iter().map(|path| text(&client, server.url(path)))).await;
    let seen: Vec<_> = server
        .requests()
        .into_iter()
        .map(|request| request.target)
        .collect();
    assert_eq!((seen, server.accepted()), (paths, 1));
}

pub(crate) async fn a_full_queue_refuses_at_once(env: Env) {
    let gate = Gate::default();
    let server = gated(&env, &gate);
    let limits = Limits::new().per_origin(1).waiters(2);
    let client = env.builder().limits(limits).build().unwrap();
    let call = || {
        let call = client.get(server.url("/")).send();
        env.spawn(async move { call.await?.text().await })
    };
    let first = call();
    env.until("a request at the server", || server.log().len() == 1)
        .await;
    let waiting = [call(), call()];
    env.until("two that wait", || client.gauges().waiting == 2)
        .await;
    for _ in 0..3 {
        let error = text(&client, server.url("/")).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.phase()),
            (Kind::PoolFull, Some(Phase::Pool))
        );
        assert!(error.to_string().contains("pool"), "{error}");
    }
    gate.open();
    first.await.unwrap();
    assert!(join_all(waiting).await.iter().all(Result::is_ok));
}

pub(crate) async fn the_limit_of_an_origin_holds_and_is_used(env: Env) {
    let gate = Gate::default();
    let server = gated(&env, &gate);
    let client = env
        .builder()
        .limits(Limits::new().per_origin(3))
        .build()
        .unwrap();
    let calls = (0..10).map(|_| {
        let call = client.get(server.url("/")).send();
        env.spawn(async move { call.await.unwrap().text().await.unwrap() })
    });
    let calls: Vec<_> = calls.collect();
    env.until("three requests at the server", || server.log().len() == 3)
        .await;
    env.until("seven that wait", || client.gauges().waiting == 7)
        .await;
    assert_eq!(
        (client.gauges().busy, client.gauges().total),
        (3, 3),
        "{:?}",
        client.gauges()
    );
    gate.open();
    join_all(calls).await;
    assert_eq!((server.accepted(), server.log().len()), (3, 10));
}

pub(crate) async fn the_total_holds_over_many_origins(env: Env) {
    let servers: Vec<_> = (0..5).map(|_| env.echo()).collect();
    let client = env
        .builder()
        .limits(Limits::new().total(2))
        .build()
        .unwrap();
    let calls = (0..50).map(|n| {
        let (client, url) = (&client, servers[n % 5].url("/x"));
        async move {
            let text = text(client, url).await.unwrap();
            assert!(client.gauges().total <= 2, "{:?}", client.gauges());
            text
        }
    });
    assert!(join_all(calls).await.iter().all(|text| text == "/x"));
}

pub(crate) async fn the_total_makes_room_for_another_origin_by_closing_an_idle_connection(
    env: Env,
) {
    let (one, other) = (env.echo(), env.echo());
    let client = env
        .builder()
        .limits(Limits::new().total(1))
        .build()
        .unwrap();
    assert_eq!(text(&client, one.url("/1")).await.unwrap(), "/1");
    assert_eq!((client.gauges().idle, client.gauges().total), (1, 1));
    assert_eq!(text(&client, other.url("/2")).await.unwrap(), "/2");
    assert_eq!((client.gauges().idle, client.gauges().total), (1, 1));
    env.until("a closed connection", || one.open() == 0).await;
}

pub(crate) async fn gauges_count_what_there_is(env: Env) {
    let gate = Gate::default();
    let server = gated(&env, &gate);
    let client = env
        .builder()
        .limits(Limits::new().per_origin(1))
        .build()
        .unwrap();
    let count = || {
        let g = client.gauges();
        [g.connecting, g.busy, g.waiting, g.idle, g.total]
    };
    let (hole, _guard) = env.black_hole();
    let mut dialler = Box::pin(client.get(hole).send());
    assert!(PollTimes::new(1, dialler.as_mut()).await.is_none());
    assert_eq!(count(), [1, 0, 1, 0, 1]);
    drop(dialler);
    env.until("a dial given up", || client.gauges().total == 0)
        .await;
    let first = client.get(server.url("/1")).send();
    let first = env.spawn(first);
    env.until("a request at the server", || server.log().len() == 1)
        .await;
    assert_eq!(count(), [0, 1, 0, 0, 1]);
    let second = client.get(server.url("/2")).send();
    let second = env.spawn(async move { second.await.unwrap().text().await.unwrap() });
    env.until("one that waits", || count() == [0, 1, 1, 0, 1])
        .await;
    gate.open();
    let response = first.await.unwrap();
    assert_eq!(response.text().await.unwrap(), "/1");
    assert_eq!(second.await, "/2");
    assert_eq!(count(), [0, 0, 0, 1, 1]);
}

pub(crate) async fn calls_in_flight_are_capped_and_the_others_follow(env: Env) {
    let gate = Gate::default();
    let server = gated(&env, &gate);
    let client = env.builder().max_in_flight(2).build().unwrap();
    let calls: Vec<_> = (0..6)
        .map(|_| {
            let call = client.get(server.url("/")).send();
            env.spawn(async move { call.await?.text().await })
        })
        .collect();
    env.until("two requests at the server", || server.log().len() == 2)
        .await;
    // Nobody waits in the pool: they wait before it.
    let said = client.explain(&client.get(server.url("/"))).unwrap();
    assert_eq!(client.gauges().waiting, 0, "{said}");
    gate.open();
    assert!(join_all(calls).await.iter().all(Result::is_ok));
    assert_eq!((server.log().len(), server.accepted()), (6, 2));
}

pub(crate) async fn a_profile_limits_its_hosts_and_no_others(env: Env) {
    let gate = Gate::default();
    let (slow, fast) = (gated(&env, &gate), env.echo());
    let host = slow.url("/").replace("http://", "").replace('/', "");
    let client = env
        .builder()
        .profile(
            host,
            Profile::new().max_in_flight(1).default_header("x-p", "1"),
        )
        .build()
        .unwrap();
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let call = client.get(slow.url("/")).send();
            env.spawn(async move { call.await?.text().await })
        })
        .collect();
    env.until("a request at the server", || slow.log().len() == 1)
        .await;
    assert_eq!(text(&client, fast.url("/x")).await.unwrap(), "/x");
    gate.open();
    assert!(join_all(calls).await.iter().all(Result::is_ok));
    assert_eq!((slow.log().len(), slow.accepted()), (3, 1));
}
