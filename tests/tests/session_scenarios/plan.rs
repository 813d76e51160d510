//! What the server, the network and the application of the model do.

use fulmar_sim::Fault;
use fulmar_sim::session::{Delivery, Lane, OnFull};
use proptest::prelude::*;

/// How one connection of the server ends, after so many messages.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Close(u16),
    Eof,
    Reset,
    /// It hears nothing more, and says nothing.
    Deaf,
}

#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) lane: Lane,
    pub(crate) delivery: Delivery,
    pub(crate) on_full: OnFull,
    pub(crate) is_fleeting: bool,
    pub(crate) drop_on_reconnect: bool,
    pub(crate) len: usize,
    /// How long the application rests before it.
    pub(crate) rest: u64,
    /// How long it waits for room, and then for a receipt, before it drops the future.
    pub(crate) patience: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) ends: Vec<(usize, End)>,
    pub(crate) messages: Vec<Message>,
    pub(crate) outage: (u64, u64, Outage),
    /// How long the application takes for a message.
    pub(crate) reads: u64,
    /// After how many it sleeps for 35 s, and how long it waits for one before it drops the future.
    pub(crate) nap: usize,
    pub(crate) glance: u64,
    pub(crate) drops_oldest: bool,
    pub(crate) drain: u64,
}

/// What goes wrong between the two, or with the server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outage {
    Refuse,
    Restart,
    Reset,
    Partition,
    HalfOpen,
    SlowReader,
}

impl Outage {
    pub(crate) fn fault(self) -> Fault {
        let target = "api.test";
        match self {
            Self::Refuse => Fault::refuse(target),
            Self::Restart => Fault::down(target),
            Self::Reset => Fault::reset(target),
            Self::Partition => Fault::partition(target),
            Self::HalfOpen => Fault::half_open(target),
            Self::SlowReader => Fault::slow_reader(target, 10_000),
        }
    }
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        prop::sample::select(vec![1001, 1005, 1009, 1011, 1012, 1013, 3000, 3008, 4000])
            .prop_map(End::Close),
        // The session ends with them.
        prop::sample::select(vec![1000, 1008, 3003, 1002]).prop_map(End::Close),
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
    let patience = prop_oneof![Just(0), 0..300_u64, Just(20_000)];
    (lane, on_full, delivery, rest, len, flags, patience).prop_map(
        |(lane, on_full, delivery, rest, len, flags, patience)| Message {
            lane,
            delivery,
            on_full,
            is_fleeting: flags.0,
            drop_on_reconnect: flags.1,
            len,
            rest,
            patience,
        },
    )
}

fn outage() -> impl Strategy<Value = (u64, u64, Outage)> {
    let kinds = vec![
        Outage::Refuse,
        Outage::Restart,
        Outage::Reset,
        Outage::Partition,
        Outage::HalfOpen,
        Outage::SlowReader,
    ];
    (0..5_000_u64, 1..30_000_u64, prop::sample::select(kinds))
}

pub(crate) fn plan() -> impl Strategy<Value = Plan> {
    (
        any::<u64>(),
        prop::collection::vec((0..8_usize, end()), 0..6),
        prop::collection::vec(message(), 1..80),
        outage(),
        (prop_oneof![Just(0), 0..200_u64], 0..60_usize),
        (prop_oneof![Just(1), 1..50_u64, Just(60_000)], any::<bool>()),
        0..20_000_u64,
    )
        .prop_map(|(seed, ends, messages, outage, slow, reader, drain)| Plan {
            seed,
            ends,
            messages,
            outage,
            reads: slow.0,
            nap: slow.1,
            glance: reader.0,
            drops_oldest: reader.1,
            drain,
        })
}
