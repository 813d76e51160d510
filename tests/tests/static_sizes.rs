//! What the types promise before anything runs.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use std::future::Future;

use fulmar_sim::{Body, Client, ClientBuilder, Error, RequestBuilder, Response, Sending, Sim};

fn sendable<T: Send>(value: T) -> T {
    value
}

fn shared<T: Send + Sync>() {}

fn moved<T: Send>() {}

fn future<F: Future + Send>(_: F) {}

#[test]
fn a_client_is_cloned_and_shared_between_threads() {
    fn cloned<T: Clone + Send + Sync + 'static>() {}
    cloned::<Client>();
    cloned::<Error>();
    shared::<Response>();
    shared::<Body>();
    moved::<ClientBuilder>();
    moved::<RequestBuilder>();
    moved::<Sending>();
}

#[test]
fn no_type_of_the_client_has_a_parameter() {
    // It compiles: an application's struct names them bare.
    struct App {
        client: Client,
        last: Option<Result<Response, Error>>,
    }
    let sim = Sim::seeded(1);
    let app = App {
        client: Client::new(sim.net("laptop")),
        last: None,
    };
    assert!(app.last.is_none() && app.client.gauges().total == 0);
}

#[test]
fn every_future_may_move_between_threads() {
    let sim = Sim::seeded(1);
    let client = Client::new(sim.net("laptop"));
    future(client.get("http://api.test/").send());
    future(sendable(async {
        let mut response = client.get("http://api.test/").send().await?;
        response.chunk().await?;
        response.text().await
    }));
    future(sendable(async {
        let response = client.get("http://api.test/").await?;
        let mut body = response.into_body();
        while body.chunk().await?.is_some() {}
        body.bytes().await
    }));
}

#[test]
fn what_a_caller_holds_is_small() {
    assert!(
        size_of::<Response>() <= 256,
        "Response: {}",
        size_of::<Response>()
    );
    assert!(
        size_of::<Sending>() <= 1024,
        "Sending: {}",
        size_of::<Sending>()
    );
    assert_eq!(size_of::<Error>(), 8);
    assert_eq!(size_of::<Client>(), 8);
    assert!(
        size_of::<Result<Response, Error>>() <= 256,
        "{}",
        size_of::<Result<Response, Error>>()
    );
    assert!(size_of::<Body>() <= 64, "Body: {}", size_of::<Body>());
}
