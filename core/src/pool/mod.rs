//! Who is idle, who waits, and who may dial: connections by route.
//!
//! ```text
//!              checkout                     handle_connected
//!    (nothing) ---------> Connecting ------------------------> Busy <-----------+
//!                            |  handle_dial_failed, given up    | |  checkout,   | settle: straight
//!                            v                                  | |  poll_lease  | to a waiter, or
//!                         (nothing) <---------------------------+ |              | to the idle list
//!                            ^        discard                     v  park        |
//!                            |                        drain -> Draining -------> Idle
//!                            +----------------------------------------------------+
//!                                      evicted: expired, too many, not quiet, room needed
//! ```
//!
//! Invariants, each a property in `tests/`:
//!
//! * connecting + busy + idle + draining is within the limit, in all and for each route, after
//!   every call; idle ones are within theirs.
//! * A connection is in one place: with its bearer, in the idle list, or granted to a ticket. A
//!   freed one changes hands within the call that freed it, so that nobody overtakes.
//! * Whoever waits on a route is served in the order of asking, among those of a lane that a
//!   connection fits; lanes take turns by their shares. A connection that fits a waiter is never idle.
//! * Never more dials begun than waiters; a dial serves whoever is first, not who started it. With
//!   fewer waiters than dials, those go on whose connections could idle; the others are given up.
//! * While a route is held up by the total limit nothing is idle, but what is looked at and somebody
//!   counts on; a place costs one eviction, and goes round by turns.
//! * Every handle carries a generation: a stale one is noticed, and never followed.
//!
//! All of it is slabs with lists threaded through them: an operation touches a bounded number of
//! entries. Nothing the caller owns is dropped in here; it comes out of `poll_evicted`.

mod by_route;
mod config;
mod dialing;
mod expiry;
mod hit;
mod idle;
mod index;
mod lease;
mod look;
#[expect(
    clippy::module_inception,
    reason = "the machine is named as its folder"
)]
mod pool;
mod preview;
mod retire;
mod route;
mod share;
mod slab;
mod slot;
mod surplus;
mod turns;
mod waiters;

pub use by_route::{ByRoute, RouteGauges};
pub use config::{Config, ConfigError, Limits};
pub use lease::{Ask, Connection, Discard, Eviction, Gauges, Lease, Refusal, Slot, Ticket};
pub use pool::Pool;
pub use preview::{Held, Preview};
