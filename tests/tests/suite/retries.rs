//! Retries: what is repeated, and what is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fulmar::{Backoff, Body, Client, Fate, Jitter, Kind, Phase, Retry, StopReason};

use crate::env::{Env, Server, ms};
use crate::responses::text;
use crate::uploads::kilobytes;

suite![
    refusals_and_then_success_are_a_success_on_one_connection,
    the_last_refusal_is_returned_as_a_response_that_can_be_read,
    a_connection_that_dies_under_a_get_is_no_failure,
    a_refused_dial_is_tried_again_and_stays_an_error_with_its_history,
    a_post_is_not_repeated_once_a_byte_of_it_went_out,
    a_post_with_a_key_or_a_promise_is_repeated,
    a_refusal_that_asks_for_too_long_a_wait_is_returned_at_once,
    a_refusal_that_asks_for_more_than_the_deadline_is_returned_at_once,
    retries_stop_when_their_budget_is_empty,
    a_stream_that_was_pulled_from_is_never_sent_again,
    a_factory_makes_the_body_anew_for_each_attempt,
    a_connection_that_went_stale_in_the_pool_is_no_failure,
];

pub(crate) fn with(env: &Env, attempts: u32) -> Client {
    let backoff = Backoff::constant(ms(5)).jitter(Jitter::None);
    env.builder()
        .retry(Retry::new(attempts).backoff(backoff).throttle(backoff))
        .build()
        .unwrap()
}

/// Answers the n-th request, over all connections, by a status and header lines; 0 closes.
pub(crate) fn scripted(
    env: &Env,
    answer: impl Fn(usize) -> (u16, &'static str) + Send + Sync + 'static,
) -> Server {
    let (count, answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(answer));
    env.serve(move |mut peer| {
        let (count, answer) = (count.clone(), answer.clone());
        async move {
            while peer.request().await?.is_some() {
                match answer(count.fetch_add(1, Ordering::Relaxed)) {
                    (0, _) => return Ok(()),
                    (status, lines) => peer.respond_with(status, lines, status.to_string()).await?,
                }
            }
            Ok(())
        }
    })
}

pub(crate) async fn refusals_and_then_success_are_a_success_on_one_connection(env: Env) {
    for status in [429, 502, 503, 504] {
        let server = scripted(&env, move |n| (if n < 2 { status } else { 200 }, ""));
        let client = with(&env, 3);
        let begun = env.now();
        let response = client.get(server.url("/x")).send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.attempts()), (200, 3));
        assert!(!response.retry_exhausted() && env.now() - begun >= ms(10));
        assert_eq!(response.text().await.unwrap(), "200");
        assert_eq!(server.log(), ["GET /x"; 3]);
        assert_eq!(
            server.accepted(),
            1,
            "a refusal with a whole body keeps its connection"
        );
    }
}

pub(crate) async fn the_last_refusal_is_returned_as_a_response_that_can_be_read(env: Env) {
    let server = scripted(&env, |_| (502, ""));
    let client = with(&env, 3);
    let response = client.get(server.url("/x")).send().await.unwrap();
    assert!(response.retry_exhausted());
    assert_eq!(response.retry_stop_reason(), Some(StopReason::MaxAttempts));
    assert_eq!((response.status().as_u16(), response.attempts()), (502, 3));
    assert_eq!(response.text().await.unwrap(), "502");
    assert_eq!(server.log().len(), 3);
}

pub(crate) async fn a_connection_that_dies_under_a_get_is_no_failure(env: Env) {
    let server = scripted(&env, |n| (if n == 0 { 0 } else { 200 }, ""));
    let response = with(&env, 3).get(server.url("/x")).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.attempts()), (200, 2));
    assert_eq!(server.log(), ["GET /x"; 2]);
}

pub(crate) async fn a_refused_dial_is_tried_again_and_stays_an_error_with_its_history(env: Env) {
    let client = with(&env, 3);
    let error = text(&client, env.refused()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.phase()),
        (Kind::Connect, Some(Phase::Connect))
    );
    assert_eq!(error.fate(), Fate::NotProcessed);
    assert_eq!(error.retry_stop_reason(), Some(StopReason::MaxAttempts));
    assert!(error.retry_exhausted());
    let numbers: Vec<_> = error
        .attempts()
        .iter()
        .map(|attempt| attempt.number)
        .collect();
    assert_eq!((error.tries(), &*numbers), (3, &[1, 2, 3][..]));
}

pub(crate) async fn a_post_is_not_repeated_once_a_byte_of_it_went_out(env: Env) {
    let server = scripted(&env, |_| (0, ""));
    let post = with(&env, 3).post(server.url("/pay")).body("money");
    let error = post.send().await.unwrap_err();
    let said = (error.kind(), error.fate(), error.tries());
    assert_eq!(said, (Kind::Io, Fate::MaybeProcessed, 1));
    assert_eq!(error.retry_stop_reason(), Some(StopReason::MaybeProcessed));
    assert!(!error.retry_exhausted());
    assert_eq!(server.log(), ["POST /pay money"]);
}

pub(crate) async fn a_post_with_a_key_or_a_promise_is_repeated(env: Env) {
    let server = scripted(&env, |n| (if n % 2 == 0 { 0 } else { 200 }, ""));
    let client = with(&env, 3);
    let keyed = client
        .post(server.url("/"))
        .header("Idempotency-Key", "\"k\"")
        .body("a");
    let response = keyed.send().await.unwrap();
    assert_eq!(response.attempts(), 2);
    response.text().await.unwrap();
    // One that is sure to need a connection of its own.
    let server = scripted(&env, |n| (if n % 2 == 0 { 0 } else { 200 }, ""));
    let promised = client.post(server.url("/")).idempotent().body("b");
    assert_eq!(promised.send().await.unwrap().attempts(), 2);
    assert_eq!(server.log(), ["POST / b"; 2]);
}

pub(crate) async fn a_refusal_that_asks_for_too_long_a_wait_is_returned_at_once(env: Env) {
    let server = scripted(&env, |_| (503, "Retry-After: 3600\r\n"));
    let response = with(&env, 3).get(server.url("/")).send().await.unwrap();
    assert_eq!(
        response.retry_stop_reason(),
        Some(StopReason::RetryAfterTooLong)
    );
    assert_eq!((response.status().as_u16(), response.attempts()), (503, 1));
}

pub(crate) async fn a_refusal_that_asks_for_more_than_the_deadline_is_returned_at_once(env: Env) {
    let server = scripted(&env, |_| (503, "Retry-After: 50\r\n"));
    let call = with(&env, 3).get(server.url("/")).timeout(ms(30_000));
    let response = call.send().await.unwrap();
    assert_eq!(
        response.retry_stop_reason(),
        Some(StopReason::DeadlineWouldExpire)
    );
    assert_eq!(response.attempts(), 1);
}

pub(crate) async fn retries_stop_when_their_budget_is_empty(env: Env) {
    let server = scripted(&env, |_| (502, ""));
    let client = with(&env, 10);
    for _ in 0..4 {
        let response = client.get(server.url("/x")).send().await.unwrap();
        assert_eq!(response.retry_stop_reason(), Some(StopReason::BudgetEmpty));
        response.text().await.unwrap();
    }
    // Two retries in ten seconds, however many calls fail.
    assert_eq!(server.log().len(), 4 + 2);
}

pub(crate) async fn a_stream_that_was_pulled_from_is_never_sent_again(env: Env) {
    let server = scripted(&env, |_| (502, ""));
    let taken = Arc::new(AtomicUsize::new(0));
    let body = Body::stream(kilobytes(1, &taken));
    let response = with(&env, 3)
        .put(server.url("/x"))
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(
        response.retry_stop_reason(),
        Some(StopReason::BodyNotReplayable)
    );
    assert_eq!((server.log().len(), taken.load(Ordering::Relaxed)), (1, 1));
}

pub(crate) async fn a_factory_makes_the_body_anew_for_each_attempt(env: Env) {
    let server = scripted(&env, |n| (if n < 2 { 502 } else { 200 }, ""));
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = taken.clone();
    let body = Body::factory(move || kilobytes(7, &counter), Some(7 * 1024));
    let response = with(&env, 3)
        .put(server.url("/x"))
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(taken.load(Ordering::Relaxed), 3 * 7);
    assert!(
        server
            .requests()
            .iter()
            .all(|request| request.body.len() == 7 * 1024)
    );
}

pub(crate) async fn a_connection_that_went_stale_in_the_pool_is_no_failure(env: Env) {
    // Every connection answers once, reads the next request, and ends instead of an answer.
    let server = env.serve(|mut peer| async move {
        if let Some(request) = peer.request().await? {
            peer.respond(200, request.target).await?;
            peer.request().await?;
        }
        Ok(())
    });
    let client = with(&env, 1);
    assert_eq!(text(&client, server.url("/a")).await.unwrap(), "/a");
    let response = client.get(server.url("/b")).send().await.unwrap();
    assert_eq!(response.attempts(), 2, "the first was free");
    assert_eq!(response.text().await.unwrap(), "/b");
    // Where it may not be repeated, the caller is told.
    let error = client
        .post(server.url("/c"))
        .body("x")
        .send()
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.fate()),
        (Kind::Io, Fate::MaybeProcessed)
    );
    assert!(error.attempts()[0].reused);
    assert_eq!(server.log(), ["GET /a", "GET /b", "GET /b", "POST /c x"]);
}
