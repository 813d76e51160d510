//! Many requests at a time, and results as they come.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fulmar::{Client, Retry};

use crate::env::{Env, Gate, PollTimes};

suite![
    results_come_in_the_order_of_completion_with_their_index,
    no_more_are_in_flight_than_the_cap_says,
    a_failure_is_a_value_and_stops_nobody,
    the_first_error_of_a_batch_that_must_succeed_cancels_the_rest,
    a_batch_that_is_dropped_leaves_nothing_in_flight,
];

fn never(env: &Env) -> Client {
    env.builder().retry(Retry::never()).build().unwrap()
}

pub(crate) async fn results_come_in_the_order_of_completion_with_their_index(env: Env) {
    let gates = [(); 3].map(|()| Gate::default());
    let opens = gates.clone();
    let server = env.serve(move |mut peer| {
        let gates = gates.clone();
        async move {
            while let Some(request) = peer.request().await? {
                let index: usize = request.target[1..].parse().unwrap();
                gates[index].opened().await;
                peer.respond(200, request.target).await?;
            }
            Ok(())
        }
    });
    let client = env.client();
    let requests = (0..3).map(|n| client.get(server.url(&format!("/{n}"))));
    let mut batch = client.batch(requests);
    for expected in [1, 2, 0] {
        opens[expected].open();
        let (index, result) = batch.next().await.unwrap();
        assert_eq!(index, expected);
        assert_eq!(result.unwrap().text().await.unwrap(), format!("/{index}"));
    }
    assert!(batch.next().await.is_none());
}

pub(crate) async fn no_more_are_in_flight_than_the_cap_says(env: Env) {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let gate = Gate::default();
    let (seen, opens) = (most.clone(), gate.clone());
    let server = env.serve(move |mut peer| {
        let (now, most, gate) = (now.clone(), most.clone(), gate.clone());
        async move {
            while let Some(request) = peer.request().await? {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                gate.opened().await;
                now.fetch_sub(1, Ordering::SeqCst);
                peer.respond(200, request.target).await?;
            }
            Ok(())
        }
    });
    let client = env.client();
    let requests: Vec<_> = (0..40)
        .map(|n| client.get(server.url(&format!("/{n}"))))
        .collect();
    let batch = client.batch(requests).max_in_flight(4);
    let all = env.spawn(batch.collect_all());
    env.until("four at once", || seen.load(Ordering::SeqCst) == 4)
        .await;
    opens.open();
    let results = all.await;
    assert_eq!(results.len(), 40);
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(seen.load(Ordering::SeqCst), 4);
}

pub(crate) async fn a_failure_is_a_value_and_stops_nobody(env: Env) {
    let (server, client) = (env.echo(), never(&env));
    let urls = [server.url("/a"), env.refused(), server.url("/b")];
    let requests = urls.map(|url| client.get(url));
    let results = client.batch(requests).collect_all().await;
    let ok: Vec<_> = results.iter().map(Result::is_ok).collect();
    assert_eq!(ok, [true, false, true]);
    assert!(results[1].as_ref().unwrap_err().is_connect());
}

pub(crate) async fn the_first_error_of_a_batch_that_must_succeed_cancels_the_rest(env: Env) {
    let (silent, client) = (env.silent(), never(&env));
    let urls = [silent.url("/a"), env.refused(), silent.url("/b")];
    let requests = urls.map(|url| client.get(url));
    let error = client.batch(requests).try_collect().await.unwrap_err();
    assert!(error.is_connect(), "{error}");
    assert_eq!(client.gauges().busy, 0);
    env.quiet(&client).await;
}

pub(crate) async fn a_batch_that_is_dropped_leaves_nothing_in_flight(env: Env) {
    let (silent, client) = (env.silent(), env.client());
    let requests = (0..10).map(|n| client.get(silent.url(&format!("/{n}"))));
    let mut batch = client.batch(requests).max_in_flight(3);
    assert!(PollTimes::new(1, batch.next()).await.is_none());
    assert_eq!(batch.in_flight(), 3);
    drop(batch);
    assert_eq!((client.gauges().busy, client.gauges().waiting), (0, 0));
    env.quiet(&client).await;
}
