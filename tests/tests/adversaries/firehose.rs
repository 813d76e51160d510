//! Transports that have more whenever they are read, on runtimes that make no task give way.

use fulmar_sim::net::BoxFuture;
use fulmar_sim::session::{Config, SlowConsumer};
use fulmar_sim::websocket::{Cause, CloseCode};
use fulmar_sim::{Client, Sim};

use crate::net::{Bend, Habit, bent};
use crate::server::{URL, echo};
use crate::support::{ms, secs};

/// Runs it on a network that can be made to pour.
fn play(life: impl FnOnce(Client, Bend) -> BoxFuture<()>) {
    let mut sim = Sim::seeded(1);
    echo(&sim);
    let (builder, bend) = bent(&sim);
    let client = builder.build().unwrap();
    let run = sim.run(life(client, bend));
    run.expect();
    assert_eq!(run.leaks(), [""; 0]);
    assert_eq!(run.open_sockets(), 0);
}

#[test]
fn a_close_ends_in_time_although_the_server_never_stops() {
    play(|client, bend| {
        Box::pin(async move {
            let mut ws = client.websocket(URL).connect().await.unwrap();
            bend.streams(Habit::Pours);
            ws.recv().await.unwrap().unwrap();
            let begun = client.deadline(ms(0));
            let closed = ws.close(CloseCode::NORMAL, "").await.unwrap();
            assert_eq!(closed.cause, Cause::CloseTimeout);
            let took = client.deadline(ms(0)) - begun;
            assert!(took < secs(7), "{took:?}");
        })
    });
}

#[test]
fn a_session_closes_in_time_although_the_server_never_stops() {
    play(|client, bend| {
        Box::pin(async move {
            let config = Config::new().slow_consumer(SlowConsumer::DropOldest);
            let session = client.websocket(URL).reconnect(config).open();
            let mut sent = session.send("a").await.unwrap();
            sent.flushed().await.unwrap();
            bend.streams(Habit::Pours);
            session.recv().await.unwrap().unwrap();
            let begun = client.deadline(ms(0));
            session.close_after_flush(secs(1)).await;
            let took = client.deadline(ms(0)) - begun;
            assert!(took < secs(8), "{took:?}");
        })
    });
}
