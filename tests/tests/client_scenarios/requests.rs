//! What a request looks like to the server, and what its response offers.

use std::sync::{Arc, Mutex};

use fulmar_sim::{Client, Kind, Method, Sim, StatusCode, Timeouts, Version};
use serde_json::{Value, json};

use crate::support::{assert_quiet, builder, client, ms, secs};

/// What the server saw of one request: its line, its fields, its body.
#[derive(Clone, Debug)]
struct Seen {
    line: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Seen {
    fn header(&self, name: &str) -> Vec<&str> {
        let same = self.fields.iter().filter(|(n, _)| n == name);
        same.map(|(_, value)| value.as_str()).collect()
    }
}

/// Notes every request, and answers with a little JSON.
fn recording(sim: &Sim) -> Arc<Mutex<Vec<Seen>>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = seen.clone();
    sim.serve("api.test:80", move |mut conn| {
        let notes = notes.clone();
        async move {
            while let Some(request) = conn.request().await? {
                let fields = request.headers();
                notes.lock().unwrap().push(Seen {
                    line: format!("{} {}", request.method(), request.target()),
                    fields: fields
                        .map(|(n, v)| (n.to_ascii_lowercase(), v.into()))
                        .collect(),
                    body: request.body().to_vec(),
                });
                conn.respond(200, br#"{"name":"gull","wings":2}"#).await?;
            }
            Ok(())
        }
    });
    seen
}

/// Sends what `requests` says to a recording server.
fn record<F: Future<Output = ()> + Send + 'static>(
    requests: impl FnOnce(Client) -> F,
    settings: impl FnOnce(fulmar_sim::ClientBuilder) -> fulmar_sim::ClientBuilder,
) -> Vec<Seen> {
    let mut sim = Sim::seeded(1);
    let seen = recording(&sim);
    let client = settings(builder(&sim)).build().unwrap();
    sim.run(requests(client)).into_output();
    let seen = seen.lock().unwrap();
    seen.clone()
}

#[test]
fn there_is_a_verb_for_every_common_method_and_one_for_the_others() {
    let seen = record(
        |client| async move {
            let url = "http://api.test/x";
            for request in [
                client.get(url),
                client.head(url),
                client.post(url),
                client.put(url),
                client.patch(url),
                client.delete(url),
                client.options(url),
                client.request(Method::from_bytes(b"PURGE").unwrap(), url),
            ] {
                assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
            }
        },
        |builder| builder,
    );
    let methods: Vec<_> = seen.iter().map(|seen| seen.line.as_str()).collect();
    let expected = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE",
    ];
    assert_eq!(methods, expected.map(|method| format!("{method} /x")));
}

#[test]
fn query_pairs_are_encoded_and_added_to_those_of_the_url() {
    let seen = record(
        |client| async move {
            let pairs = [("q", "sea gull"), ("sign", "a&b=c"), ("ä", "ö")];
            for url in ["http://api.test", "http://api.test/s?page=2"] {
                client.get(url).query(&pairs).send().await.unwrap();
            }
        },
        |builder| builder,
    );
    let pairs = "q=sea+gull&sign=a%26b%3Dc&%C3%A4=%C3%B6";
    assert_eq!(seen[0].line, format!("GET /?{pairs}"));
    assert_eq!(seen[1].line, format!("GET /s?page=2&{pairs}"));
}

#[test]
fn a_requests_own_header_replaces_the_clients_and_others_are_added() {
    let seen = record(
        |client| async move {
            let request = client.get("http://api.test/").header("X-Key", "own");
            request.header("x-more", "1").send().await.unwrap();
            client.get("http://api.test/").send().await.unwrap();
        },
        |builder| {
            builder
                .default_header("x-key", "default")
                .user_agent("gull/1")
        },
    );
    assert_eq!(seen[0].header("x-key"), ["own"]);
    assert_eq!(seen[0].header("x-more"), ["1"]);
    assert_eq!(seen[1].header("x-key"), ["default"]);
    for seen in seen {
        assert_eq!(seen.header("user-agent"), ["gull/1"]);
        assert_eq!(seen.header("host"), ["api.test"]);
    }
}

#[test]
fn json_and_forms_name_their_type_unless_the_caller_did() {
    let seen = record(
        |client| async move {
            let value = json!({"name": "gull"});
            let post = || client.post("http://api.test/");
            post().json(&value).send().await.unwrap();
            let own = post().header("content-type", "application/merge-patch+json");
            own.json(&value).send().await.unwrap();
            post()
                .form(&[("a", "1 2"), ("b", "&")])
                .send()
                .await
                .unwrap();
        },
        |builder| builder,
    );
    assert_eq!(seen[0].header("content-type"), ["application/json"]);
    assert_eq!(seen[0].body, br#"{"name":"gull"}"#);
    assert_eq!(seen[0].header("content-length"), ["15"]);
    assert_eq!(
        seen[1].header("content-type"),
        ["application/merge-patch+json"]
    );
    assert_eq!(
        seen[2].header("content-type"),
        ["application/x-www-form-urlencoded"]
    );
    assert_eq!(seen[2].body, b"a=1+2&b=%26");
}

#[test]
fn a_bearer_token_is_sent_and_never_shown() {
    let seen = record(
        |client| async move {
            let request = client.get("http://api.test/").bearer_auth("s3cret");
            assert!(!format!("{request:?}").contains("s3cret"));
            request.send().await.unwrap();
        },
        |builder| builder,
    );
    assert_eq!(seen[0].header("authorization"), ["Bearer s3cret"]);
}

#[test]
fn a_response_tells_its_head_its_body_and_how_long_it_took() {
    let mut sim = Sim::seeded(1);
    sim.link("laptop", "api.test").latency(ms(10)..ms(10));
    let _seen = recording(&sim);
    let client = client(&sim);
    sim.run(async move {
        let get = || client.get("http://api.test/bird").send();
        let response = get().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.version(), Version::HTTP_11);
        assert_eq!(response.content_length(), Some(25));
        assert_eq!(response.headers()["content-length"], "25");
        assert_eq!(response.header("Content-Length"), Some(&b"25"[..]));
        // The name, the handshake and the exchange: a round trip is 20 ms.
        assert!(response.elapsed() >= ms(40) && response.elapsed() < ms(100));
        let bird: Value = response.json().await.unwrap();
        assert_eq!(bird, json!({"name": "gull", "wings": 2}));
        assert_eq!(get().await.unwrap().bytes().await.unwrap().len(), 25);
        assert!(get().await.unwrap().text().await.unwrap().contains("gull"));
    })
    .into_output();
}

#[test]
fn a_status_is_an_error_only_where_it_is_asked_for() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while let Some(request) = conn.request().await? {
            let status = request.path()[1..].parse().unwrap();
            conn.respond(status, "").await?;
        }
        Ok(())
    });
    let client = client(&sim);
    sim.run(async move {
        for status in [200, 301, 404, 418, 501] {
            let url = format!("http://api.test/{status}");
            let response = client.get(url).send().await.unwrap();
            assert_eq!(response.status(), status);
            match response.error_for_status() {
                Ok(response) => assert!(response.status().as_u16() < 400),
                Err(error) => {
                    assert!(status >= 400);
                    assert_eq!(error.kind(), Kind::Status);
                }
            }
        }
    })
    .into_output();
}

#[test]
fn connects_that_fail_leave_no_socket_and_no_slot() {
    let mut sim = Sim::seeded(1);
    sim.host("api.test");
    let client = builder(&sim)
        .timeouts(Timeouts::all(secs(1)))
        .build()
        .unwrap();
    let handle = client.clone();
    let run = sim.run(async move {
        for _ in 0..50 {
            client.get("http://api.test/").send().await.unwrap_err();
        }
    });
    assert_quiet(handle.gauges());
    assert_eq!(handle.gauges().total, 0);
    assert_eq!(run.open_sockets(), 0);
    run.into_output();
}
