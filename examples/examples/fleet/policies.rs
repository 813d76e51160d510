//! Which policies are compared.

use fulmar_core::backoff::Jitter;
use fulmar_tests::fleet::{Limit, Policy};

/// Every row of the table.
pub(crate) fn all() -> Vec<Policy> {
    let mut policies = shown();
    policies.splice(
        5..5,
        [
            Policy::jittered("3 x no jitter", Jitter::None),
            Policy::jittered("3 x equal jitter", Jitter::Equal),
            Policy::jittered("3 x decorrelated", Jitter::Decorrelated),
            Policy::jittered("3 x proportional 20 %", Jitter::Proportional(0.2)),
        ],
    );
    policies
}

/// Those that the chart shows.
pub(crate) fn shown() -> Vec<Policy> {
    vec![
        Policy::none(),
        Policy::immediate(),
        Policy::three_attempts(),
        Policy::five_attempts(),
        Policy::jittered("3 x full jitter", Jitter::Full),
        Policy::limited(
            "+ 20 % and 10/s (tower)",
            Limit::Reserve {
                share: 0.2,
                per_second: 10.0,
            },
        ),
        Policy::limited(
            "+ quota 500/5 (AWS)",
            Limit::Aws {
                cost: 5.0,
                timeout_cost: 10.0,
            },
        ),
        Policy::limited(
            "+ throttling (gRPC)",
            Limit::Grpc {
                max: 10.0,
                ratio: 0.1,
            },
        ),
        Policy::ours(),
    ]
}
