//! What a caller can ask of requests, responses and errors.

use std::pin::Pin;

use fulmar_sim::{Kind, Retry, Sim};
use futures_core::Stream;

use super::support::{at, builder, client, ms, raw_then_close};

#[test]
fn credentials_are_sent_and_shown_to_nobody() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while let Some(request) = conn.request().await? {
            let sent = request.header("authorization").unwrap_or("").to_owned();
            conn.respond(200, sent).await?;
        }
        Ok(())
    });
    let client = client(&sim);
    let run = sim.run(async move {
        let get = || client.get("http://api.test/");
        let request = get().basic_auth("Aladdin", Some("open sesame"));
        assert!(!format!("{request:?}").contains("QWxh"));
        let text = request.send().await.unwrap().text().await.unwrap();
        assert_eq!(text, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        let request = get().basic_auth("user", None::<&str>);
        let text = request.send().await.unwrap().text().await.unwrap();
        assert_eq!(text, "Basic dXNlcjo=");
        for (user, password) in [("a:b", "c"), ("a\r\nb", "c"), ("a", "b\0")] {
            let request = get().basic_auth(user, Some(password));
            let error = request.send().await.unwrap_err();
            assert!(error.is_request(), "{error}");
        }
    });
    run.expect();
}

#[test]
fn user_information_of_a_url_is_sent_as_basic_and_shown_to_nobody() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while let Some(request) = conn.request().await? {
            let sent = request
                .header_all("authorization")
                .collect::<Vec<_>>()
                .join(", ");
            conn.respond(200, sent).await?;
        }
        Ok(())
    });
    let client = client(&sim);
    let run = sim.run(async move {
        let text = async |request: fulmar_sim::RequestBuilder| {
            request.send().await.unwrap().text().await.unwrap()
        };
        let url = "http://Aladdin:open%20sesame@api.test/x#y";
        let basic = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
        let parsed = fulmar_sim::Url::parse(url).unwrap();
        for shown in [format!("{parsed:?}"), format!("{:?}", client.get(url))] {
            assert!(
                !shown.contains("open") && !shown.contains("QWxh"),
                "{shown}"
            );
        }
        assert_eq!(text(client.get(url)).await, basic);
        assert_eq!(text(client.get(&parsed)).await, basic);
        assert_eq!(text(client.get("http://api.test/x")).await, "");
        let own = client.get(url).header("authorization", "Own");
        assert_eq!(text(own).await, "Own");
        assert_eq!(text(client.get(url).bearer_auth("t")).await, "Bearer t");
        for wrong in [
            "http://a%3Ab:secret@api.test/",
            "http://a:secret%00@api.test/",
        ] {
            let error = client.get(wrong).send().await.unwrap_err();
            assert!(error.is_request(), "{error}");
            assert!(
                !format!("{error:#} {error:?}").contains("secret"),
                "{error}"
            );
        }
    });
    run.expect();
}

#[test]
fn a_response_knows_its_peer_whether_its_body_is_here_or_on_its_way() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while let Some(request) = conn.request().await? {
            let length = if request.path() == "/long" {
                200_000
            } else {
                5
            };
            conn.respond(200, vec![b'x'; length]).await?;
        }
        Ok(())
    });
    let client = client(&sim);
    let run = sim.run(async move {
        for path in ["short", "long"] {
            let url = format!("http://api.test/{path}");
            let response = client.get(url).send().await.unwrap();
            assert_eq!(
                response.remote_addr(),
                Some(([10, 0, 0, 1], 80).into()),
                "{path}"
            );
        }
    });
    run.expect();
}

#[test]
fn a_response_is_a_stream_of_its_body() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request().await?;
        conn.write_all("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
            .await?;
        conn.sleep(ms(10)).await;
        conn.write_all("def").await
    });
    let client = client(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut response = client.get("http://api.test/").send().await.unwrap();
        let mut chunks = Vec::new();
        while let Some(chunk) =
            std::future::poll_fn(|cx| Pin::new(&mut response).poll_next(cx)).await
        {
            chunks.push(chunk.unwrap());
        }
        (chunks, handle.now())
    });
    assert_eq!(run.expect().0, ["abc", "def"]);
    assert!(run.expect().1 > at(ms(10)));
}

#[test]
fn errors_answer_to_what_they_are() {
    let mut sim = Sim::seeded(1);
    raw_then_close(
        &sim,
        "cut.test:80",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut",
    );
    raw_then_close(
        &sim,
        "api.test:80",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nbody",
    );
    let client = client(&sim);
    let run = sim.run(async move {
        let cut = client.get("http://cut.test/").send().await.unwrap();
        let error = cut.bytes().await.unwrap_err();
        assert!(error.is_body() && !error.is_decode(), "{error}");

        let missing = client.get("http://api.test/").send().await.unwrap();
        let peer = missing.remote_addr();
        let error = missing.error_for_status().unwrap_err();
        assert!(error.is_status() && !error.is_body(), "{error}");
        assert_eq!(error.status().map(|status| status.as_u16()), Some(404));
        assert_eq!(error.remote_addr(), peer);

        let text = client.get("http://api.test/").send().await.unwrap();
        let error = text.json::<u32>().await.unwrap_err();
        assert!(error.is_decode() && !error.is_body(), "{error}");
        assert_eq!(error.status(), None);

        let error = client.get("nonsense").send().await.unwrap_err();
        assert!(error.is_request() && error.kind() == Kind::Request);
    });
    run.expect();
    let retry = Retry::new(0);
    let error = builder(&sim).retry(retry).build().unwrap_err();
    assert!(error.is_builder(), "{error}");
}
