//! The trace: small records, made into text only when somebody reads it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use fulmar_core::time::Instant;
use fulmar_core::trace;

use crate::faults::Fault;

/// Records kept; the oldest go first.
const KEPT: usize = 1 << 20;

/// What happened. `u8` is an end: 0 the client's, 1 the server's; of a direction, its sender.
#[derive(Debug)]
pub(crate) enum What {
    Opening,
    Accepted,
    Established,
    ConnectFailed(io::ErrorKind),
    Sent {
        end: u8,
        len: u32,
        arrives: u64,
    },
    Vanished {
        end: u8,
        len: u32,
    },
    Arrived {
        end: u8,
        len: u32,
    },
    FinSent {
        end: u8,
    },
    FinArrived {
        end: u8,
    },
    Failed {
        end: u8,
        kind: io::ErrorKind,
    },
    Closed {
        end: u8,
    },
    Served(Option<Box<str>>),
    Killed,
    Fault {
        fault: Arc<Fault>,
        begins: bool,
    },
    Resolved {
        name: Box<str>,
        answer: Box<str>,
    },
    /// What a client said of itself; clients are numbered.
    Client(u32, Box<trace::Record>),
    Note(Box<str>),
}

/// Whom a record is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Actor {
    World,
    /// An index into the names.
    Named(u32),
    /// A connection: its number, and the index of its name (`laptop>api.test:80`).
    Connection(u32, u32),
}

#[derive(Debug)]
struct Record {
    at: u64,
    actor: Actor,
    what: What,
}

/// The names of actors and the records about them.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    names: Vec<Box<str>>,
    by_name: BTreeMap<Box<str>, u32>,
    records: VecDeque<Record>,
    dropped: u64,
}

impl Trace {
    pub(crate) fn name(&mut self, name: &str) -> u32 {
        if let Some(index) = self.by_name.get(name) {
            return *index;
        }
        let index = self.names.len() as u32;
        self.names.push(name.into());
        self.by_name.insert(name.into(), index);
        index
    }

    pub(crate) fn push(&mut self, at: u64, actor: Actor, what: What) {
        if self.records.len() == KEPT {
            self.records.pop_front();
            self.dropped += 1;
        }
        self.records.push_back(Record { at, actor, what });
    }

    /// The number of the next record.
    pub(crate) fn end(&self) -> u64 {
        self.dropped + self.records.len() as u64
    }

    /// The records numbered `from..to`, one line each.
    pub(crate) fn render(&self, from: u64, to: u64) -> String {
        let mut out = String::new();
        if self.dropped > from {
            let _ = writeln!(out, ".. {} earlier lines were dropped", self.dropped - from);
        }
        for (record, number) in self.records.iter().zip(self.dropped..to) {
            if number >= from {
                self.line(&mut out, number, record);
            }
        }
        out
    }

    /// What each client said of itself before the record numbered `to`, with the name of its host.
    pub(crate) fn clients(&self, to: u64) -> BTreeMap<u32, (String, Vec<trace::Record>)> {
        let mut clients = BTreeMap::new();
        for (record, _) in self.records.iter().zip(self.dropped..to) {
            if let What::Client(client, said) = &record.what {
                let new = || (self.actor(record.actor), Vec::new());
                let (_, records) = clients.entry(*client).or_insert_with(new);
                records.push(trace::Record::clone(said));
            }
        }
        clients
    }

    pub(crate) fn actor(&self, actor: Actor) -> String {
        let name = |index: u32| self.names.get(index as usize).map_or("?", |name| &**name);
        match actor {
            Actor::World => "world".to_owned(),
            Actor::Named(index) => name(index).to_owned(),
            Actor::Connection(number, index) => format!("{}#{number}", name(index)),
        }
    }

    fn line(&self, out: &mut String, number: u64, record: &Record) {
        let _ = write!(out, "{} {number:06} ", Instant::from_nanos(record.at));
        out.push_str(&self.actor(record.actor));
        let _ = describe(out, &record.what);
        out.push('\n');
    }
}

fn describe(out: &mut String, what: &What) -> std::fmt::Result {
    match what {
        What::Opening => write!(out, " opens"),
        What::Accepted => write!(out, " is accepted"),
        What::Established => write!(out, " is established"),
        What::ConnectFailed(kind) => write!(out, " cannot be opened: {kind}"),
        What::Sent { end, len, arrives } => {
            let arrives = Instant::from_nanos(*arrives);
            write!(
                out,
                " {} sends {len} bytes, arriving by {arrives}",
                side(*end)
            )
        }
        What::Vanished { end, len } => write!(out, " {} sends {len} bytes, lost", side(*end)),
        What::Arrived { end, len } => write!(out, " {} gets {len} bytes", side(1 - *end)),
        What::FinSent { end } => write!(out, " {} ends its stream", side(*end)),
        What::FinArrived { end } => write!(out, " {} sees the end", side(1 - *end)),
        What::Failed { end, kind } => write!(out, " {} fails: {kind}", side(*end)),
        What::Closed { end } => write!(out, " {} closes", side(*end)),
        What::Served(None) => write!(out, " server is done"),
        What::Served(Some(error)) => write!(out, " server gives up: {error}"),
        What::Killed => write!(out, " server is killed"),
        What::Fault {
            fault,
            begins: true,
        } => write!(out, " {fault:?} begins"),
        What::Fault {
            fault,
            begins: false,
        } => write!(out, " {fault:?} ends"),
        What::Resolved { name, answer } => write!(out, " resolves {name}: {answer}"),
        What::Client(_, record) if record.call == 0 => write!(out, " pool: {}", record.event),
        What::Client(_, record) => write!(out, " call {}: {}", record.call, record.event),
        What::Note(text) => write!(out, " {text}"),
    }
}

const fn side(end: u8) -> &'static str {
    if end == 0 { "client" } else { "server" }
}
