//! What a new connection is told first.

use std::sync::{Arc, Mutex};

use fulmar_sim::Sim;
use fulmar_sim::session::{Event, SendError};
use fulmar_sim::websocket::Message;

use crate::support::secs;
use crate::town::{Heard, event, listen, next_text, numbered, opened, quick, session, texts};

/// Goes away after so many messages on each connection but the last.
fn restarting(sim: &Sim, heard: &Heard, after: usize, connections: usize) {
    let log = heard.clone();
    numbered(sim, move |n, mut peer| {
        let log = log.clone();
        async move {
            if n >= connections {
                return listen(&mut peer, n, &log).await;
            }
            for _ in 0..after {
                let Some(text) = next_text(&mut peer).await? else {
                    return Ok(());
                };
                log.lock().unwrap().push((n, text));
            }
            peer.close(1001, "restart").await?;
            listen(&mut peer, n, &log).await
        }
    });
}

#[test]
fn subscriptions_are_sent_again_on_every_connection_and_before_the_rest() {
    let mut sim = Sim::seeded(1);
    let heard = Heard::default();
    restarting(&sim, &heard, 3, 3);
    let opening = session(&sim, quick());
    let run = sim.run(async move {
        let session = opening.open();
        let mut events = session.events();
        for key in ["a", "b", "gone", "c"] {
            assert!(session.subscribe(key, format!("subscribe {key}")));
        }
        assert!(session.unsubscribe("gone") && !session.unsubscribe("gone"));
        while opened(&mut events).await < 3 {}
        let _ = session.send("then this").await.unwrap();
        session.close().await;
    });
    run.expect();
    let each = ["subscribe a", "subscribe b", "subscribe c"];
    let expected: Vec<_> = each.iter().cycle().take(9).chain(&["then this"]).collect();
    assert_eq!(texts(&heard).iter().collect::<Vec<_>>(), expected);
}

#[test]
fn the_hook_says_what_a_connection_is_told_first_and_knows_what_was_lost() {
    let mut sim = Sim::seeded(2);
    let heard = Heard::default();
    restarting(&sim, &heard, 2, 2);
    let lost = Arc::new(Mutex::new(Vec::new()));
    let loses = lost.clone();
    let opening = session(&sim, quick()).on_resync(move |event| {
        let Event::Resync {
            epoch,
            last_seen,
            lost,
            ..
        } = event
        else {
            return Vec::new();
        };
        loses.lock().unwrap().push(lost.clone());
        vec![Message::text(format!(
            "from {last_seen:?} on, for the {epoch}"
        ))]
    });
    let run = sim.run(async move {
        let session = opening.open();
        let mut events = session.events();
        session.saw(17);
        let sent = session.send("queued").await.unwrap();
        while opened(&mut events).await < 2 {}
        let _ = session.send("last").await.unwrap();
        session.close().await;
        sent.id()
    });
    let id = *run.expect();
    let expected = [
        "from Some(17) on, for the 1",
        "queued",
        "from Some(17) on, for the 2",
        "last",
    ];
    assert_eq!(texts(&heard), expected);
    let lost = lost.lock().unwrap();
    assert!(lost[0].is_empty() && lost[1].contains(&id), "{lost:?}");
}

#[test]
fn an_application_that_does_not_finish_its_resync_begins_anew() {
    let mut sim = Sim::seeded(3);
    let heard = Heard::default();
    restarting(&sim, &heard, 9, 0);
    let opening = session(&sim, quick().resync(true).resync_timeout(secs(10)));
    let run = sim.run(async move {
        let session = opening.open();
        let mut events = session.events();
        let _ = session.send("after the resync").await.unwrap();
        assert!(matches!(
            session.resync_send("early"),
            Err(SendError::Closed(_))
        ));
        opened(&mut events).await;
        let first = event(&mut events, |event| match event {
            Event::Lost { loss, .. } => Some(loss.to_string()),
            _ => None,
        });
        assert!(first.await.contains("resync"));
        opened(&mut events).await;
        session.resync_send("one").unwrap();
        session.resync_send("two").unwrap();
        session.resync_done();
        session.close().await;
    });
    run.expect();
    assert_eq!(texts(&heard), ["one", "two", "after the resync"]);
}
