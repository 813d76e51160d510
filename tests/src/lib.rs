//! What the tests, the fuzz targets and the benchmarks share.

pub mod durable;
pub mod loopback;
pub mod properties;
pub mod toy_tls;
pub mod websocket;
