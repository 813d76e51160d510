//! Handshakes that are sent elsewhere.

use std::sync::{Arc, Mutex};

use fulmar_sim::websocket::Refused;
use fulmar_sim::{ClientBuilder, Error, HeaderValue, Profile, Sim};

use crate::server::{Peer, URL};
use crate::support::{TlsConn, assert_quiet, builder, secure};

/// What each server was asked: the host, the target, the fields that are secrets.
type Asked = Arc<Mutex<Vec<(String, String, Option<String>)>>>;

/// Sends every request for a path on the list elsewhere, and accepts all others.
fn serve(sim: &Sim, host: &'static str, moved: &'static [(&str, &str)]) -> Asked {
    let asked = Asked::default();
    let asks = asked.clone();
    sim.serve(&format!("{host}:80"), move |mut conn| {
        let asks = asks.clone();
        async move {
            while let Some(request) = conn.request().await? {
                let secret = request
                    .header("authorization")
                    .or(request.header("x-secret"));
                let asked = (
                    host.to_owned(),
                    request.target().to_owned(),
                    secret.map(Into::into),
                );
                asks.lock().unwrap().push(asked);
                let to = moved.iter().find(|(from, _)| *from == request.target());
                let Some((_, to)) = to else {
                    conn.write_all(crate::server::switch(&request, "")).await?;
                    while !conn.read(1024).await?.is_empty() {}
                    return Ok(());
                };
                let response = http::Response::builder()
                    .status(307)
                    .header("location", *to);
                conn.respond_with(response.body("moved").unwrap()).await?;
            }
            Ok(())
        }
    });
    asked
}

fn connect(sim: &mut Sim, client: ClientBuilder) -> Result<(), Error> {
    let client = client.build().unwrap();
    let run = sim.run(async move {
        let opening = client.websocket(URL).bearer_auth("secret").connect();
        let opened = opening.await.map(drop);
        assert_quiet(client.gauges());
        opened
    });
    run.into_output()
}

#[test]
fn a_redirect_is_followed_with_credentials_to_the_same_origin_alone() {
    let mut sim = Sim::seeded(1);
    let near = serve(
        &sim,
        "api.test",
        &[
            ("/chat", "/moved?x=1"),
            ("/moved?x=1", "ws://other.test/chat"),
        ],
    );
    let far = serve(&sim, "other.test", &[]);
    let client = builder(&sim);
    connect(&mut sim, client).unwrap();
    let secret = Some("Bearer secret".to_owned());
    let asked = |path: &str| ("api.test".to_owned(), path.to_owned(), secret.clone());
    assert_eq!(*near.lock().unwrap(), [asked("/chat"), asked("/moved?x=1")]);
    let without = ("other.test".to_owned(), "/chat".to_owned(), None);
    assert_eq!(*far.lock().unwrap(), [without]);
}

#[test]
fn credentials_that_were_left_behind_do_not_come_back_with_the_way_nor_come_from_the_location() {
    let mut sim = Sim::seeded(7);
    let moved = &[("/chat", "ws://other.test/chat")];
    let near = serve(&sim, "api.test", moved);
    let moved = &[("/chat", "ws://user:password@api.test/back")];
    let far = serve(&sim, "other.test", moved);
    let client = builder(&sim);
    connect(&mut sim, client).unwrap();
    let asked = |host: &str, path: &str, secret: Option<&str>| {
        (host.to_owned(), path.to_owned(), secret.map(str::to_owned))
    };
    let with = asked("api.test", "/chat", Some("Bearer secret"));
    assert_eq!(
        *near.lock().unwrap(),
        [with, asked("api.test", "/back", None)]
    );
    assert_eq!(*far.lock().unwrap(), [asked("other.test", "/chat", None)]);
}

#[test]
fn from_tls_a_redirect_to_plain_text_is_not_followed() {
    for (to, is_followed) in [("ws://other.test/", false), ("wss://other.test/", true)] {
        let mut sim = Sim::seeded(8);
        let plain = serve(&sim, "other.test", &[]);
        let moved = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
        sim.serve("api.test:443", move |conn| {
            let moved = moved.clone();
            async move {
                let mut tls = TlsConn::new(conn, "api.test");
                tls.request().await?;
                tls.write(moved.as_bytes()).await
            }
        });
        let asked = Arc::new(Mutex::new(0));
        let count = asked.clone();
        sim.serve("other.test:443", move |conn| {
            *count.lock().unwrap() += 1;
            async move {
                let mut tls = TlsConn::new(conn, "other.test");
                tls.request().await?;
                let no = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
                tls.write(no.as_bytes()).await
            }
        });
        let client = secure(&sim).build().unwrap();
        let run = sim.run(async move {
            let opening = client.websocket("wss://api.test/chat").connect();
            opening.await.map(drop).unwrap_err().status().unwrap()
        });
        let status = *run.expect();
        assert_eq!(status, if is_followed { 403 } else { 302 });
        assert_eq!(*asked.lock().unwrap(), usize::from(is_followed));
        assert!(plain.lock().unwrap().is_empty());
    }
}

#[test]
fn a_client_whose_own_headers_are_secret_follows_to_no_other_origin() {
    let mut sim = Sim::seeded(2);
    serve(&sim, "api.test", &[("/chat", "http://other.test/chat")]);
    let far = serve(&sim, "other.test", &[]);
    let mut secret = HeaderValue::from_static("key");
    secret.set_sensitive(true);
    let client = builder(&sim).default_header("x-secret", secret);
    let error = connect(&mut sim, client).unwrap_err();
    assert_eq!(error.status().unwrap(), 307);
    let answer = Refused::of(&error).unwrap();
    assert_eq!(answer.headers()["location"], "http://other.test/chat");
    assert!(far.lock().unwrap().is_empty());
}

#[test]
fn each_place_is_asked_in_the_manner_of_its_own_profile() {
    let mut sim = Sim::seeded(6);
    let near = serve(&sim, "api.test", &[("/chat", "ws://other.test/chat")]);
    let far = serve(&sim, "other.test", &[]);
    let manner = |key| Profile::new().default_header("x-secret", key);
    let client = builder(&sim)
        .profile("api.test", manner("near"))
        .profile("other.test", manner("far"));
    let client = client.build().unwrap();
    let run = sim.run(async move {
        let opened = client.websocket(URL).connect().await;
        opened.map(drop)
    });
    run.into_output().unwrap();
    let asked = |host: &str, key: &str| (host.to_owned(), "/chat".to_owned(), Some(key.to_owned()));
    assert_eq!(*near.lock().unwrap(), [asked("api.test", "near")]);
    assert_eq!(*far.lock().unwrap(), [asked("other.test", "far")]);
}

#[test]
fn redirects_end() {
    let mut sim = Sim::seeded(3);
    let asked = serve(&sim, "api.test", &[("/chat", "/chat")]);
    let client = builder(&sim);
    let error = connect(&mut sim, client).unwrap_err();
    assert_eq!(error.status().unwrap(), 307);
    assert_eq!(asked.lock().unwrap().len(), 6);
}

#[test]
fn what_is_no_place_for_a_websocket_is_not_gone_to() {
    for to in ["ftp://other.test/", "", "ws://"] {
        let mut sim = Sim::seeded(4);
        sim.serve("api.test:80", move |mut conn| async move {
            while conn.request().await?.is_some() {
                let response = http::Response::builder().status(301).header("location", to);
                conn.respond_with(response.body("").unwrap()).await?;
            }
            Ok(())
        });
        let client = builder(&sim);
        let error = connect(&mut sim, client).unwrap_err();
        assert_eq!(error.status().unwrap(), 301, "{to}");
    }
    let mut sim = Sim::seeded(5);
    sim.serve("api.test:80", |mut conn| async move {
        let _ = conn.request().await?;
        let response = http::Response::builder().status(301);
        let response = response.header("location", "/a").header("location", "/b");
        conn.respond_with(response.body("").unwrap()).await?;
        assert!(Peer::accept(conn, "").await?.is_none(), "two say nothing");
        Ok(())
    });
    let client = builder(&sim);
    assert!(connect(&mut sim, client).unwrap_err().is_status());
}
