//! What fails below, and what the error says of it.

use fulmar::{Error, Fate, Kind, Phase, Retry};

use crate::env::{Env, Peer, Server};
use crate::responses::{never, text};

suite![
    a_refused_connection_is_an_error_of_the_dial,
    a_name_that_cannot_exist_is_an_error_of_its_resolution,
    a_peer_that_closes_instead_of_an_answer_leaves_the_fate_open,
    a_peer_that_closes_within_the_head_leaves_the_fate_open,
    a_reset_before_the_head_leaves_the_fate_open,
    a_reset_within_the_head_leaves_the_fate_open,
    a_reset_within_the_body_came_after_the_origin_acted,
    a_reset_under_an_upload_is_an_error_of_the_call,
    a_client_that_failed_goes_on,
];

/// Checks what an error says, and that it is a line that names it.
#[track_caller]
fn assert_said(error: &Error, kind: Kind, phase: Phase, fate: Fate) {
    assert_eq!(
        (error.kind(), error.phase(), error.fate()),
        (kind, Some(phase), fate),
        "{error}"
    );
    let line = error.to_string();
    assert!(
        line.contains(phase.as_str()) && line.contains(&fate.to_string()),
        "{line}"
    );
    assert!(
        line.contains(error.url().unwrap()) && !line.contains('\n'),
        "{line}"
    );
    assert_eq!(error.tries(), 1);
}

/// Reads a request, writes these bytes, and breaks off.
fn resets(env: &Env, bytes: &'static str) -> Server {
    env.serve(move |mut peer: Peer| async move {
        peer.request().await?;
        peer.write(bytes).await?;
        peer.reset();
        Ok(())
    })
}

pub(crate) async fn a_refused_connection_is_an_error_of_the_dial(env: Env) {
    let client = never(&env);
    let error = text(&client, env.refused()).await.unwrap_err();
    assert_said(&error, Kind::Connect, Phase::Connect, Fate::NotProcessed);
    assert!(error.is_connect() && !error.is_timeout());
    assert_eq!(
        error.fault().unwrap().kind,
        fulmar_core::fault::FaultKind::Refused
    );
    env.until("an empty pool", || client.gauges().total == 0)
        .await;
}

pub(crate) async fn a_name_that_cannot_exist_is_an_error_of_its_resolution(env: Env) {
    // A label has 63 characters at most, so no resolver passes this on.
    let client = never(&env);
    let error = text(&client, format!("http://{}.test/", "a".repeat(64)))
        .await
        .unwrap_err();
    assert_said(&error, Kind::Connect, Phase::Dns, Fate::NotProcessed);
    env.until("an empty pool", || client.gauges().total == 0)
        .await;
}

pub(crate) async fn a_peer_that_closes_instead_of_an_answer_leaves_the_fate_open(env: Env) {
    let server = env.raw_then_close("");
    let error = text(&never(&env), server.url("/")).await.unwrap_err();
    assert_said(&error, Kind::Io, Phase::FirstByte, Fate::MaybeProcessed);
}

pub(crate) async fn a_peer_that_closes_within_the_head_leaves_the_fate_open(env: Env) {
    let server = env.raw_then_close("HTTP/1.1 200 OK\r\nContent-Le");
    let error = text(&never(&env), server.url("/")).await.unwrap_err();
    assert_said(&error, Kind::Io, Phase::Head, Fate::MaybeProcessed);
}

pub(crate) async fn a_reset_before_the_head_leaves_the_fate_open(env: Env) {
    let error = text(&never(&env), resets(&env, "").url("/"))
        .await
        .unwrap_err();
    assert_said(&error, Kind::Io, Phase::FirstByte, Fate::MaybeProcessed);
    assert_eq!(
        error.fault().unwrap().kind,
        fulmar_core::fault::FaultKind::Reset
    );
}

pub(crate) async fn a_reset_within_the_head_leaves_the_fate_open(env: Env) {
    let server = resets(&env, "HTTP/1.1 200 OK\r\nContent-Le");
    let error = text(&never(&env), server.url("/")).await.unwrap_err();
    assert_said(&error, Kind::Io, Phase::Head, Fate::MaybeProcessed);
}

pub(crate) async fn a_reset_within_the_body_came_after_the_origin_acted(env: Env) {
    let server = resets(&env, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello");
    let error = text(&never(&env), server.url("/")).await.unwrap_err();
    assert_said(&error, Kind::Io, Phase::Body, Fate::Processed);
}

pub(crate) async fn a_reset_under_an_upload_is_an_error_of_the_call(env: Env) {
    let server = env.serve(|mut peer| async move {
        peer.head().await?;
        peer.exactly(100_000).await?;
        peer.reset();
        Ok(())
    });
    let client = never(&env);
    let put = client.put(server.url("/")).body(vec![0; 64 << 20]);
    let error = put.send().await.unwrap_err();
    assert_said(
        &error,
        Kind::Io,
        error.phase().unwrap(),
        Fate::MaybeProcessed,
    );
    // A write meets it, or the read that goes on meanwhile.
    assert!(
        matches!(error.phase(), Some(Phase::Write | Phase::FirstByte)),
        "{error}"
    );
    assert_eq!(client.gauges().total, 0);
}

pub(crate) async fn a_client_that_failed_goes_on(env: Env) {
    let server = env.serve(|mut peer| async move {
        while let Some(request) = peer.request().await? {
            match &*request.target {
                "/close" => return Ok(()),
                "/garbage" => peer.write("garbage\r\n\r\n").await?,
                "/short" => {
                    peer.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort")
                        .await?;
                    return Ok(());
                }
                "/reset" => {
                    peer.reset();
                    return Ok(());
                }
                path => peer.respond(200, path).await?,
            }
        }
        Ok(())
    });
    let client = env.builder().retry(Retry::never()).build().unwrap();
    for path in ["/close", "/garbage", "/short", "/reset"] {
        text(&client, server.url(path)).await.unwrap_err();
        assert_eq!(
            text(&client, server.url("/fine")).await.unwrap(),
            "/fine",
            "after {path}"
        );
        assert_eq!(
            (client.gauges().idle, client.gauges().total),
            (1, 1),
            "after {path}"
        );
    }
}
