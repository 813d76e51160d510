//! An HTTP client that rides out bad networks, on any async runtime and in a simulator.
//!
//! All protocol and policy is in `fulmar-core`, as state machines without IO. This crate drives them
//! with a runtime's sockets and timers, behind the object-safe trait [`net::Net`]. Use it through the
//! crate of your runtime (`fulmar-tokio`) or of the simulator (`fulmar-sim`): each re-exports all of
//! this one.
#![forbid(unsafe_code)]

pub mod net;
pub mod timeline;

mod body;
mod builder;
mod client;
mod dial;
mod driver;
mod error;
mod exchange;
mod fault;
mod h1;
mod incoming;
mod observer;
mod request;
mod response;
mod sending;
mod shared;
mod transport;
mod upgraded;
mod url;
mod window;
mod wire;

pub use bytes::Bytes;
pub use fulmar_core::backoff::{Backoff, Jitter};
pub use fulmar_core::deadline::Timeouts;
pub use fulmar_core::fault::{Fate, Phase};
pub use fulmar_core::pool::{Config as PoolConfig, Gauges, Limits};
pub use fulmar_core::retry::{Retry, StopReason};
pub use fulmar_core::time::Instant;
pub use fulmar_core::{tls, trace};
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};

pub use body::{Body, BoxError};
pub use builder::ClientBuilder;
pub use client::Client;
pub use error::{Error, Kind};
pub use observer::Observer;
pub use request::RequestBuilder;
pub use response::Response;
pub use sending::Sending;
pub use upgraded::Upgraded;
pub use url::{IntoUrl, Url};
