//! What a user reads when something fails: phase, cause, fate.

use fulmar_sim::{Error, Fault, Retry, Sim, Timeouts};

use super::support::{builder, ms, raw, raw_then_close, text};

fn error_of(sim: &mut Sim, url: &'static str) -> Error {
    let timeouts = Timeouts::new().connect(ms(500));
    let client = builder(sim)
        .timeouts(timeouts)
        .retry(Retry::never())
        .build()
        .unwrap();
    sim.run(async move { text(&client, url).await.unwrap_err() })
        .into_output()
}

#[track_caller]
fn assert_says(error: &Error, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
    assert!(!text.contains('\n'), "{text:?}");
    let debug = format!("{error:?}");
    assert!(debug.contains("kind") && debug.contains("fate"), "{debug}");
}

#[test]
fn a_refused_port_reads_well() {
    let mut sim = Sim::seeded(1);
    sim.host("api.test");
    let error = error_of(&mut sim, "http://api.test/x");
    assert_says(
        &error,
        &["connect", "refused", "not processed", "http://api.test/x"],
    );
}

#[test]
fn a_black_hole_reads_well() {
    let mut sim = Sim::seeded(1);
    sim.host("api.test");
    sim.between(.., Fault::half_open("api.test"));
    let error = error_of(&mut sim, "http://api.test/");
    assert_says(
        &error,
        &["timed out", "connect", "not processed", "http://api.test"],
    );
}

#[test]
fn an_unknown_host_reads_well() {
    let mut sim = Sim::seeded(1);
    let error = error_of(&mut sim, "http://nowhere.test/");
    assert_says(
        &error,
        &["dns", "no such host", "not processed", "nowhere.test"],
    );
}

#[test]
fn garbage_reads_well() {
    let mut sim = Sim::seeded(1);
    raw(&sim, "api.test:80", "220 smtp.example ESMTP\r\n");
    let error = error_of(&mut sim, "http://api.test/");
    assert_says(&error, &["invalid response", "head", "maybe processed"]);
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn a_body_cut_short_reads_well() {
    let mut sim = Sim::seeded(1);
    raw_then_close(
        &sim,
        "api.test:80",
        "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
    );
    let error = error_of(&mut sim, "http://api.test/");
    assert_says(
        &error,
        &[
            "connection failed",
            "body",
            "request processed",
            "http://api.test",
        ],
    );
}

#[test]
fn a_connection_closed_instead_of_an_answer_reads_well() {
    let mut sim = Sim::seeded(1);
    raw_then_close(&sim, "api.test:80", "");
    let error = error_of(&mut sim, "http://api.test/");
    assert_says(
        &error,
        &["connection failed", "first byte", "maybe processed"],
    );
}

#[test]
fn a_head_cut_short_reads_well() {
    let mut sim = Sim::seeded(1);
    raw_then_close(&sim, "api.test:80", "HTTP/1.1 200 OK\r\nConte");
    let error = error_of(&mut sim, "http://api.test/");
    assert_says(&error, &["connection failed", "head", "maybe processed"]);
}

#[test]
fn a_reset_reads_well() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request().await?;
        conn.reset();
        Ok(())
    });
    let error = error_of(&mut sim, "http://api.test/");
    assert_says(&error, &["connection failed", "reset", "maybe processed"]);
    assert!(error.remote_addr().is_some());
}

#[test]
fn passwords_in_urls_are_not_repeated() {
    let mut sim = Sim::seeded(1);
    sim.host("api.test");
    let error = error_of(&mut sim, "http://user:secret@api.test/");
    assert!(!error.to_string().contains("secret"), "{error}");
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
}

#[test]
fn a_mistake_in_a_request_is_an_error_before_anything_is_sent() {
    let mut sim = Sim::seeded(1);
    let client = builder(&sim).build().unwrap();
    let run = sim.run(async move {
        for url in [
            "",
            "api.test",
            "ftp://api.test/",
            "http://",
            "http://a b/",
            "http://api.test:99999/",
        ] {
            let error = client.get(url).send().await.unwrap_err();
            assert_eq!(error.kind(), fulmar_sim::Kind::Request, "{url}: {error}");
        }
        let error = client
            .get("http://api.test/")
            .header("bad name", "x")
            .send()
            .await
            .unwrap_err();
        assert_says(&error, &["invalid request", "http://api.test"]);
        let error = client
            .get("http://api.test/")
            .header("x", "a\r\nb")
            .send()
            .await
            .unwrap_err();
        assert_says(&error, &["invalid request", "x"]);
        let error = client
            .get("http://api.test/")
            .header("content-length", "5")
            .body("four")
            .send()
            .await;
        assert!(error.is_err());
    });
    run.expect();
}

#[test]
fn every_error_of_a_status_says_which() {
    let mut sim = Sim::seeded(1);
    raw(
        &sim,
        "api.test:80",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    );
    let client = builder(&sim).build().unwrap();
    let run = sim.run(async move {
        let response = client.get("http://api.test/x").send().await.unwrap();
        response.error_for_status().unwrap_err()
    });
    assert_says(run.expect(), &["404", "http://api.test/x"]);
}

#[test]
fn a_url_that_could_be_read_in_two_ways_is_refused() {
    let mut sim = Sim::seeded(1);
    super::support::echo(&sim, "api.test:80");
    let client = builder(&sim).build().unwrap();
    let run = sim.run(async move {
        for url in [
            "http://api.test/a b",
            "http://api.test/a\tb",
            "http://api.test/x\r\nEvil: yes",
            "http://api.test/x HTTP/1.1\r\nEvil: yes\r\n\r\n",
            "http://api.test/\0",
            "http://api.test/\u{7f}",
            "http://api.te\nst/",
            "\nhttp://api.test/",
            "http://api.test/ ",
            "http://api.test/?q=\r\n",
            "http://[fe80::1%25eth0]/",
            "http://[fe80::1%eth0]/",
            "http://user:pass@/",
            "http://:80/",
            "http://api.test:-1/",
            "http://api.test:65536/",
        ] {
            // Also beside an origin that is known.
            for _ in 0..2 {
                let error = client.get(url).send().await.unwrap_err();
                assert_eq!(error.kind(), fulmar_sim::Kind::Request, "{url:?}: {error}");
                text(&client, "http://api.test/known").await.unwrap();
            }
        }
        let long = format!("http://api.test/{}", "x".repeat(100_000));
        let answer = text(&client, &long).await;
        assert!(answer.is_err() || answer.is_ok_and(|path| path.len() == 100_001));
        assert_eq!(
            text(&client, "http://api.test/\u{fc}?\u{df}")
                .await
                .unwrap(),
            "/%C3%BC"
        );
    });
    run.expect();
}

#[test]
fn a_url_that_is_refused_is_not_repeated_with_its_password() {
    for url in [
        "http://me:hunter2@api.test:99999/",
        "http://me:hunter2@/",
        "ftp://me:hunter2@api.test/",
        "http://me:hunter2@a b/",
    ] {
        let error = fulmar_sim::Url::parse(url).unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn an_error_after_a_status_knows_whether_that_disclaims_the_request() {
    use fulmar_sim::Fate::{MaybeProcessed, NotProcessed, Processed};
    for (line, keyed, fate) in [
        ("404 Not Found", false, Processed),
        ("408 Request Timeout", false, NotProcessed),
        ("409 Conflict", false, Processed),
        ("409 Conflict", true, MaybeProcessed),
        ("421 Misdirected Request", false, NotProcessed),
        ("425 Too Early", false, NotProcessed),
        ("429 Too Many Requests", false, NotProcessed),
        ("500 Internal Server Error", false, Processed),
        ("502 Bad Gateway", false, MaybeProcessed),
        ("503 Service Unavailable", false, MaybeProcessed),
        (
            "503 Service Unavailable\r\nRetry-After: 9",
            false,
            NotProcessed,
        ),
        ("504 Gateway Timeout", false, MaybeProcessed),
    ] {
        // Asked for at once, and where its body breaks off.
        for end in ["\r\nContent-Length: 5", "\r\nTransfer-Encoding: chunked"] {
            let mut sim = Sim::seeded(1);
            let answer = format!("HTTP/1.1 {line}{end}\r\n\r\n");
            raw_then_close(&sim, "api.test:80", answer);
            let client = builder(&sim).retry(Retry::never()).build().unwrap();
            let run = sim.run(async move {
                let mut post = client.post("http://api.test/x").body("one");
                if keyed {
                    post = post.idempotency_key("7");
                }
                let response = post.send().await.unwrap();
                let error = response.error_for_status_ref().map(drop).unwrap_err();
                let broken = response.bytes().await.unwrap_err();
                [error, broken].map(|error| error.fate())
            });
            assert_eq!(*run.expect(), [fate; 2], "{line}{end} {keyed}");
        }
    }
}
