//! A driver without sockets: it is told what happens, and writes down what the dial does.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fulmar_core::dial::{Action, AttemptId, Config, Dial, Lookup, Record};
use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::time::Instant;

pub(crate) const PORT: u16 = 443;

/// When, in milliseconds, and what.
pub(crate) type Line = (u64, &'static str);

/// What happens to a dial from outside.
#[derive(Clone, Copy)]
pub(crate) enum Input {
    Answer(Record, &'static [&'static str]),
    NoAnswer(Record, FaultKind),
    Connected(&'static str),
    Failed(&'static str, FaultKind, Phase),
}

use Input::{Answer, Connected, Failed, NoAnswer};

/// The answers with which most timelines begin.
pub(crate) const AAAA_20: (u64, Input) = (20, Answer(Record::V6, &["a6", "b6"]));
pub(crate) const A_30: (u64, Input) = (30, Answer(Record::V4, &["c4", "d4"]));

pub(crate) fn refused(name: &'static str) -> Input {
    Failed(name, FaultKind::Refused, Phase::Connect)
}

pub(crate) fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

pub(crate) fn addr(name: &str) -> IpAddr {
    let text = match name.split_at(1) {
        (letter, "6") => format!("2001:db8::{letter}"),
        (letter, _) => format!("192.0.2.{}", letter.as_bytes()[0] - b'a' + 1),
    };
    text.parse().expect("a letter and a family")
}

fn name(addr: IpAddr) -> String {
    match addr {
        IpAddr::V6(v6) => format!("{:x}6", v6.segments()[7]),
        IpAddr::V4(v4) => format!("{}4", char::from(b'a' - 1 + v4.octets()[3])),
    }
}

pub(crate) fn addrs(names: &[&str]) -> Vec<IpAddr> {
    names.iter().map(|name| addr(name)).collect()
}

/// Drives a dial by its own timers and these inputs, and writes down what it does.
pub(crate) struct Driver {
    pub(crate) dial: Dial,
    names: BTreeMap<AttemptId, String>,
    pub(crate) log: Vec<(Instant, String)>,
}

impl Driver {
    pub(crate) fn new(dial: Dial) -> Self {
        let mut driver = Self {
            dial,
            names: BTreeMap::new(),
            log: Vec::new(),
        };
        driver.drain(Instant::ORIGIN);
        driver
    }

    pub(crate) fn by_name(lookup: Lookup) -> Self {
        Self::configured(lookup, Config::default())
    }

    pub(crate) fn configured(lookup: Lookup, config: Config) -> Self {
        let deadline = Some(at(5000));
        Self::new(Dial::by_name(
            Instant::ORIGIN,
            PORT,
            lookup,
            deadline,
            config,
        ))
    }

    pub(crate) fn run(mut self, inputs: &[(u64, Input)]) -> Self {
        for (ms, input) in inputs {
            self.run_until(at(*ms));
            self.put(at(*ms), *input);
            self.drain(at(*ms));
        }
        self.run_until(Instant::MAX);
        self
    }

    fn run_until(&mut self, until: Instant) {
        while let Some(due) = self.dial.poll_timeout().filter(|due| *due < until) {
            self.dial.handle_timeout(due);
            assert!(self.dial.poll_timeout().is_none_or(|next| next > due));
            self.drain(due);
        }
    }

    fn put(&mut self, now: Instant, input: Input) {
        match input {
            Answer(record, names) => self.dial.handle_answer(now, record, Ok(addrs(names))),
            NoAnswer(record, kind) => {
                let fault = Fault::new(kind, Phase::Dns);
                self.dial.handle_answer(now, record, Err(fault));
            }
            Connected(name) => self.dial.handle_connected(now, self.id(name)),
            Failed(name, kind, phase) => {
                self.dial
                    .handle_failed(now, self.id(name), Fault::new(kind, phase));
            }
        }
    }

    /// The latest attempt at that address.
    pub(crate) fn id(&self, name: &str) -> AttemptId {
        let mut ids = self.names.iter().rev();
        *ids.find(|(_, known)| *known == name)
            .expect("an attempt at it")
            .0
    }

    pub(crate) fn drain(&mut self, now: Instant) {
        while let Some(action) = self.dial.poll_action() {
            let line = match action {
                Action::Resolve(record) => format!("resolve {record:?}"),
                Action::Connect(id, to) => {
                    assert_eq!(to.port(), PORT);
                    self.names.insert(id, name(to.ip()));
                    format!("SYN {}", name(to.ip()))
                }
                Action::Abandon(id) => format!("close {}", self.names[&id]),
                Action::Won(id) => format!("won {}", self.names[&id]),
                Action::Failed(fault) => format!("failed {}: {fault}", fault.phase),
            };
            self.log.push((now, line));
        }
    }

    /// What happened after the lookups were asked for.
    #[track_caller]
    pub(crate) fn expect(&self, lines: &[Line]) {
        let resolves = |line: &&(Instant, String)| line.1.starts_with("resolve");
        let log = self.log.iter().skip_while(resolves).cloned();
        let lines = lines.iter().map(|(ms, line)| (at(*ms), (*line).to_owned()));
        assert_eq!(log.collect::<Vec<_>>(), lines.collect::<Vec<_>>());
    }
}
