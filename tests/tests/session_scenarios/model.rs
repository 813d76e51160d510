//! The session against a model: a server that goes in every way there is and restarts, a network
//! that fails, an application that is slow and drops its futures, and messages of every kind.
//! Whatever happens, each message ends once, with a reason where it was not delivered; what is
//! acknowledged is lost never, and repeated only while it was not; and what was sent first in a lane
//! arrives first. All of it follows from the seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};

use fulmar_sim::session::{
    Delivery, DropReason, Event, MessageId, Outgoing, Received, Sent, Session, SlowConsumer,
    StopReason, Undelivered,
};
use fulmar_sim::{Handle, Sim};
use proptest::prelude::*;

use crate::plan::{End, Plan, plan};
use crate::server::Peer;
use crate::support::{ms, secs};
use crate::town::{next_text, numbered, quick, session};

/// What happened, in the order in which it did.
#[derive(Clone, Copy, Debug)]
enum Mark {
    /// The server has a connection of that number.
    Opened(usize),
    /// By that connection the server heard a message.
    Heard(usize, usize),
    /// The application got that connection's answer to it.
    Received(usize, usize),
    /// The application was told that so many were dropped before the next.
    Lagged(u64),
    /// The application acknowledged it.
    Acknowledged(usize),
}

type Log = Arc<Mutex<Vec<Mark>>>;

/// The server: repeats what it hears, by which the application knows that it may acknowledge.
async fn serve(peer: &mut Peer, number: usize, plan: &Plan, log: &Log) -> io::Result<()> {
    log.lock().unwrap().push(Mark::Opened(number));
    let end = plan.ends.get(number - 1).copied();
    let (count, end) = end.map_or((usize::MAX, End::Eof), |(count, end)| (count, end));
    for _ in 0..count {
        let Some(text) = next_text(peer).await? else {
            return Ok(());
        };
        let name = text.trim_end_matches('.').to_owned();
        let heard = Mark::Heard(number, name.parse().unwrap());
        log.lock().unwrap().push(heard);
        peer.send(0x81, format!("{name} {number}")).await?;
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

/// Takes what comes, slowly, and acknowledges it; often it drops a future that was waiting.
async fn read(
    session: Session,
    handle: Handle,
    plan: Plan,
    known: Known,
    log: Log,
) -> BTreeSet<MessageId> {
    let mut acknowledged = BTreeSet::new();
    let mut count = 0;
    loop {
        let glance = handle.now() + ms(plan.glance);
        let Some(received) = crate::support::until(&handle, glance, session.recv()).await else {
            continue;
        };
        let Ok(Some(received)) = received else {
            return acknowledged;
        };
        count += 1;
        let rest = if count == plan.nap {
            35_000
        } else {
            plan.reads
        };
        handle.sleep(ms(rest)).await;
        let message = match received {
            Received::Message(message) => message,
            Received::Lagged(count) => {
                log.lock().unwrap().push(Mark::Lagged(count));
                continue;
            }
        };
        let (n, connection) = message.as_text().unwrap().split_once(' ').unwrap();
        let (n, connection) = (n.parse().unwrap(), connection.parse().unwrap());
        log.lock().unwrap().push(Mark::Received(connection, n));
        let id = known.lock().unwrap().get(&n).copied();
        if let Some(id) = id
            && session.acknowledge(id)
        {
            log.lock().unwrap().push(Mark::Acknowledged(n));
            assert!(acknowledged.insert(id), "acknowledged once");
        }
    }
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
            Ok(mut taken) => {
                known.lock().unwrap().insert(n, taken.id());
                // A receipt that nobody waited for to the end is still there afterwards.
                let patience = handle.now() + ms(message.patience % 50);
                let _ = crate::support::until(handle, patience, taken.flushed()).await;
                sent.push((n, taken));
            }
            Err(error) => {
                let waiting = session.send(error.into_outgoing());
                let until = handle.now() + ms(message.patience);
                if let Some(Ok(taken)) = crate::support::until(handle, until, waiting).await {
                    known.lock().unwrap().insert(n, taken.id());
                    sent.push((n, taken));
                }
            }
        }
    }
    sent
}

async fn run(session: Session, handle: Handle, plan: Plan, log: Log) -> Outcome {
    let known = Known::default();
    let mut events = session.events();
    let reading = Arc::new(Mutex::new(None));
    let done = reading.clone();
    let reader = read(
        session.clone(),
        handle.clone(),
        plan.clone(),
        known.clone(),
        log,
    );
    handle.spawn(async move { *done.lock().unwrap() = Some(reader.await) });
    let sent = write(&session, &handle, &plan, &known).await;
    let left = session.close_after_flush(ms(plan.drain)).await;
    let ended = session.stop_reason();
    let by_the_server = |reason: &StopReason| {
        let fatal = matches!(reason, StopReason::Ended(_) | StopReason::Fatal(_));
        fatal && !plan.ends.is_empty()
    };
    let as_planned = ended == Some(StopReason::Closed) || ended.as_ref().is_some_and(by_the_server);
    assert!(as_planned, "{ended:?}");
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
fn hearings(log: &Log) -> BTreeMap<usize, Vec<usize>> {
    let mut hearings = BTreeMap::<usize, Vec<usize>>::new();
    for mark in log.lock().unwrap().iter() {
        if let Mark::Heard(connection, n) = mark {
            hearings.entry(*n).or_default().push(*connection);
        }
    }
    hearings
}

async fn check(outcome: &mut Outcome, plan: &Plan, log: &Log) {
    let hearings = hearings(log);
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
    in_order(plan, log);
    repeats_nothing_acknowledged(log);
    skips_nothing_untold(log);
}

/// On each connection, and of what is heard for the first time over all of them, what was sent first
/// in a lane is heard first.
fn in_order(plan: &Plan, log: &Log) {
    let marks = log.lock().unwrap().clone();
    let heard = marks.iter().filter_map(|mark| match mark {
        Mark::Heard(connection, n) => Some((*connection, *n)),
        _ => None,
    });
    let mut heard: Vec<_> = heard.collect();
    // Two connections may be heard at once.
    heard.sort_by_key(|(connection, _)| *connection);
    let (mut last, mut newest) = (BTreeMap::new(), BTreeMap::new());
    let mut known = BTreeSet::new();
    for (connection, n) in heard {
        let lane = plan.messages[n].lane;
        let before = last.insert((connection, lane), n);
        assert!(before < Some(n), "{before:?} before {n}");
        if known.insert(n) {
            let before = newest.insert(lane, n);
            assert!(before < Some(n), "{before:?} before {n}, ever");
        }
    }
}

/// What the application got of a connection's answers is what was sent, without a gap but for what
/// it was told of.
fn skips_nothing_untold(log: &Log) {
    let mut answers = BTreeMap::<usize, VecDeque<usize>>::new();
    let (mut skipped, mut told) = (0, 0);
    for mark in log.lock().unwrap().iter() {
        match mark {
            Mark::Heard(connection, n) => answers.entry(*connection).or_default().push_back(*n),
            Mark::Received(connection, n) => {
                let sent = answers.get_mut(connection).unwrap();
                while sent.pop_front().expect("an answer to what was heard") != *n {
                    skipped += 1;
                }
            }
            Mark::Lagged(count) => told += count,
            _ => {}
        }
    }
    assert!(skipped <= told, "{skipped} are missing, {told} were told");
}

/// By a connection that is opened later, what is acknowledged does not come.
fn repeats_nothing_acknowledged(log: &Log) {
    let mut acknowledged = BTreeSet::new();
    let mut barred = BTreeMap::new();
    for mark in log.lock().unwrap().iter() {
        match mark {
            Mark::Opened(connection) => drop(barred.insert(*connection, acknowledged.clone())),
            Mark::Acknowledged(n) => drop(acknowledged.insert(*n)),
            Mark::Received(..) | Mark::Lagged(_) => {}
            Mark::Heard(connection, n) => {
                assert!(!barred[connection].contains(n), "{n} was acknowledged");
            }
        }
    }
}

fn obeys(plan: &Plan) {
    let mut sim = Sim::seeded(plan.seed);
    sim.link("laptop", "api.test")
        .latency(ms(1)..ms(30))
        .bandwidth(1 << 20);
    let log = Log::default();
    let (heard, serves) = (log.clone(), Arc::new(plan.clone()));
    numbered(&sim, move |n, mut peer| {
        let (log, plan) = (heard.clone(), serves.clone());
        async move { serve(&mut peer, n, &plan, &log).await }
    });
    let (from, length, outage) = plan.outage;
    sim.between(ms(from)..ms(from + length), outage.fault());
    let policy = if plan.drops_oldest {
        SlowConsumer::DropOldest
    } else {
        SlowConsumer::Pause
    };
    let config = quick()
        .outbox(8, 400_000)
        .window(5, 300_000)
        .inbox(4, 1 << 20)
        .slow_consumer(policy);
    let opening = session(&sim, config);
    let (handle, own) = (sim.handle(), plan.clone());
    let run = sim.run(async move {
        let session = opening.open();
        let mut outcome = run(session, handle, own.clone(), log.clone()).await;
        check(&mut outcome, &own, &log).await;
    });
    run.expect();
    assert_eq!(run.open_sockets(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn every_message_ends_once_whatever_the_server_and_the_application_do(plan in plan()) {
        obeys(&plan);
    }
}
