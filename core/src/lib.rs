#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod adaptive;
pub mod backoff;
pub mod budget;
pub mod buf;
pub mod call;
pub mod deadline;
pub mod dial;
pub mod dns;
pub mod fault;
pub mod h1;
pub mod http;
pub mod lane;
mod lru;
pub mod origin;
pub mod pattern;
pub mod pool;
pub mod retry;
#[cfg(feature = "websocket")]
pub mod session;
pub mod spool;
pub mod time;
pub mod timer;
pub mod tls;
pub mod trace;
pub mod turnstile;
#[cfg(feature = "websocket")]
pub mod ws;

pub use rand_core;
