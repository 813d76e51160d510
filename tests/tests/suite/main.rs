//! What every adapter does, written once and run on each: on real sockets of loopback by the
//! adapters of runtimes, in virtual time by the simulator.
//!
//! A behaviour is an `async fn` of an [`Env`](env::Env), listed in its file's `suite!`. It has no
//! clock to wait by: it opens gates, waits for what it wants to see, and sets short limits.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

mod env;

/// Runs these behaviours of the file on every adapter, each as a test of its own.
macro_rules! suite {
    ($($behaviour:ident),+ $(,)?) => {
        suite!(@ on_tokio [$($behaviour)+]);
        suite!(@ on_tokio_threads [$($behaviour)+]);
        suite!(@ on_smol [$($behaviour)+]);
        suite!(@ on_an_executor_of_smol [$($behaviour)+]);
        suite!(@ on_async_std [$($behaviour)+]);
        suite!(@ on_threads_that_block [$($behaviour)+]);
        suite!(@ in_the_simulator [$($behaviour)+]);
    };
    (@ $adapter:ident [$($behaviour:ident)+]) => {
        mod $adapter {
            $(
                #[test]
                fn $behaviour() {
                    crate::env::$adapter(|env| Box::pin(super::$behaviour(env)));
                }
            )+
        }
    };
}

mod batches;
mod cancellation;
mod connections;
mod drops;
mod exchanges;
mod expectations;
mod failures;
mod limits;
mod names;
mod policies;
mod responses;
mod retries;
mod scopes;
mod sessions;
mod shutdown;
mod speeds;
mod timeouts;
mod timers;
mod upgrades;
mod uploads;
mod websocket_settings;
mod websockets;
