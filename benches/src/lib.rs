//! Counts and wall time of one keep-alive GET, side by side.
//!
//! [`server`] answers every request alike from a process of its own; [`clients`] are those who ask,
//! behind one trait; [`runtimes`] is where they run; [`load`] is what each does; [`counts`] runs each
//! in a process of its own under an allocator, valgrind and strace ([`tools`]), and takes differences
//! of two runs, so that start-up cancels out; [`table`] is what they print, and [`budgets`] what this
//! library may take. [`pool`] is the core's pool alone, beside many routes; [`threads`] is one client
//! on many threads.

pub mod budgets;
pub mod clients;
pub mod counts;
pub mod descriptors;
pub mod load;
pub mod pool;
pub mod runtimes;
pub mod server;
pub mod table;
pub mod threads;
pub mod tools;
