//! Where an attempt's time went, in 32 bytes.

use std::fmt;
use std::time::Duration;

use crate::fault::Phase;

/// Time by phase, in whole microseconds; at most 71 minutes a phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent([u32; Spent::PHASES.len()]);

impl Spent {
    /// What is told apart: a tunnel through a proxy is a part of `Connect`.
    const PHASES: [Phase; 8] = [
        Phase::Pool,
        Phase::Dns,
        Phase::Connect,
        Phase::Tls,
        Phase::Write,
        Phase::FirstByte,
        Phase::Head,
        Phase::Body,
    ];

    /// Time in `phase`. [`Phase::Connect`] is the opening of the transport, the tunnel through a proxy
    /// included ([`dial`](Self::dial) is the whole dial); of `Attempt` and `Total` it is the sum.
    pub fn in_phase(&self, phase: Phase) -> Duration {
        let micros = match place(phase) {
            Some(place) => u64::from(self.0[place]),
            None => self.0.iter().copied().map(u64::from).sum(),
        };
        Duration::from_micros(micros)
    }

    /// Time in the dial: the name, the transport and TLS.
    pub fn dial(&self) -> Duration {
        self.in_phase(Phase::Dns) + self.in_phase(Phase::Connect) + self.in_phase(Phase::Tls)
    }

    pub(super) fn add(&mut self, phase: Phase, nanos: u64) {
        if let Some(place) = place(phase) {
            let micros = u32::try_from(nanos / 1_000).unwrap_or(u32::MAX);
            self.0[place] = self.0[place].saturating_add(micros);
        }
    }

    /// What came since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self(std::array::from_fn(|place| {
            self.0[place].saturating_sub(before.0[place])
        }))
    }

    /// The sum, phase by phase.
    #[must_use]
    pub fn and(&self, more: &Self) -> Self {
        Self(std::array::from_fn(|place| {
            self.0[place].saturating_add(more.0[place])
        }))
    }
}

fn place(phase: Phase) -> Option<usize> {
    let told = match phase {
        Phase::Proxy => Phase::Connect,
        phase => phase,
    };
    Spent::PHASES.into_iter().position(|phase| phase == told)
}

impl fmt::Display for Spent {
    /// The phases that took time: `dns 1ms, connect 30ms, first byte 5s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = Self::PHASES
            .into_iter()
            .zip(self.0)
            .filter(|took| took.1 > 0);
        for (place, (phase, micros)) in took.enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            let time = Duration::from_micros(micros.into());
            write!(f, "{comma}{phase} {time:?}")?;
        }
        Ok(())
    }
}
