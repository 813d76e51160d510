//! What the tests, the fuzz targets and the benchmarks share.

pub mod durable;
pub mod fleet;
pub mod loopback;
pub mod properties;
pub mod swarm;
pub mod toy_tls;
pub mod websocket;
