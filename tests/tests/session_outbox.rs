//! What waits to be sent, and what becomes of it: POLICIES 5.6.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Buf;
use fulmar_core::lane::Lane;
use fulmar_core::session::{
    Config, ConnectFailure, Delivery, DropReason, Event, MessageId, OnFull, Outgoing, Receipt,
    SendError, State, StopReason,
};
use fulmar_core::ws::{CloseCode, Message};
use fulmar_tests::durable::Bench;
use fulmar_tests::websocket::{at, close_frame, frame};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn in_lane(lane: Lane, message: impl Into<Message>) -> Outgoing {
    Outgoing {
        lane,
        ..Outgoing::from(message)
    }
}

fn kept(message: &str) -> Outgoing {
    Outgoing {
        delivery: Delivery::AtLeastOnce,
        ..Outgoing::from(message)
    }
}

fn dropped(bench: &mut Bench) -> Vec<(MessageId, DropReason)> {
    let events = bench.events().into_iter();
    let dropped = events.filter_map(|event| match event {
        Event::Dropped { id, reason } => Some((id, reason)),
        _ => None,
    });
    dropped.collect()
}

fn receipts(bench: &mut Bench) -> Vec<(MessageId, Receipt)> {
    let events = bench.events().into_iter();
    let receipts = events.filter_map(|event| match event {
        Event::Receipt { id, receipt } => Some((id, receipt)),
        _ => None,
    });
    receipts.collect()
}

#[test]
fn a_full_outbox_gives_the_message_back() {
    let mut bench = Bench::new(Config::new().outbox(2, 100));
    bench.send("a");
    bench.send("b");
    let full = bench.session.send(bench.now, "c");
    assert_eq!(full, Err(SendError::Full("c".into())));
    let mut bench = Bench::new(Config::new().outbox(10, 100));
    bench.send(vec![0; 60]);
    assert!(matches!(
        bench.session.send(bench.now, vec![0; 41]),
        Err(SendError::Full(_))
    ));
    assert!(matches!(
        bench.session.send(bench.now, vec![0; 101]),
        Err(SendError::TooBig(_))
    ));
    bench.send(vec![0; 40]);
}

#[test]
fn a_full_outbox_drops_the_new_or_the_oldest_of_the_lane_where_asked() {
    let mut bench = Bench::new(Config::new().outbox(2, 100));
    let bulk = bench.send(in_lane(Lane::Bulk, "bulk"));
    let first = bench.send("first");
    let with = |on_full, message: &str| Outgoing {
        on_full,
        ..Outgoing::from(message)
    };
    let new = bench.send(with(OnFull::DropNew, "new"));
    assert_eq!(dropped(&mut bench), [(new, DropReason::Overflow)]);
    bench.send(with(OnFull::DropOldest, "newest"));
    assert_eq!(dropped(&mut bench), [(first, DropReason::Overflow)]);
    bench.connect();
    assert_eq!(bench.texts(), ["newest", "bulk"]);
    assert_eq!(receipts(&mut bench).last(), Some(&(bulk, Receipt::Flushed)));
}

#[test]
fn a_newer_message_of_a_key_takes_the_place_of_the_older() {
    let mut bench = Bench::new(Config::new());
    let keyed = |key: &str, message: &str| Outgoing {
        key: Some(key.into()),
        ..Outgoing::from(message)
    };
    let old = bench.send(keyed("price", "1"));
    bench.send(keyed("volume", "7"));
    bench.send(keyed("price", "2"));
    assert_eq!(dropped(&mut bench), [(old, DropReason::Replaced)]);
    bench.connect();
    assert_eq!(bench.texts(), ["2", "7"]);
}

#[test]
fn a_message_that_waited_too_long_is_dropped() {
    let mut bench = Bench::new(Config::new());
    let hasty = Outgoing {
        ttl: Some(secs(2)),
        ..Outgoing::from("hasty")
    };
    let hasty = bench.send(hasty);
    bench.send("patient");
    bench.now = at(2000);
    bench.connect();
    assert_eq!(bench.texts(), ["patient"]);
    assert_eq!(dropped(&mut bench), [(hasty, DropReason::Expired)]);
}

#[test]
fn lanes_share_8_to_4_to_1_and_none_starves() {
    let mut bench = Bench::open(Config::new().outbox(100_000, 1 << 30));
    for lane in [Lane::Bulk, Lane::Normal, Lane::High] {
        for _ in 0..3000 {
            bench.send(in_lane(lane, vec![lane as u8; 1010]));
        }
    }
    let mut counts = BTreeMap::new();
    let mut total = 0;
    while total < 3000 {
        bench.fill();
        let waiting = bench.tx.copy_to_bytes(bench.tx.len());
        let (frames, _) = fulmar_tests::websocket::client_frames(&waiting);
        total += frames.len();
        for frame in frames {
            *counts.entry(frame.payload[0]).or_insert(0) += 1;
        }
    }
    let share = |lane: Lane| f64::from(counts[&(lane as u8)]) / f64::from(counts[&2]);
    assert!((7.0..9.0).contains(&share(Lane::High)), "{counts:?}");
    assert!((3.5..4.5).contains(&share(Lane::Normal)), "{counts:?}");
}

#[test]
fn a_bulk_message_holds_up_the_others_for_1_mib_at_most() {
    let mut bench = Bench::open(Config::new());
    let send = |bench: &mut Bench, lane, len| {
        let outgoing = in_lane(lane, vec![0; len]);
        bench.session.send(bench.now, outgoing).map(drop)
    };
    let mib = 1 << 20;
    assert!(matches!(
        send(&mut bench, Lane::Bulk, mib + 1),
        Err(SendError::TooBig(_))
    ));
    assert_eq!(send(&mut bench, Lane::Bulk, mib), Ok(()));
    assert_eq!(send(&mut bench, Lane::Normal, mib + 1), Ok(()));
    let mut bench = Bench::open(Config::new().max_bulk_message(None));
    assert_eq!(send(&mut bench, Lane::Bulk, mib + 1), Ok(()));
}

#[test]
fn an_urgent_message_waits_for_the_message_in_progress_alone() {
    let mut bench = Bench::open(Config::new());
    for _ in 0..6 {
        bench.send(in_lane(Lane::Bulk, vec![0; 1 << 20]));
    }
    bench.fill();
    bench.send(in_lane(Lane::High, "urgent"));
    let frames = bench.written();
    let place = frames
        .iter()
        .position(|frame| frame.payload == b"urgent")
        .unwrap();
    let before: usize = frames[..place]
        .iter()
        .map(|frame| frame.payload.len())
        .sum();
    assert_eq!(before, 1 << 20);
}

#[test]
fn a_busy_urgent_lane_that_runs_empty_each_time_starves_nobody() {
    let mut bench = Bench::open(Config::new().outbox(10_000, 1 << 30));
    for _ in 0..100 {
        bench.send(in_lane(Lane::Bulk, vec![3; 60 * 1024]));
    }
    let mut bulk = 0;
    for _ in 0..400 {
        bench.send(in_lane(Lane::High, vec![1; 60 * 1024]));
        bench.fill();
        let waiting = bench.tx.copy_to_bytes(bench.tx.len());
        let (frames, _) = fulmar_tests::websocket::client_frames(&waiting);
        bulk += frames.iter().filter(|frame| frame.payload[0] == 3).count();
    }
    assert!(bulk >= 40, "{bulk}");
}

#[test]
fn a_lane_that_had_nothing_to_send_saves_up_one_round_at_most() {
    let mut bench = Bench::open(Config::new().outbox(100_000, 1 << 30));
    for _ in 0..300 {
        bench.send(in_lane(Lane::Bulk, vec![0; 60 * 1024]));
        bench.written();
    }
    for lane in [Lane::High, Lane::Bulk] {
        for _ in 0..1000 {
            bench.send(in_lane(lane, vec![lane as u8; 1010]));
        }
    }
    let frames = bench.written();
    let first = frames
        .iter()
        .position(|frame| frame.payload[0] == Lane::Bulk as u8);
    // Two rounds of the urgent lane.
    assert!(first.unwrap() <= 256, "{first:?}");
}

#[test]
fn receipts_tell_flushed_then_seen_then_acknowledged() {
    let mut bench = Bench::open(Config::new());
    let first = bench.send("first");
    let second = bench.send(kept("second"));
    bench.fill();
    assert_eq!(
        receipts(&mut bench),
        [],
        "nothing was taken by the transport"
    );
    bench.written();
    let flushed = [(first, Receipt::Flushed), (second, Receipt::Flushed)];
    assert_eq!(receipts(&mut bench), flushed);
    assert!(bench.session.ping());
    let ping = bench.written().remove(0);
    let third = bench.send("third");
    bench.written();
    receipts(&mut bench);
    bench.receive(&frame(0x8a, &ping.payload));
    let seen = [(first, Receipt::PeerSeen), (second, Receipt::PeerSeen)];
    assert_eq!(
        receipts(&mut bench),
        seen,
        "not the third, which was sent behind the ping"
    );
    assert!(bench.session.ack(second));
    assert_eq!(receipts(&mut bench), [(second, Receipt::Acked)]);
    assert!(!bench.session.ack(second) && !bench.session.ack(third));
}

#[test]
fn at_most_once_a_written_message_is_not_sent_again_and_a_waiting_one_is() {
    let mut bench = Bench::open(Config::new());
    let flushed = bench.send("flushed");
    bench.written();
    let broken = bench.send("broken");
    bench.fill();
    let waiting = bench.send(in_lane(Lane::Bulk, "waiting"));
    let fragile = Outgoing {
        drop_on_reconnect: true,
        ..Outgoing::from("fragile")
    };
    let fragile = bench.send(fragile);
    bench.drop_connection();
    let events = bench.events();
    let receipt = Receipt::Flushed;
    assert!(events.contains(&Event::Receipt {
        id: flushed,
        receipt
    }));
    for (id, reason) in [
        (broken, DropReason::MaybeDelivered),
        (fragile, DropReason::Reconnect),
    ] {
        assert!(
            events.contains(&Event::Dropped { id, reason }),
            "{events:?}"
        );
    }
    bench.reconnect();
    assert_eq!(bench.texts(), ["waiting"]);
    assert_eq!(receipts(&mut bench), [(waiting, Receipt::Flushed)]);
}

#[test]
fn a_message_that_the_servers_close_frame_cuts_off_is_not_flushed() {
    let mut bench = Bench::open(Config::new());
    let id = bench.send(vec![0; 200_000]);
    bench.fill();
    bench.close_from_server(1001, "");
    let reason = DropReason::MaybeDelivered;
    let events = bench.events();
    assert!(
        events.contains(&Event::Dropped { id, reason }),
        "{events:?}"
    );
    let receipt = Receipt::Flushed;
    assert!(!events.contains(&Event::Receipt { id, receipt }));
}

#[test]
fn a_message_in_progress_still_counts_as_waiting() {
    let mut bench = Bench::open(Config::new().outbox(10, 300_000));
    bench.send(vec![0; 200_000]);
    bench.fill();
    let full = bench.session.send(bench.now, vec![0; 200_000]);
    assert!(matches!(full, Err(SendError::Full(_))), "{full:?}");
    assert_eq!(bench.session.buffered(), 200_000);
    bench.written();
    assert_eq!(bench.session.buffered(), 0);
    let taken = bench.session.send(bench.now, vec![0; 200_000]);
    assert!(taken.is_ok(), "{taken:?}");
}

#[test]
fn at_least_once_what_is_not_acknowledged_is_sent_again_first_and_in_order() {
    let mut bench = Bench::open(Config::new());
    let ids: Vec<_> = ["a", "b", "c", "d"]
        .map(|text| bench.send(kept(text)))
        .into();
    bench.written();
    assert!(bench.session.ack_up_to(ids[1]));
    bench.drop_connection();
    bench.send(kept("e"));
    bench.events();
    bench.reconnect();
    assert_eq!(bench.texts(), ["c", "d", "e"]);
    let redelivered = |n: usize, count| Event::Redelivered { id: ids[n], count };
    let events = bench.events();
    assert!(events.contains(&redelivered(2, 1)) && events.contains(&redelivered(3, 1)));
    bench.drop_connection();
    assert!(
        bench.session.ack(ids[2]),
        "a late word from the connection before"
    );
    bench.reconnect();
    assert_eq!(bench.texts(), ["d", "e"]);
}

#[test]
fn a_late_acknowledgement_of_all_before_says_nothing_of_the_new_connection() {
    let mut bench = Bench::open(Config::new());
    let late = bench.send(kept("late"));
    bench.written();
    bench.drop_connection();
    bench.reconnect();
    let urgent = bench.send(Outgoing {
        lane: Lane::High,
        ..kept("urgent")
    });
    bench.fill();
    bench.events();
    assert!(bench.session.ack_up_to(late));
    assert_eq!(receipts(&mut bench), [(late, Receipt::Acked)]);
    bench.drop_connection();
    bench.reconnect();
    assert_eq!(bench.texts(), ["urgent"]);
    assert!(bench.session.ack_up_to(urgent));
}

#[test]
fn a_message_on_its_way_out_is_acknowledged_once() {
    let mut bench = Bench::open(Config::new());
    let id = bench.send(kept("again"));
    bench.written();
    bench.drop_connection();
    bench.reconnect();
    bench.fill();
    assert!(bench.session.ack(id), "by the first connection");
    assert!(!bench.session.ack(id), "it is no longer kept");
}

#[test]
fn too_much_that_is_unacknowledged_refuses_more_but_not_what_needs_no_acknowledgement() {
    let mut bench = Bench::open(Config::new().window(2, 100));
    let first = bench.send(kept("1"));
    bench.send(kept("2"));
    bench.send(kept("3"));
    assert_eq!(bench.texts(), ["1", "2"], "the third waits");
    assert!(matches!(
        bench.session.send(bench.now, kept("4")),
        Err(SendError::Full(_))
    ));
    bench.send(in_lane(Lane::High, "free"));
    assert_eq!(bench.texts(), ["free"]);
    bench.session.ack(first);
    assert_eq!(bench.texts(), ["3"]);
}

#[test]
fn a_resync_comes_before_everything_and_lists_what_is_doubtful() {
    let mut bench = Bench::new(Config::new().resync(true));
    bench.send("waits");
    bench.connect();
    assert_eq!(bench.texts(), [""; 0], "not before the resync");
    bench
        .session
        .resync_send(bench.now, "hello".into())
        .unwrap();
    assert_eq!(bench.texts(), ["hello"]);
    bench.session.resync_done();
    assert_eq!(bench.session.state(), State::Open);
    let doubtful = bench.send("doubtful");
    assert_eq!(bench.texts(), ["waits", "doubtful"]);
    bench.session.saw(41);
    bench.drop_connection();
    bench.events();
    bench.reconnect();
    let events = bench.events();
    let resync = events.iter().find_map(|event| match event {
        Event::Resync {
            epoch,
            last_seen,
            lost,
            previous,
        } => Some((*epoch, *last_seen, lost.clone(), previous.is_some())),
        _ => None,
    });
    let (epoch, last_seen, lost, previous) = resync.unwrap();
    assert_eq!((epoch, last_seen, previous), (2, Some(41), true));
    assert!(lost.contains(&doubtful));
    assert!(bench.session.resync_send(bench.now, "again".into()).is_ok());
}

#[test]
fn a_resync_tells_how_the_connection_before_it_was_lost_whatever_failed_since() {
    let mut bench = Bench::new(Config::new().resync(true));
    let unavailable = || ConnectFailure::Status {
        status: 503,
        retry_after: None,
    };
    let previous = |bench: &mut Bench| {
        let events = bench.events().into_iter();
        let mut found = events.filter_map(|event| match event {
            Event::Resync { previous, .. } => Some(previous.map(|loss| loss.code())),
            _ => None,
        });
        found.next().unwrap()
    };
    bench.refuse(unavailable());
    bench.reconnect();
    assert_eq!(previous(&mut bench), None, "there was none");
    bench.close_from_server(1012, "");
    bench.wait();
    bench.refuse(unavailable());
    bench.reconnect();
    assert_eq!(previous(&mut bench), Some(CloseCode(1012)));
}

#[test]
fn a_resync_that_is_not_done_in_10_s_counts_as_a_failure() {
    let mut bench = Bench::new(Config::new().resync(true));
    bench.connect();
    bench.pass_to(at(9_999));
    assert_eq!(bench.session.state(), State::Resync);
    bench.pass_to(at(10_000));
    assert_ne!(bench.session.state(), State::Resync);
    assert_eq!(bench.session.attempts(), 1);
    let patient = Config::new().resync(true).resync_timeout(secs(60));
    let mut bench = Bench::new(patient);
    for attempts in 1..4 {
        bench.connect();
        bench.receive(&frame(0x82, b"heard"));
        let end = bench.now + secs(60);
        bench.pass_to(end);
        assert_eq!(bench.session.attempts(), attempts, "however long it takes");
        bench.wait();
    }
}

#[test]
fn subscriptions_are_sent_again_on_every_connection_at_their_pace() {
    let mut bench = Bench::new(Config::new());
    for name in ["a", "b", "c"] {
        assert!(
            bench
                .session
                .subscribe(name.into(), format!("sub {name}").into())
        );
    }
    bench.session.subscribe("a".into(), "sub a2".into());
    bench.connect();
    bench.send("data");
    assert_eq!(bench.texts(), ["sub a2"]);
    assert_eq!(bench.session.poll_timeout(), Some(at(10)));
    let frames = bench.pass_to(at(20));
    let texts: Vec<_> = frames.iter().map(|frame| &frame.payload[..]).collect();
    assert_eq!(texts, [&b"sub b"[..], b"sub c", b"data"]);
    assert!(bench.session.unsubscribe("b") && !bench.session.unsubscribe("b"));
    bench.drop_connection();
    bench.reconnect();
    let start = bench.now;
    let mut frames = bench.written();
    frames.extend(bench.pass_to(start + Duration::from_millis(10)));
    assert_eq!(frames.len(), 2);
    assert_eq!(bench.session.state(), State::Open);
}

#[test]
fn close_sends_what_waits_then_closes() {
    let mut bench = Bench::open(Config::new());
    bench.send("last");
    bench
        .session
        .close(bench.now, secs(5), CloseCode::NORMAL, "bye")
        .unwrap();
    assert!(matches!(
        bench.session.send(bench.now, "late"),
        Err(SendError::Closed(_))
    ));
    let frames = bench.written();
    assert_eq!(frames[0].payload, b"last");
    assert_eq!(frames[1].first, 0x88);
    bench.receive(&close_frame(1000, ""));
    bench.drop_connection();
    assert_eq!(bench.session.stopped(), Some(&StopReason::Closed));
    assert_eq!(bench.session.take_unsent(), []);
    bench
        .session
        .close(bench.now, secs(5), CloseCode::NORMAL, "")
        .unwrap();
}

#[test]
fn close_returns_what_it_could_not_send_in_time() {
    let mut bench = Bench::new(Config::new());
    let first = bench.send("first");
    let second = bench.send(in_lane(Lane::High, "second"));
    bench
        .session
        .close(bench.now, secs(5), CloseCode::NORMAL, "")
        .unwrap();
    assert_eq!(bench.session.state(), State::Connecting, "it still tries");
    assert_eq!(bench.session.poll_timeout(), Some(at(5000)));
    bench.pass_to(at(5000));
    assert_eq!(bench.session.stopped(), Some(&StopReason::Closed));
    let unsent: Vec<_> = bench
        .session
        .take_unsent()
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    assert_eq!(unsent, [first, second]);
}

#[test]
fn close_without_anything_to_send_stops_at_once_where_there_is_no_connection() {
    let mut bench = Bench::new(Config::new());
    bench
        .session
        .close(bench.now, secs(5), CloseCode::NORMAL, "")
        .unwrap();
    assert_eq!(bench.session.state(), State::Stopped);
    assert!(
        bench
            .session
            .close(bench.now, secs(5), CloseCode(1006), "")
            .is_err()
    );
}

#[test]
fn the_oldest_are_not_dropped_for_a_message_that_gets_no_room_by_it() {
    let mut bench = Bench::new(Config::new().outbox(10, 100));
    bench.send(in_lane(Lane::High, vec![0; 90]));
    let small = bench.send("small");
    let large = Outgoing {
        on_full: OnFull::DropOldest,
        ..Outgoing::from(vec![0; 20])
    };
    let refused = bench.session.send(bench.now, large.clone());
    assert_eq!(refused, Err(SendError::Full(large)));
    assert_eq!(dropped(&mut bench), []);
    bench.connect();
    bench.written();
    assert!(receipts(&mut bench).contains(&(small, Receipt::Flushed)));
}

#[test]
fn every_message_of_a_large_outbox_is_told_of_although_all_end_at_once() {
    const COUNT: usize = 50_000;
    let volatile = || Outgoing {
        drop_on_reconnect: true,
        ..Outgoing::from("x")
    };
    let mut bench = Bench::open(Config::new().outbox(COUNT, 1 << 20));
    let ids: Vec<_> = (0..COUNT).map(|_| bench.send(volatile())).collect();
    bench.drop_connection();
    let told = dropped(&mut bench).into_iter();
    assert!(told.eq(ids.into_iter().map(|id| (id, DropReason::Reconnect))));
    assert_eq!(bench.session.events_dropped(), 0);
}

#[test]
fn a_close_that_may_take_for_ever_reconnects_for_what_is_queued() {
    let mut bench = Bench::open(Config::new());
    let stuck = bench.send(kept("stuck"));
    bench.fill();
    bench
        .session
        .close(bench.now, Duration::MAX, CloseCode::NORMAL, "")
        .unwrap();
    bench.drop_connection();
    assert_eq!(bench.session.state(), State::Backoff);
    bench.reconnect();
    assert_eq!(bench.texts(), ["stuck"]);
    assert!(receipts(&mut bench).contains(&(stuck, Receipt::Flushed)));
}
