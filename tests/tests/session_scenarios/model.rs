//! The session against a model: a server that goes in every way there is, an application that is
//! slow, and messages of every kind. Whatever happens, each message ends once, with a reason where
//! it was not delivered; what is acknowledged is lost never, and repeated only while it was not;
//! and what was sent first in a lane arrives first.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

use fulmar_sim::session::{
    Delivery, DropReason, Event, Lane, MessageId, OnFull, Outgoing, Received, Sent, Session,
    StopReason, Undelivered,
};
use fulmar_sim::{Fault, Handle, Sim};
use proptest::prelude::*;

use crate::server::Peer;
use crate::support::{ms, secs};
use crate::town::{Heard, next_text, numbered, quick, session};

/// How one connection of the server ends, after so many messages.
#[derive(Clone, Copy, Debug)]
enum End {
    Close(u16),
    Eof,
    Reset,
    /// It hears nothing more, and says nothing.
    Deaf,
}

#[derive(Clone, Debug)]
struct Message {
    lane: Lane,
    delivery: Delivery,
    on_full: OnFull,
    is_fleeting: bool,
    drop_on_reconnect: bool,
    len: usize,
    /// How long the application rests before it.
    rest: u64,
}

#[derive(Clone, Debug)]
struct Plan {
    seed: u64,
    ends: Vec<(usize, End)>,
    messages: Vec<Message>,
    outage: (u64, u64),
    /// How long the application takes for a message.
    reads: u64,
    drain: u64,
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        prop::sample::select(vec![1001, 1005, 1011, 1012, 1013, 3008, 4000]).prop_map(End::Close),
        Just(End::Eof),
        Just(End::Reset),
        Just(End::Deaf),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let lane = prop::sample::select(vec![Lane::High, Lane::Normal, Lane::Bulk]);
    let on_full = prop::sample::select(vec![OnFull::Refuse, OnFull::DropNew, OnFull::DropOldest]);
    let delivery = prop::sample::select(vec![Delivery::AtMostOnce, Delivery::AtLeastOnce]);
    let rest = prop_oneof![Just(0), Just(0), 1..500_u64];
    let len = prop_oneof![Just(0), 0..200_usize, 60_000..100_000_usize];
    let flags = (prop::bool::weighted(0.1), prop::bool::weighted(0.1));
    (lane, on_full, delivery, rest, len, flags).prop_map(
        |(lane, on_full, delivery, rest, len, flags)| Message {
            lane,
            delivery,
            on_full,
            is_fleeting: flags.0,
            drop_on_reconnect: flags.1,
            len,
            rest,
        },
    )
}

fn plan() -> impl Strategy<Value = Plan> {
    (
        any::<u64>(),
        prop::collection::vec((0..8_usize, end()), 0..6),
        prop::collection::vec(message(), 1..50),
        (0..5_000_u64, 1..30_000_u64),
        prop_oneof![Just(0), 0..200_u64],
        0..20_000_u64,
    )
        .prop_map(|(seed, ends, messages, outage, reads, drain)| Plan {
            seed,
            ends,
            messages,
            outage,
            reads,
            drain,
        })
}

/// The server: repeats what it hears, by which the application knows that it may acknowledge.
async fn serve(peer: &mut Peer, number: usize, plan: &Plan, log: &Heard) -> io::Result<()> {
    let end = plan.ends.get(number - 1).copied();
    let (count, end) = end.map_or((usize::MAX, End::Eof), |(count, end)| (count, end));
    for _ in 0..count {
        let Some(text) = next_text(peer).await? else {
            return Ok(());
        };
        let name = text.trim_end_matches('.').to_owned();
        log.lock().unwrap().push((number, name.clone()));
        peer.send(0x81, name).await?;
    }
    match end {
        End::Close(1005) => peer.send(0x88, "").await?,
        End::Close(code) => peer.close(code, "").await?,
        End::Eof => {}
        End::Reset => peer.conn.reset(),
        End::Deaf => peer.conn.sleep(secs(120)).await,
    }
    Ok(())
}

/// What is known at the end.
struct Outcome {
    sent: Vec<(usize, Sent)>,
    acknowledged: BTreeSet<MessageId>,
    left: Vec<MessageId>,
    dropped: BTreeMap<MessageId, DropReason>,
}

/// Takes what comes, slowly, and acknowledges it.
async fn read(session: Session, handle: Handle, reads: u64, known: Known) -> BTreeSet<MessageId> {
    let mut acknowledged = BTreeSet::new();
    while let Ok(Some(received)) = session.recv().await {
        handle.sleep(ms(reads)).await;
        let Received::Message(message) = received else {
            continue;
        };
        let n: usize = message.as_text().unwrap().parse().unwrap();
        let id = known.lock().unwrap().get(&n).copied();
        if let Some(id) = id
            && session.acknowledge(id)
        {
            assert!(acknowledged.insert(id), "acknowledged once");
        }
    }
    acknowledged
}

/// The number of each message that was taken, by its place in the plan.
type Known = Arc<Mutex<BTreeMap<usize, MessageId>>>;

async fn write(
    session: &Session,
    handle: &Handle,
    plan: &Plan,
    known: &Known,
) -> Vec<(usize, Sent)> {
    let mut sent = Vec::new();
    for (n, message) in plan.messages.iter().enumerate() {
        handle.sleep(ms(message.rest)).await;
        let outgoing = Outgoing {
            lane: message.lane,
            delivery: message.delivery,
            on_full: message.on_full,
            ttl: message.is_fleeting.then(|| ms(200)),
            drop_on_reconnect: message.drop_on_reconnect,
            ..Outgoing::from(format!("{n}{}", ".".repeat(message.len)))
        };
        // It is known before the server can have it.
        match session.try_send(outgoing) {
            Ok(taken) => {
                known.lock().unwrap().insert(n, taken.id());
                sent.push((n, taken));
            }
            Err(error) => {
                let waiting = session.send(error.into_outgoing());
                let until = handle.now() + secs(20);
                if let Some(Ok(taken)) = crate::support::until(handle, until, waiting).await {
                    known.lock().unwrap().insert(n, taken.id());
                    sent.push((n, taken));
                }
            }
        }
    }
    sent
}

async fn run(session: Session, handle: Handle, plan: Plan) -> Outcome {
    let known = Known::default();
    let mut events = session.events();
    let reading = Arc::new(Mutex::new(None));
    let done = reading.clone();
    let reader = read(session.clone(), handle.clone(), plan.reads, known.clone());
    handle.spawn(async move { *done.lock().unwrap() = Some(reader.await) });
    let sent = write(&session, &handle, &plan, &known).await;
    let left = session.close_after_flush(ms(plan.drain)).await;
    assert_eq!(session.stop_reason(), Some(StopReason::Closed));
    let mut dropped = BTreeMap::new();
    while let Some(event) = events.next().await {
        if let Event::Dropped { id, reason } = event {
            assert_eq!(dropped.insert(id, reason), None, "dropped once");
        }
    }
    assert_eq!(events.missed(), 0);
    let mut acknowledged = None;
    while acknowledged.is_none() {
        handle.sleep(secs(1)).await;
        acknowledged = reading.lock().unwrap().take();
    }
    Outcome {
        sent,
        acknowledged: acknowledged.unwrap(),
        left: left.into_iter().map(|(id, _)| id).collect(),
        dropped,
    }
}

/// How often, and on which connections, each message was heard.
fn hearings(heard: &Heard) -> BTreeMap<usize, Vec<usize>> {
    let mut hearings = BTreeMap::<usize, Vec<usize>>::new();
    for (connection, text) in heard.lock().unwrap().iter() {
        let n = text.parse().unwrap();
        hearings.entry(n).or_default().push(*connection);
    }
    hearings
}

async fn check(outcome: &mut Outcome, plan: &Plan, heard: &Heard) {
    let hearings = hearings(heard);
    for (n, sent) in &mut outcome.sent {
        let message = &plan.messages[*n];
        let id = sent.id();
        let is_left = outcome.left.contains(&id);
        let dropped = outcome.dropped.get(&id).copied();
        let is_acknowledged = outcome.acknowledged.contains(&id);
        let flushed = sent.flushed().await;
        let is_flushed = flushed.is_ok();
        let times = hearings.get(n).map_or(0, Vec::len);
        match message.delivery {
            Delivery::AtMostOnce => {
                // Flushed, returned, or dropped with a reason.
                let ends = u8::from(is_flushed) + u8::from(is_left) + u8::from(dropped.is_some());
                assert_eq!(ends, 1, "{n}: {flushed:?}, {is_left}, {dropped:?}");
                assert!(times <= 1, "{n} was heard {times} times");
                let may_be_heard = is_flushed || dropped == Some(DropReason::MaybeDelivered);
                assert!(times == 0 || may_be_heard, "{n}: {flushed:?}");
            }
            Delivery::AtLeastOnce => {
                let ends =
                    u8::from(is_acknowledged) + u8::from(is_left) + u8::from(dropped.is_some());
                assert_eq!(ends, 1, "{n}: {is_acknowledged}, {is_left}, {dropped:?}");
                assert!(!is_acknowledged || times >= 1, "{n} was not heard");
                let acked = sent.acked().await;
                let expected = match dropped {
                    _ if is_acknowledged => Ok(()),
                    Some(reason) => Err(Undelivered::Dropped(reason)),
                    None => Err(Undelivered::Returned),
                };
                assert_eq!(acked, expected, "{n}");
                // Once on each connection.
                let connections: BTreeSet<_> = hearings.get(n).into_iter().flatten().collect();
                assert_eq!(connections.len(), times, "{n}");
            }
        }
    }
    in_order(plan, heard);
}

/// On each connection, what was sent first in a lane is heard first.
fn in_order(plan: &Plan, heard: &Heard) {
    let mut last = BTreeMap::new();
    for (connection, text) in heard.lock().unwrap().iter() {
        let n: usize = text.parse().unwrap();
        let lane = plan.messages[n].lane;
        let before = last.insert((*connection, lane), n);
        assert!(
            before.is_none_or(|before| before < n),
            "{before:?} before {n}"
        );
    }
}

fn obeys(plan: &Plan) {
    let mut sim = Sim::seeded(plan.seed);
    sim.link("laptop", "api.test")
        .latency(ms(1)..ms(30))
        .bandwidth(1 << 20);
    let heard = Heard::default();
    let (log, serves) = (heard.clone(), Arc::new(plan.clone()));
    numbered(&sim, move |n, mut peer| {
        let (log, plan) = (log.clone(), serves.clone());
        async move { serve(&mut peer, n, &plan, &log).await }
    });
    let (from, length) = plan.outage;
    sim.between(ms(from)..ms(from + length), Fault::refuse("api.test"));
    let config = quick()
        .outbox(8, 400_000)
        .window(5, 300_000)
        .inbox(4, 1 << 20);
    let opening = session(&sim, config);
    let (handle, own) = (sim.handle(), plan.clone());
    let heard_by_then = heard.clone();
    let run = sim.run(async move {
        let session = opening.open();
        let mut outcome = run(session, handle, own.clone()).await;
        check(&mut outcome, &own, &heard_by_then).await;
    });
    run.expect();
    assert_eq!(run.open_sockets(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn every_message_ends_once_whatever_the_server_and_the_application_do(plan in plan()) {
        obeys(&plan);
    }
}
