//! Every limit on time passes, not before its instant, and says what it was.

use std::time::Duration;

use fulmar::{Body, Client, Error, Fate, Kind, Limits, Phase, Retry, Timeouts};
use fulmar_tests::toy_tls::ToyConnector;

use crate::env::{Env, Gate, PollTimes, ms};
use crate::responses::text;

suite![
    a_dial_without_an_answer_times_out,
    a_tls_handshake_without_an_answer_times_out,
    waiting_for_a_connection_times_out,
    a_peer_that_does_not_read_times_the_request_out,
    a_response_that_does_not_begin_times_out,
    a_head_that_does_not_end_times_out,
    a_body_that_stalls_times_out,
    an_attempt_times_out_and_the_next_one_has_its_own_time,
    the_whole_call_times_out_with_its_body,
    one_deadline_is_shared_by_many_calls,
    a_deadline_that_has_passed_sends_nothing,
    a_request_overrides_the_clients_timeouts_off_included,
];

const LIMIT: Duration = ms(40);

fn never(env: &Env, timeouts: Timeouts) -> Client {
    env.builder()
        .timeouts(timeouts)
        .retry(Retry::never())
        .build()
        .unwrap()
}

/// A request that times out in that phase, with that fate, and after its limit.
async fn times_out(env: &Env, client: Client, url: String, phase: Phase, fate: Fate) {
    let begun = env.now();
    let error = text(&client, url).await.unwrap_err();
    assert_timeout(&error, phase, fate);
    assert!(env.now() - begun >= LIMIT);
    // The dial belongs to the pool, and its own task may end it a moment later.
    env.until("an empty pool", || client.gauges().total == 0)
        .await;
    env.quiet(&client).await;
}

#[track_caller]
fn assert_timeout(error: &Error, phase: Phase, fate: Fate) {
    let said = (error.kind(), error.phase(), error.fate());
    assert_eq!(said, (Kind::Timeout, Some(phase), fate), "{error}");
    assert!(error.is_timeout() && error.is_deadline() == (phase == Phase::Total));
    let line = error.to_string();
    assert!(
        line.contains(phase.as_str()) && line.contains(&fate.to_string()),
        "{line}"
    );
}

pub(crate) async fn a_dial_without_an_answer_times_out(env: Env) {
    let (url, _guard) = env.black_hole();
    let client = never(&env, Timeouts::new().connect(LIMIT));
    times_out(&env, client, url, Phase::Connect, Fate::NotProcessed).await;
}

pub(crate) async fn a_tls_handshake_without_an_answer_times_out(env: Env) {
    let server = env.serve(|mut peer| async move { peer.gone().await });
    let builder = env
        .builder()
        .timeouts(Timeouts::new().tls(LIMIT))
        .retry(Retry::never());
    let client = builder.tls(ToyConnector).build().unwrap();
    let url = server
        .url("/")
        .replace("http:", "https:")
        .replace(".test/", ".test:80/");
    times_out(&env, client, url, Phase::Tls, Fate::NotProcessed).await;
}

pub(crate) async fn waiting_for_a_connection_times_out(env: Env) {
    let server = env.silent();
    let builder = env.builder().timeouts(Timeouts::new().pool(LIMIT));
    let client = builder.limits(Limits::new().per_origin(1)).build().unwrap();
    let holder = client.get(server.url("/")).send();
    let mut holder = Box::pin(holder);
    // Enough for the dial, which then belongs to the pool.
    assert!(PollTimes::new(1, holder.as_mut()).await.is_none());
    let begun = env.now();
    let error = text(&client, server.url("/")).await.unwrap_err();
    assert_timeout(&error, Phase::Pool, Fate::NotProcessed);
    assert!(env.now() - begun >= LIMIT);
    assert_eq!(client.gauges().waiting, 0);
}

pub(crate) async fn a_peer_that_does_not_read_times_the_request_out(env: Env) {
    let done = Gate::default();
    let opens = done.clone();
    let server = env.serve(move |mut peer| {
        let done = done.clone();
        async move {
            peer.head().await?;
            done.opened().await;
            Ok(())
        }
    });
    let client = never(&env, Timeouts::new().write(LIMIT));
    let put = client.put(server.url("/")).body(vec![0; 64 << 20]);
    let error = put.send().await.unwrap_err();
    assert_timeout(&error, Phase::Write, Fate::MaybeProcessed);
    assert_eq!(client.gauges().total, 0);
    opens.open();
}

pub(crate) async fn a_response_that_does_not_begin_times_out(env: Env) {
    let url = env.silent().url("/");
    let client = never(&env, Timeouts::new().first_byte(LIMIT));
    times_out(&env, client, url, Phase::FirstByte, Fate::MaybeProcessed).await;
}

pub(crate) async fn a_head_that_does_not_end_times_out(env: Env) {
    let url = env.raw("HTTP/1.1 200 OK\r\nContent-Le").url("/");
    let client = never(&env, Timeouts::new().head(LIMIT));
    times_out(&env, client, url, Phase::Head, Fate::MaybeProcessed).await;
}

pub(crate) async fn a_body_that_stalls_times_out(env: Env) {
    let url = env
        .raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nstall")
        .url("/");
    let client = never(&env, Timeouts::new().between_bytes(LIMIT));
    times_out(&env, client, url, Phase::Body, Fate::Processed).await;
}

pub(crate) async fn an_attempt_times_out_and_the_next_one_has_its_own_time(env: Env) {
    let server = env.serve(|mut peer| async move {
        while let Some(request) = peer.request().await? {
            if peer.connection == 1 {
                return peer.gone().await;
            }
            peer.respond(200, request.target).await?;
        }
        Ok(())
    });
    let client = env
        .builder()
        .timeouts(Timeouts::new().attempt(ms(200)))
        .build()
        .unwrap();
    let begun = env.now();
    let response = client.get(server.url("/x")).send().await.unwrap();
    assert!(response.attempts() >= 2 && env.now() - begun >= ms(200));
    assert_eq!(response.text().await.unwrap(), "/x");
}

pub(crate) async fn the_whole_call_times_out_with_its_body(env: Env) {
    let stalls = env.raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nstall");
    let client = never(&env, Timeouts::new().total(ms(300)));
    let begun = env.now();
    let mut response = client.get(stalls.url("/")).send().await.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "stall");
    let error = response.chunk().await.unwrap_err();
    assert_timeout(&error, Phase::Total, Fate::Processed);
    assert!(env.now() - begun >= ms(300));
    let client = never(&env, Timeouts::new().total(LIMIT));
    let url = env.silent().url("/");
    let error = text(&client, url).await.unwrap_err();
    assert!(error.is_deadline(), "{error}");
}

pub(crate) async fn one_deadline_is_shared_by_many_calls(env: Env) {
    let (server, silent) = (env.echo(), env.silent());
    let client = never(&env, Timeouts::new());
    let begun = env.now();
    let deadline = client.deadline(ms(300));
    let get = |url| client.get(url).deadline(deadline);
    assert_eq!(
        get(server.url("/a"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap(),
        "/a"
    );
    let error = get(silent.url("/b")).send().await.unwrap_err();
    assert!(error.is_deadline(), "{error}");
    assert!(env.now() - begun >= ms(300));
    let error = get(server.url("/c")).send().await.unwrap_err();
    assert_timeout(&error, Phase::Total, Fate::NotProcessed);
    assert_eq!(server.log(), ["GET /a"]);
}

pub(crate) async fn a_deadline_that_has_passed_sends_nothing(env: Env) {
    let (server, client) = (env.echo(), env.client());
    let put = client
        .put(server.url("/"))
        .body(Body::from("x"))
        .timeout(Duration::ZERO);
    let error = put.send().await.unwrap_err();
    assert_timeout(&error, Phase::Total, Fate::NotProcessed);
    assert_eq!((server.accepted(), client.gauges().total), (0, 0));
}

pub(crate) async fn a_request_overrides_the_clients_timeouts_off_included(env: Env) {
    let gate = Gate::default();
    let opens = gate.clone();
    let server = env.serve(move |mut peer| {
        let gate = gate.clone();
        async move {
            while let Some(request) = peer.request().await? {
                if request.target == "/slow" {
                    gate.opened().await;
                }
                peer.respond(200, request.target).await?;
            }
            Ok(())
        }
    });
    let client = never(&env, Timeouts::new().first_byte(LIMIT));
    let slow = client
        .get(server.url("/slow"))
        .timeouts(Timeouts::none())
        .send();
    let slow = env.spawn(async move { slow.await.unwrap().text().await });
    let error = text(&client, server.url("/slow")).await.unwrap_err();
    assert_timeout(&error, Phase::FirstByte, Fate::MaybeProcessed);
    opens.open();
    assert_eq!(slow.await.unwrap(), "/slow");
}
