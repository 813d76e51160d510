//! An HTTP client that rides out bad networks, on any async runtime and in a simulator.
//!
//! All protocol and policy is in `fulmar-core`, as state machines without IO. This crate drives them
//! with a runtime's sockets and timers, behind the object-safe trait [`net::Net`]. Use it through the
//! crate of your runtime (`fulmar-tokio`) or of the simulator (`fulmar-sim`): each re-exports all of
//! this one.
//!
//! | feature | what it adds |
//! |---|---|
//! | `json`, by default | forms, queries and JSON of requests, JSON of responses |
//! | `websocket` | `Client::websocket`: WebSockets, and sessions that outlive their connections |
//! | `deflate` | `websocket`, with compressed messages |
//! | `tokio-io` | tokio's traits on [`Upgraded`] |
#![forbid(unsafe_code)]

pub mod net;
pub mod timeline;

mod alarm;
mod basic;
mod batch;
mod body;
mod builder;
mod checked;
mod client;
mod dial;
mod dns;
mod driver;
mod error;
mod exchange;
mod explain;
mod fault;
mod flight;
mod h1;
mod holdings;
mod idempotency;
mod in_flight;
mod incoming;
mod lanes;
mod latencies;
mod limiter;
mod milestones;
mod observer;
mod profile;
mod propagation;
mod request;
mod response;
mod scope;
mod sending;
mod shared;
mod shutdown;
mod summary;
mod transport;
mod upgraded;
mod url;
mod wake;
mod window;
mod wire;

#[cfg(feature = "websocket")]
pub mod session;
#[cfg(feature = "websocket")]
pub mod websocket;

pub use bytes::Bytes;
pub use fulmar_core::adaptive::{Adaptive, AdaptiveError, Sample};
pub use fulmar_core::backoff::{Backoff, Jitter};
pub use fulmar_core::call::{AttemptRecord, Outcome as AttemptOutcome, Why};
pub use fulmar_core::deadline::{DeadlineHeader, MinSpeed, Spent, Timeouts};
pub use fulmar_core::fault::{Fate, Phase};
pub use fulmar_core::lane::Lane;
pub use fulmar_core::pool::{
    ByRoute, Config as PoolConfig, Gauges, Held, Limits, Preview, RouteGauges,
};
pub use fulmar_core::retry::{Cause, MethodClass, Replay, Retry, Ruling, Seen, StopReason};
pub use fulmar_core::time::Instant;
pub use fulmar_core::{tls, trace};
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};

pub use batch::{Batch, InFlight};
pub use body::{Body, BoxError};
pub use builder::ClientBuilder;
pub use client::Client;
pub use dns::{Dns, DnsBuilder, Resolve};
pub use error::{Error, Kind, TimeoutLimit};
pub use explain::{Admission, Explanation, Lookup, RetryVerdict, Retrying, Transport};
pub use holdings::Holdings;
pub use idempotency::IdempotencyKey;
pub use latencies::{Histogram, HostLatencies, Latencies};
pub use limiter::{Acquire, Limiter, Permit};
pub use observer::Observer;
pub use profile::Profile;
pub use request::RequestBuilder;
pub use response::Response;
pub use scope::{Branch, Outcome, Scope, ScopeError, Scoped};
pub use sending::Sending;
#[cfg(feature = "websocket")]
pub use session::Session;
pub use upgraded::Upgraded;
pub use url::{IntoUrl, Url};
#[cfg(feature = "websocket")]
pub use websocket::{CloseCode, Message, WebSocket};
