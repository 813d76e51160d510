//! Bodies that move too slowly to be waited for.

use fulmar::{Client, Error, Fate, Phase, Timeouts};

use crate::env::{Env, Gate, ms};
use crate::responses::text;

suite![
    a_response_that_moves_too_slowly_is_given_up_after_one_window,
    an_upload_that_the_peer_takes_too_slowly_is_given_up,
];

/// 1,000 bytes/s over the shortest window there is, and no other limit.
fn guarded(env: &Env) -> Client {
    let timeouts = Timeouts::none().min_speed(1_000, ms(1_000));
    env.builder().timeouts(timeouts).build().unwrap()
}

#[track_caller]
fn assert_slow(error: &Error, phase: Phase, fate: Fate) {
    assert!(error.is_timeout() && !error.is_deadline(), "{error}");
    assert_eq!((error.phase(), error.fate()), (Some(phase), fate));
    assert!(
        error.too_slow().is_some_and(|speed| speed < 1_000),
        "{error}"
    );
}

pub(crate) async fn a_response_that_moves_too_slowly_is_given_up_after_one_window(env: Env) {
    let stalls = env.raw("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nstall");
    let (client, begun) = (guarded(&env), env.now());
    let error = text(&client, stalls.url("/")).await.unwrap_err();
    assert_slow(&error, Phase::Body, Fate::Processed);
    assert!(env.now() - begun >= ms(1_000));
    assert_eq!(client.gauges().total, 0);
}

pub(crate) async fn an_upload_that_the_peer_takes_too_slowly_is_given_up(env: Env) {
    let gate = Gate::default();
    let opens = gate.clone();
    let server = env.serve(move |mut peer| {
        let gate = gate.clone();
        async move {
            peer.head().await?;
            gate.opened().await;
            Ok(())
        }
    });
    let client = guarded(&env);
    let put = client.put(server.url("/")).body(vec![0; 64 << 20]);
    let error = put.send().await.unwrap_err();
    assert_slow(&error, Phase::Write, Fate::MaybeProcessed);
    assert_eq!((error.tries(), client.gauges().total), (1, 0));
    opens.open();
}
