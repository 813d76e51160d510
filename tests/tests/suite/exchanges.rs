//! Requests and the connections that carry them.

use std::sync::{Arc, Mutex};

use fulmar::{Limits, Method, Retry, StatusCode};
use fulmar_core::trace::Record;

use crate::env::{Env, join_all};

suite![
    a_get_is_answered_on_a_fresh_connection_and_the_next_on_the_same,
    every_method_arrives_as_it_is_and_with_its_body,
    header_fields_pass_both_ways_unchanged,
    a_host_and_a_path_with_a_query_arrive,
    a_name_with_several_addresses_leads_to_one_that_answers,
    a_burst_is_answered_within_the_limits,
    tasks_of_the_runtime_share_a_client,
    an_observer_hears_of_every_call,
    a_client_that_goes_closes_its_idle_connections,
    requests_that_cannot_be_sent_are_errors_and_reach_nobody,
];

pub(crate) async fn a_get_is_answered_on_a_fresh_connection_and_the_next_on_the_same(env: Env) {
    let (server, client) = (env.echo(), env.client());
    for (path, is_reused) in [("/a", false), ("/b", true), ("/c", true)] {
        let response = client.get(server.url(path)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!((response.is_reused(), response.attempts()), (is_reused, 1));
        assert_eq!(response.text().await.unwrap(), path);
        let gauges = client.gauges();
        assert_eq!((gauges.idle, gauges.total), (1, 1), "{gauges:?}");
    }
    assert_eq!(server.accepted(), 1);
}

pub(crate) async fn every_method_arrives_as_it_is_and_with_its_body(env: Env) {
    let (server, client) = (env.echo(), env.client());
    let custom = Method::from_bytes(b"BREW").unwrap();
    for method in [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        custom,
    ] {
        for body in ["", "body"] {
            let request = client.request(method.clone(), server.url("/m")).body(body);
            let text = request.send().await.unwrap().text().await.unwrap();
            assert_eq!(text, if method == Method::HEAD { "" } else { "/m" });
            let seen = server.requests().pop().unwrap();
            assert_eq!(
                (seen.method.as_str(), &*seen.body),
                (method.as_str(), body.as_bytes())
            );
            if method == Method::HEAD {
                // The peer, which knows no better, sent a body to it.
                env.quiet(&client).await;
            }
        }
    }
}

pub(crate) async fn header_fields_pass_both_ways_unchanged(env: Env) {
    let server = env.serve(|mut peer| async move {
        while let Some(request) = peer.request().await? {
            let fields = request
                .headers
                .iter()
                .filter(|(name, _)| name.starts_with("x-"));
            let lines: Vec<_> = fields
                .map(|(name, value)| format!("{name}: {value}\r\n"))
                .collect();
            peer.respond_with(200, &lines.concat(), "").await?;
        }
        Ok(())
    });
    let client = env
        .builder()
        .default_header("X-Default", "d")
        .user_agent("suite/1")
        .build()
        .unwrap();
    let long = "v".repeat(5_000);
    let request = client
        .get(server.url("/"))
        .header("X-One", "1; a=\"b\"")
        .header("X-Twice", "first")
        .header("X-Twice", "second")
        .header("X-Empty", "")
        .header("X-Long", &*long)
        .bearer_auth("token");
    let response = request.send().await.unwrap();
    assert_eq!(response.header("X-ONE"), Some(&b"1; a=\"b\""[..]));
    assert_eq!(response.header("x-default"), Some(&b"d"[..]));
    assert_eq!(response.header("x-empty"), Some(&b""[..]));
    assert_eq!(response.header("x-long"), Some(long.as_bytes()));
    let twice: Vec<_> = response.headers().get_all("x-twice").iter().collect();
    assert_eq!(twice, ["first", "second"]);
    let seen = server.requests().pop().unwrap();
    assert_eq!(seen.header("user-agent"), Some("suite/1"));
    assert_eq!(seen.header("authorization"), Some("Bearer token"));
}

pub(crate) async fn a_host_and_a_path_with_a_query_arrive(env: Env) {
    let (server, client) = (env.echo(), env.client());
    let text = client
        .get(server.url("/a/b%20c?d=e&f"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert_eq!(text, "/a/b%20c?d=e&f");
    let seen = server.requests().pop().unwrap();
    let url = server.url("");
    assert_eq!(seen.header("host"), url.strip_prefix("http://"));
}

pub(crate) async fn a_name_with_several_addresses_leads_to_one_that_answers(env: Env) {
    let (server, client) = (env.echo(), env.client());
    // On loopback, it may be that of another family which is asked first, in vain.
    let url = server.url("/n").replace("127.0.0.1", "localhost");
    assert_eq!(
        client.get(url).send().await.unwrap().text().await.unwrap(),
        "/n"
    );
}

pub(crate) async fn a_burst_is_answered_within_the_limits(env: Env) {
    let server = env.echo();
    let limits = Limits::new().per_origin(8).idle_per_origin(4);
    let client = env.builder().limits(limits).build().unwrap();
    let calls = (0..200).map(|n| {
        let call = client.get(server.url(&format!("/{n}"))).send();
        async move { (n, call.await.unwrap().text().await.unwrap()) }
    });
    for (n, text) in join_all(calls).await {
        assert_eq!(text, format!("/{n}"));
    }
    env.quiet(&client).await;
    assert!(client.gauges().idle <= 4, "{:?}", client.gauges());
    assert_eq!(server.requests().len(), 200);
    assert!(server.accepted() <= 8 + 200 / 2, "{}", server.accepted());
    env.until("the limit on idle connections", || server.open() <= 4)
        .await;
}

pub(crate) async fn tasks_of_the_runtime_share_a_client(env: Env) {
    let server = env.echo();
    let client = env
        .builder()
        .limits(Limits::new().per_origin(4))
        .build()
        .unwrap();
    let tasks: Vec<_> = (0..50)
        .map(|n| {
            let call = client.get(server.url(&format!("/{n}")));
            env.spawn(async move { call.send().await.unwrap().text().await.unwrap() })
        })
        .collect();
    for (n, text) in join_all(tasks).await.into_iter().enumerate() {
        assert_eq!(text, format!("/{n}"));
    }
    env.quiet(&client).await;
    assert_eq!(server.requests().len(), 50, "nothing was sent twice");
}

pub(crate) async fn an_observer_hears_of_every_call(env: Env) {
    let server = env.echo();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let heard = calls.clone();
    let observer = move |record: &Record| heard.lock().unwrap().push(record.call);
    let client = env
        .builder()
        .observer(observer)
        .retry(Retry::never())
        .build()
        .unwrap();
    for _ in 0..3 {
        client
            .get(server.url("/"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
    }
    let mut calls = calls.lock().unwrap().clone();
    // What a connection does of its own accord belongs to no call, which is 0.
    calls.retain(|call| *call != 0);
    calls.dedup();
    assert_eq!(calls.len(), 3, "{calls:?}");
}

pub(crate) async fn a_client_that_goes_closes_its_idle_connections(env: Env) {
    let (server, client) = (env.echo(), env.client());
    let calls = (0..5).map(|_| client.get(server.url("/")).send());
    let responses = join_all(calls).await;
    assert_eq!(server.open(), client.gauges().total as usize);
    drop(client);
    // A response that is being read has its connection still.
    for response in responses {
        assert_eq!(response.unwrap().text().await.unwrap(), "/");
    }
    env.until("closed sockets", || server.open() == 0).await;
}

pub(crate) async fn requests_that_cannot_be_sent_are_errors_and_reach_nobody(env: Env) {
    let (server, client) = (env.echo(), env.client());
    for request in [
        client.get("not a url"),
        client.get("ftp://example.test/"),
        client.get(server.url("/")).header("Bad Name", "x"),
        client.get(server.url("/")).header("X-Bad", "a\r\nb"),
    ] {
        let error = request.send().await.unwrap_err();
        assert_eq!(error.kind(), fulmar::Kind::Request, "{error}");
    }
    assert_eq!((server.accepted(), client.gauges().total), (0, 0));
}
