//! Connections: what two hosts' systems do with the bytes of their programs.
//!
//! ```text
//!            SYN            SYN-ACK
//! opening --------> accepted --------> established --- FIN each way ---> closed
//!    |                  |                   |
//!    '---- refused, reset, no answer        '--- RST: both ends failed
//! ```
//!
//! Ends and directions share numbers: end 0 is the client's, and direction 0 is what it sends.
//!
//! Invariants:
//! * Bytes of a direction arrive in order, each once, or never (and then nobody is told, or the
//!   connection fails).
//! * Bytes written and not yet read are at most the link's window, so a peer that does not read
//!   stops its writer. Room comes back a packet's time after the read.
//! * A connection is removed when both ends are closed; its events find nothing then.

mod check;
mod handshake;
mod network;
mod program;

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::task::Waker;

use bytes::Bytes;

use crate::link::Way;
use crate::record::Actor;
use crate::target::Window;

pub(crate) use program::read_into;

/// A piece of a stream under way.
#[derive(Debug)]
pub(crate) struct Segment {
    data: Bytes,
    /// Whether a read ends with it.
    is_cut: bool,
}

pub(crate) struct Tcp {
    pub(crate) client: usize,
    pub(crate) server: usize,
    pub(crate) client_addr: SocketAddr,
    pub(crate) server_addr: SocketAddr,
    /// The faults that concern it.
    pub(crate) windows: Vec<Window>,
    pub(crate) actor: Actor,
    wire: usize,
    /// The number of direction 0 on the link.
    flip: usize,
    stage: Stage,
    /// Whether no packet arrives any more.
    is_dead: bool,
    ends: [End; 2],
    flows: [Flow; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Opening,
    Accepted,
    Established,
    Failed(ErrorKind),
}

/// A program's side of a connection.
#[derive(Default)]
struct End {
    is_closed: bool,
    failure: Option<ErrorKind>,
    /// The program has seen the failure.
    is_told: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl End {
    /// That of a server which does not know of the connection.
    fn closed() -> Self {
        Self {
            is_closed: true,
            ..Self::default()
        }
    }
}

/// One direction.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "five facts, any of which holds alone"
)]
struct Flow {
    /// Written, and the room for it not yet back.
    taken: usize,
    /// Room on its way back: when, and how much.
    credits: VecDeque<(u64, usize)>,
    /// An event will tell the writer.
    is_credit_queued: bool,
    /// Nothing more may arrive before this.
    last_arrival: u64,
    /// Something was lost for good: what follows must not arrive either.
    is_lost: bool,
    is_ended: bool,
    /// Arrived, not yet read.
    inbox: VecDeque<Segment>,
    is_end_seen: bool,
    /// Before this, a slow reader reads no more.
    next_read: u64,
    /// An event will tell the reader.
    is_read_queued: bool,
}

impl Flow {
    fn settle(&mut self, now: u64) {
        while let Some((at, n)) = self.credits.front()
            && *at <= now
        {
            self.taken = self.taken.saturating_sub(*n);
            self.credits.pop_front();
        }
    }
}

impl Tcp {
    fn way(&self, end: usize) -> Way {
        Way {
            direction: end ^ self.flip,
            sender: end,
        }
    }

    /// Whether the program at that end has it still.
    pub(crate) fn is_open(&self, end: usize) -> bool {
        !self.ends[end].is_closed
    }

    fn is_alive(&self) -> bool {
        !self.is_dead && self.stage == Stage::Established || self.stage == Stage::Accepted
    }
}
