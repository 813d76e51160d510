//! How large a body may be that is taken in one piece.

use std::time::Duration;

use fulmar_sim::{Client, Error, Fate, Kind, Phase, Response, Sim};

use super::support::{assert_quiet, builder, drain, ms, secs};

const URL: &str = "http://api.test/";

/// Answers with a head, and then for each part waits a second and sends it; `/next` with "next".
fn slow(sim: &Sim, head: &'static str, parts: &'static [&'static [u8]]) {
    sim.serve("api.test:80", move |mut conn| async move {
        while let Some(request) = conn.request().await? {
            if request.path() == "/next" {
                conn.respond(200, "next").await?;
                continue;
            }
            let head = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n");
            conn.write_all(head).await?;
            for part in parts {
                conn.sleep(secs(1)).await;
                conn.write_all(part).await?;
            }
        }
        Ok(())
    });
}

/// What came of a body, when, and whether its connection served another request.
#[derive(Debug)]
struct Seen {
    outcome: Result<usize, Error>,
    after: Duration,
    reused: bool,
}

fn seen<F, Fut>(
    head: &'static str,
    parts: &'static [&'static [u8]],
    cap: Option<u64>,
    read: F,
) -> Seen
where
    F: FnOnce(Response) -> Fut + Send + 'static,
    Fut: Future<Output = Result<usize, Error>> + Send,
{
    let mut sim = Sim::seeded(1);
    slow(&sim, head, parts);
    let client = builder(&sim).max_response_body(cap).build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let response = client.get(URL).send().await.unwrap();
        let begun = handle.now();
        let outcome = read(response).await;
        let after = handle.now() - begun;
        assert_eq!(client.gauges().busy, 0);
        handle.sleep(ms(60)).await;
        assert_quiet(client.gauges());
        let next = client.get(format!("{URL}next")).send().await.unwrap();
        Seen {
            outcome,
            after,
            reused: next.is_reused(),
        }
    });
    assert_eq!(run.leaks(), [""; 0]);
    run.into_output()
}

async fn bytes(response: Response) -> Result<usize, Error> {
    response.bytes().await.map(|bytes| bytes.len())
}

async fn text(response: Response) -> Result<usize, Error> {
    response.text().await.map(|text| text.len())
}

#[track_caller]
fn is_too_large(seen: &Seen, after: Duration, says: &str) {
    let error = seen.outcome.as_ref().unwrap_err();
    assert_eq!(
        (error.kind(), error.phase(), error.fate()),
        (Kind::BodyTooLarge, Some(Phase::Body), Fate::Processed)
    );
    assert!(error.is_body() && error.url() == Some(URL), "{error}");
    assert!(error.to_string().contains(says), "{error}");
    assert_eq!(seen.after, after, "{error}");
}

#[test]
fn an_announced_length_beyond_the_limit_is_refused_before_a_byte_of_it_is_read() {
    let long: &[&[u8]] = &[b"twelve bytes"];
    let refused = seen("Content-Length: 100000", long, Some(99_999), bytes);
    is_too_large(&refused, ms(0), "100000 bytes, where at most 99999");
    assert!(!refused.reused);
    let short = seen("Content-Length: 12", long, Some(11), text);
    is_too_large(&short, ms(0), "12 bytes, where at most 11");
    // The rest did not come within 50 ms.
    assert!(!short.reused);
    let fits = seen("Content-Length: 12", long, Some(12), text);
    assert_eq!((fits.outcome.unwrap(), fits.reused), (12, true));
}

const CHUNKED: &str = "Transfer-Encoding: chunked";
const PARTS: &[&[u8]] = &[b"5\r\nhello\r\n", b"5\r\nworld\r\n", b"1\r\n!\r\n0\r\n\r\n"];

#[test]
fn without_a_length_the_bytes_are_counted_as_they_come() {
    let fits = seen(CHUNKED, PARTS, Some(11), bytes);
    assert_eq!((fits.outcome.unwrap(), fits.reused), (11, true));
    // Its end is here already, and is drained.
    let last = seen(CHUNKED, PARTS, Some(10), bytes);
    is_too_large(
        &last,
        secs(3),
        "11 bytes and not at its end, where at most 10",
    );
    assert!(last.reused);
    let first = seen(CHUNKED, PARTS, Some(4), text);
    is_too_large(
        &first,
        secs(1),
        "5 bytes and not at its end, where at most 4",
    );
    assert!(!first.reused);
    let none = seen(CHUNKED, PARTS, Some(0), text);
    is_too_large(&none, secs(1), "at most 0");
    let closes = seen("Connection: close", &[b"hello"], Some(4), bytes);
    is_too_large(&closes, secs(1), "5 bytes");
    let unlimited = seen(CHUNKED, PARTS, None, bytes);
    assert_eq!(unlimited.outcome.unwrap(), 11);
}

#[test]
fn a_cap_of_one_call_takes_the_place_of_what_is_set() {
    let capped = |max| {
        move |response: Response| async move {
            response.bytes_capped(max).await.map(|bytes| bytes.len())
        }
    };
    let refused = seen(CHUNKED, PARTS, None, capped(10));
    is_too_large(&refused, secs(3), "at most 10");
    let announced = seen("Content-Length: 1000000", &[], None, capped(999_999));
    is_too_large(&announced, ms(0), "1000000 bytes, where at most 999999");
    assert!(!announced.reused);
    let more = seen(CHUNKED, PARTS, Some(1), capped(11));
    assert_eq!(more.outcome.unwrap(), 11);
}

/// Of a body of ten bytes that comes with its head.
fn at_once<F, Fut>(set: fn(Client) -> fulmar_sim::RequestBuilder, read: F) -> Result<usize, Error>
where
    F: FnOnce(Response) -> Fut + Send + 'static,
    Fut: Future<Output = Result<usize, Error>> + Send,
{
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        conn.request().await?;
        conn.respond(200, "0123456789").await
    });
    let client = builder(&sim).max_response_body(9).build().unwrap();
    let run = sim.run(async move { read(set(client).send().await.unwrap()).await });
    run.into_output()
}

#[test]
fn a_body_that_came_with_its_head_is_no_exception() {
    let refused = at_once(|client| client.get(URL), bytes).unwrap_err();
    assert_eq!(refused.kind(), Kind::BodyTooLarge);
    assert_eq!(refused.url(), Some(URL));
    let ten = at_once(|client| client.get(URL).max_response_body(10), text);
    assert_eq!(ten.unwrap(), 10);
    let unlimited = at_once(|client| client.get(URL).max_response_body(None), text);
    assert_eq!(unlimited.unwrap(), 10);
    let get = |client: Client| client.get(URL);
    let capped = at_once(get, |response| async {
        response.bytes_capped(9).await.map(|bytes| bytes.len())
    });
    assert_eq!(capped.unwrap_err().url(), Some(URL));
    let more = at_once(get, |response| async {
        response.bytes_capped(10).await.map(|bytes| bytes.len())
    });
    assert_eq!(more.unwrap(), 10);
    // Nothing is too large for who reads it in pieces.
    let streamed = at_once(get, |response| async {
        assert_eq!(response.content_length(), Some(10));
        drain(response).await.map(|bytes| bytes as usize)
    });
    assert_eq!(streamed.unwrap(), 10);
    let json = at_once(get, |response| async {
        response.json::<u64>().await.map(|_| 0)
    });
    assert_eq!(json.unwrap_err().kind(), Kind::BodyTooLarge);
}

#[test]
fn what_is_read_in_pieces_has_no_limit_and_only_the_rest_is_counted() {
    let streamed = seen(CHUNKED, PARTS, Some(1), |response| async {
        drain(response).await.map(|bytes| bytes as usize)
    });
    assert_eq!((streamed.outcome.unwrap(), streamed.reused), (11, true));
    let rest = seen(CHUNKED, PARTS, Some(6), |mut response| async {
        response.chunk().await?;
        bytes(response).await
    });
    assert_eq!(rest.outcome.unwrap(), 6);
}

#[test]
fn sixty_four_mebibytes_are_taken_unless_that_is_set() {
    let huge = "Content-Length: 9223372036854775807";
    for (head, is_set, kind) in [
        ("Content-Length: 67108865", false, Kind::BodyTooLarge),
        ("Content-Length: 67108864", false, Kind::Io),
        (huge, false, Kind::BodyTooLarge),
        // Not reserved, whatever the peer says.
        (huge, true, Kind::Io),
    ] {
        let mut sim = Sim::seeded(1);
        sim.serve("api.test:80", move |mut conn| async move {
            conn.request().await?;
            conn.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n1234"))
                .await
        });
        let client = builder(&sim).build().unwrap();
        let run = sim.run(async move {
            let mut get = client.get(URL);
            if is_set {
                get = get.max_response_body(None);
            }
            let response = get.send().await.unwrap();
            response.bytes().await.unwrap_err().kind()
        });
        assert_eq!(run.into_output(), kind);
    }
}
