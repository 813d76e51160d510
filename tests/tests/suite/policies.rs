//! What a call says of itself, and what may be set for one call: keys, deadlines that travel, rests
//! that the origin asks for, and retries of its own.

use fulmar::{Client, DeadlineHeader, IdempotencyKey, Retry, Ruling, Seen, StopReason};

use crate::env::{Env, Server, ms};
use crate::retries::{scripted, with};

suite![
    a_key_is_drawn_once_a_call_and_is_the_same_on_every_attempt,
    a_key_of_ones_own_is_quoted,
    a_rest_that_the_origin_asks_for_is_waited_for,
    a_request_overrides_the_clients_retries_off_included,
    a_rule_of_the_users_own_decides,
    the_deadline_travels_to_the_origins_that_were_named_and_shrinks,
    the_origin_is_told_which_attempt_it_is_where_that_is_asked_for,
];

fn values(server: &Server, name: &str) -> Vec<Option<String>> {
    let requests = server.requests();
    let value = |request: &fulmar_tests::loopback::Request| request.header(name).map(str::to_owned);
    requests.iter().map(value).collect()
}

async fn attempts(client: &Client, url: String) -> u32 {
    client.get(url).send().await.unwrap().attempts()
}

pub(crate) async fn a_key_is_drawn_once_a_call_and_is_the_same_on_every_attempt(env: Env) {
    let server = scripted(&env, |n| (if n == 1 { 200 } else { 0 }, ""));
    let client = with(&env, 2);
    for outcome in [true, false] {
        let post = client.post(server.url("/pay")).body("money");
        let sent = post.idempotency_key(IdempotencyKey::Auto).send().await;
        assert_eq!(sent.is_ok(), outcome);
    }
    let keys = values(&server, "idempotency-key");
    let keys: Vec<_> = keys.iter().map(|key| key.as_deref().unwrap()).collect();
    assert_eq!(keys[0].len(), 34, "32 digits in quotes: {}", keys[0]);
    let (first, second) = keys.split_at(2);
    assert!(first.iter().all(|key| *key == first[0]), "{first:?}");
    assert!(second.len() >= 2 && second.iter().all(|key| *key == second[0]));
    assert_ne!(first[0], second[0]);
}

pub(crate) async fn a_key_of_ones_own_is_quoted(env: Env) {
    let (server, client) = (env.echo(), env.client());
    let post = client.post(server.url("/pay"));
    post.idempotency_key("order \"7\"").send().await.unwrap();
    let quoted = Some(r#""order \"7\"""#.to_owned());
    assert_eq!(values(&server, "idempotency-key"), [quoted]);
}

pub(crate) async fn a_rest_that_the_origin_asks_for_is_waited_for(env: Env) {
    let refusal = "Retry-After: 1\r\n";
    let server = scripted(
        &env,
        move |n| if n == 0 { (503, refusal) } else { (200, "") },
    );
    let begun = env.now();
    assert_eq!(attempts(&with(&env, 2), server.url("/")).await, 2);
    assert!(env.now() - begun >= ms(1_000));
}

pub(crate) async fn a_request_overrides_the_clients_retries_off_included(env: Env) {
    let server = scripted(&env, |n| (if n == 0 || n == 1 { 502 } else { 200 }, ""));
    let client = with(&env, 3);
    let get = client.get(server.url("/off")).retry(Retry::never());
    let response = get.send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.attempts()), (502, 1));
    let client = env.builder().retry(Retry::never()).build().unwrap();
    let get = client.get(server.url("/on")).retry(Retry::new(2));
    let response = get.send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.attempts()), (200, 2));
}

pub(crate) async fn a_rule_of_the_users_own_decides(env: Env) {
    let server = scripted(&env, |n| (if n % 2 == 0 { 404 } else { 200 }, ""));
    let client = env.client();
    let retry = Retry::new(2)
        .classifier(|seen, _| matches!(seen, Seen::Status(404)).then_some(Ruling::Retry));
    let get = client.get(server.url("/a")).retry(retry.clone());
    assert_eq!(get.send().await.unwrap().attempts(), 2);
    // What may not be repeated is not, whatever the rule says.
    let post = client.post(server.url("/b")).body("x").retry(retry);
    let response = post.send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.attempts()), (404, 1));
    let reason = response.retry_stop_reason();
    assert_eq!(reason, Some(StopReason::MaybeProcessed));
}

pub(crate) async fn the_deadline_travels_to_the_origins_that_were_named_and_shrinks(env: Env) {
    let (named, other) = (scripted(&env, |_| (502, "")), env.echo());
    let builder = env.builder().retry(Retry::new(2));
    let header = DeadlineHeader::GrpcTimeout;
    let client = builder.propagate_deadline(named.url("/"), header);
    let client = client.build().unwrap();
    for server in [&named, &other] {
        let get = client.get(server.url("/")).timeout(ms(10_000));
        get.send().await.unwrap();
    }
    let left = |value: &Option<String>| header.parse(value.as_ref()?.as_bytes());
    let left: Vec<_> = values(&named, "grpc-timeout").iter().map(left).collect();
    assert!(left.len() == 2 && left[0].is_some_and(|left| left < ms(10_000)));
    assert!(left[1].is_some() && left[1] < left[0], "{left:?}");
    assert_eq!(values(&other, "grpc-timeout"), [None]);
}

pub(crate) async fn the_origin_is_told_which_attempt_it_is_where_that_is_asked_for(env: Env) {
    let server = scripted(&env, |n| (if n == 0 { 502 } else { 200 }, ""));
    let builder = env.builder().retry(Retry::new(2));
    let client = builder.attempt_header("X-Attempt").build().unwrap();
    assert_eq!(attempts(&client, server.url("/")).await, 2);
    let told = ["1", "2"].map(|attempt| Some(attempt.to_owned()));
    assert_eq!(values(&server, "x-attempt"), told);
}
