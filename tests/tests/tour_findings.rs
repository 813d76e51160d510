//! What the tour has found wrong once, on loopback or against real servers.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fulmar_sim::trace::{Event, Record};
use fulmar_sim::{Client, Conn, Error, Fate, Phase, Sim, Timeouts};

const LENGTH: usize = 300_000;

/// Runs one GET in a network where every connection is served by `service`.
fn get<F, Fut>(service: F) -> Result<usize, Error>
where
    F: Fn(Conn) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = io::Result<()>> + Send + 'static,
{
    let mut sim = Sim::seeded(7);
    sim.serve("api.test:80", service);
    let client = client(&sim);
    let run = sim.run(async move { fetch(&client).await });
    run.into_output()
}

fn client(sim: &Sim) -> Client {
    let second = Duration::from_secs(1);
    Client::builder(sim.net("laptop"))
        .timeouts(Timeouts::new().read(second))
        .build()
        .expect("the settings agree")
}

async fn fetch(client: &Client) -> Result<usize, Error> {
    let response = client.get("http://api.test/").send().await?;
    Ok(response.bytes().await?.len())
}

#[test]
fn a_long_body_of_known_length_ends_while_the_connection_stays_open() {
    let fetched = get(|mut conn| async move {
        while conn.request().await?.is_some() {
            conn.respond(200, vec![b'.'; LENGTH]).await?;
        }
        Ok(())
    });
    assert_eq!(fetched.expect("a whole body"), LENGTH);
}

#[test]
fn an_end_within_the_body_is_told_as_such() {
    let error = get(|mut conn| async move {
        conn.request().await?;
        conn.write_all("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
            .await
    })
    .expect_err("half a body");
    assert_eq!(
        (error.phase(), error.fate()),
        (Some(Phase::Body), Fate::Processed)
    );
}

#[test]
fn an_end_before_the_first_byte_is_told_as_such() {
    let error =
        get(|mut conn| async move { conn.request().await.map(|_| ()) }).expect_err("no response");
    assert_eq!(error.phase(), Some(Phase::FirstByte));
}

#[test]
fn only_the_second_call_is_told_to_reuse_the_connection() {
    let mut sim = Sim::seeded(7);
    sim.serve("api.test:80", |mut conn| async move {
        while conn.request().await?.is_some() {
            conn.respond(200, "hello").await?;
        }
        Ok(())
    });
    let leases = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&leases);
    let observer = move |record: &Record| {
        if let Event::Leased { reused, .. } = record.event {
            seen.lock().expect("nobody panics").push(reused);
        }
    };
    let net = sim.net("laptop");
    let client = Client::builder(net)
        .observer(observer)
        .build()
        .expect("the settings agree");
    let run = sim.run(async move {
        fetch(&client).await?;
        fetch(&client).await
    });
    assert_eq!(run.into_output().expect("two responses"), 5);
    assert_eq!(*leases.lock().expect("nobody panics"), [false, true]);
}
