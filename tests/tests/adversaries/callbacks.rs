//! Callbacks of a session that panic.

use fulmar_sim::session::{
    Config, Delivery, Event, Loss, MessageId, Outgoing, SessionBuilder, SlowConsumer, StopReason,
    Undelivered,
};
use fulmar_sim::websocket::{Message, WebSocketBuilder};
use fulmar_sim::{Backoff, BoxError, Client, Sim};

use crate::net::bent;
use crate::server::URL;
use crate::support::{assert_quiet, ms, secs};

type Opening = fn(WebSocketBuilder, Config) -> SessionBuilder;

const OPENINGS: [(&str, Opening); 5] = [
    ("prepare", |ws, config| {
        ws.reconnect(config).prepare(
            |_, _| -> std::future::Ready<Result<WebSocketBuilder, BoxError>> {
                panic!("on purpose")
            },
        )
    }),
    ("the future of prepare", |ws, config| {
        ws.reconnect(config)
            .prepare(|_, _| async { panic!("on purpose") })
    }),
    ("on_resync", |ws, config| {
        ws.reconnect(config)
            .on_resync(|_: &Event| -> Vec<Message> { panic!("on purpose") })
    }),
    ("reason_hook", |ws, config| {
        ws.reconnect(config.reason_hook(|_, _| panic!("on purpose")))
    }),
    ("conflate", |ws, config| {
        let policy = SlowConsumer::conflate(|_| panic!("on purpose"));
        ws.reconnect(config.slow_consumer(policy))
    }),
];

/// Says something, and closes.
fn serve(sim: &Sim) {
    crate::server::serve(sim, |mut peer| async move {
        peer.frame().await?;
        peer.send(0x81, "heard").await?;
        peer.close(4000, "expired").await?;
        peer.closing().await?;
        Ok(())
    });
}

async fn live(client: Client, opening: Opening) {
    let config = Config::from(Backoff::constant(ms(100))).max_elapsed(secs(60));
    let session = opening(client.websocket(URL), config).open();
    let mut kept: Vec<_> = Vec::new();
    for text in ["a", "b"] {
        let outgoing = Outgoing {
            delivery: Delivery::AtLeastOnce,
            ..Outgoing::from(text)
        };
        kept.push(session.send(outgoing).await.unwrap());
    }
    let reason = session.stopped().await;
    assert!(
        matches!(reason, StopReason::Fatal(Loss::Fault(_))),
        "{reason:?}"
    );
    while let Ok(Some(_)) = session.recv().await {}
    session.send("c").await.unwrap_err();
    for sent in &mut kept {
        assert_eq!(sent.acked().await, Err(Undelivered::Returned));
    }
    let left = session.take_undelivered().into_iter();
    let left: Vec<MessageId> = left.map(|(id, _)| id).collect();
    assert_eq!(left, [kept[0].id(), kept[1].id()]);
    let mut events = session.events();
    while events.next().await.is_some() {}
}

#[test]
fn a_callback_that_panics_stops_the_session_and_loses_nothing() {
    for (name, opening) in OPENINGS {
        let mut sim = Sim::seeded(1);
        serve(&sim);
        let (builder, _) = bent(&sim);
        let (client, handle) = (builder.build().unwrap(), sim.handle());
        let run = sim.run(async move {
            live(client.clone(), opening).await;
            handle.sleep(secs(20)).await;
            assert_quiet(client.gauges());
        });
        if let Some(failure) = run.failure() {
            panic!("{name}: {failure:?}\n{}", run.trace());
        }
        assert_eq!(run.leaks(), [""; 0], "{name}");
        assert_eq!(run.open_sockets(), 0, "{name}");
    }
}
