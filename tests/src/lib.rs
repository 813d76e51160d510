//! What the tests, the fuzz targets and the benchmarks share.

pub mod properties;
