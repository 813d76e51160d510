//! Whether a call's timeout covers the body of its response.

use std::time::Duration;

use fulmar_sim::{Client, Error, RequestBuilder, Response, Sim};

use super::support::{builder, drain, ms, secs};

/// A body of five pieces, a second before each.
fn slow(sim: &Sim) {
    sim.serve("api.test:80", |mut conn| async move {
        while let Some(request) = conn.request().await? {
            if request.path() == "/late" {
                conn.sleep(secs(3)).await;
            }
            conn.write_all("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
                .await?;
            for _ in 0..5 {
                conn.sleep(secs(1)).await;
                conn.write_all("x").await?;
            }
        }
        Ok(())
    });
}

async fn pieces(response: Response) -> Result<usize, Error> {
    drain(response).await.map(|bytes| bytes as usize)
}

async fn whole(response: Response) -> Result<usize, Error> {
    response.bytes().await.map(|bytes| bytes.len())
}

async fn first_then_whole(mut response: Response) -> Result<usize, Error> {
    for _ in 0..3 {
        response.chunk().await?;
    }
    whole(response).await
}

/// When a call with a timeout of two seconds ended, and whether by its deadline.
fn ended<F, Fut>(
    is_covered: Option<bool>,
    request: fn(&Client) -> RequestBuilder,
    read: F,
) -> (Duration, bool)
where
    F: FnOnce(Response) -> Fut + Send + 'static,
    Fut: Future<Output = Result<usize, Error>> + Send,
{
    let mut sim = Sim::seeded(1);
    slow(&sim);
    let mut builder = builder(&sim).timeout(secs(2));
    if let Some(covers) = is_covered {
        builder = builder.total_covers_body(covers);
    }
    let client = builder.build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let error = match request(&client).send().await {
            Ok(response) => read(response).await.err(),
            Err(error) => Some(error),
        };
        assert!(error.as_ref().is_none_or(Error::is_deadline), "{error:?}");
        // Without what the way takes.
        let after = handle.now().since_origin().as_secs();
        (secs(after), error.is_some())
    });
    assert_eq!(run.leaks(), [""; 0]);
    run.into_output()
}

fn get(client: &Client) -> RequestBuilder {
    client.get("http://api.test/")
}

#[test]
fn a_timeout_covers_the_body_unless_that_is_turned_off() {
    for covered in [None, Some(true)] {
        assert_eq!(ended(covered, get, pieces), (secs(2), true));
        assert_eq!(ended(covered, get, whole), (secs(2), true));
    }
}

#[test]
fn turned_off_it_ends_with_the_head_of_a_body_in_pieces_and_not_of_one_in_one_piece() {
    assert_eq!(ended(Some(false), get, pieces), (secs(5), false));
    assert_eq!(ended(Some(false), get, whole), (secs(2), true));
    let capped = |response: Response| async { response.bytes_capped(9).await.map(|b| b.len()) };
    assert_eq!(ended(Some(false), get, capped), (secs(2), true));
    // From where the rest is to be one piece it counts again, and has passed.
    assert_eq!(ended(Some(false), get, first_then_whole), (secs(3), true));
    let late = |client: &Client| client.get("http://api.test/late");
    assert_eq!(ended(Some(false), late, pieces), (secs(2), true));
}

#[test]
fn a_request_says_otherwise_than_its_client() {
    let off = |client: &Client| get(client).total_covers_body(false);
    assert_eq!(ended(None, off, pieces), (secs(5), false));
    let later = |client: &Client| get(client).total_covers_body(false).timeout(secs(1));
    assert_eq!(ended(None, later, pieces), (secs(5), false));
    let on = |client: &Client| get(client).total_covers_body(true);
    assert_eq!(ended(Some(false), on, pieces), (secs(2), true));
}

#[test]
fn a_deadline_that_was_given_as_an_instant_always_covers_the_body() {
    let until = |client: &Client| {
        let deadline = client.deadline(ms(3_500));
        get(client).deadline(deadline)
    };
    assert_eq!(ended(Some(false), until, pieces), (secs(3), true));
    assert_eq!(ended(Some(false), until, whole), (secs(2), true));
}
