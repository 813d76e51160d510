//! Plans as proptest strategies (feature `proptest`).
//!
//! A failing plan shrinks: faults that do not matter go, the others become milder, earlier and
//! shorter; and what is left prints as the Rust that makes it.
//!
//! ```
//! use std::time::Duration;
//! use fulmar_sim::{Sim, strategy};
//! use proptest::prelude::*;
//!
//! proptest! {
//!     #![proptest_config(ProptestConfig::with_cases(20))]
//!
//!     // In a test, with `#[test]`.
//!     fn a_call_ends_whatever_happens(
//!         seed: u64,
//!         plan in strategy::plan(&["api.test"], Duration::from_secs(5), 3),
//!     ) {
//!         let mut sim = Sim::seeded(seed);
//!         sim.serve("api.test:80", |mut conn| async move {
//!             while conn.request().await?.is_some() {
//!                 conn.respond(200, "hello").await?;
//!             }
//!             Ok(())
//!         });
//!         sim.plan(&plan);
//!         let client = sim.client("laptop").build().unwrap();
//!         let url = "http://api.test/";
//!         let run = sim.run(async move { client.get(url).send().await.map(drop) });
//!         prop_assert!(run.failure().is_none(), "{:?}", run.failure());
//!     }
//! }
//! a_call_ends_whatever_happens();
//! ```

use std::ops::Range;
use std::time::Duration;

use proptest::collection::vec;
use proptest::sample::select;
use proptest::strategy::Strategy;

use crate::faults::Fault;
use crate::plan::{Plan, Shape};

/// Faults with their times: of any kind but corruption (which TCP's checksum rules out, nearly) and a
/// lack of descriptors, of any of the `targets`, that begin within `span` and last no longer than
/// that.
///
/// # Panics
///
/// When it is first drawn from, if there are no targets.
pub fn faults(
    targets: &[&str],
    span: Duration,
) -> impl Strategy<Value = (Range<Duration>, Fault)> + use<> {
    let targets: Vec<String> = targets.iter().map(|target| (*target).to_owned()).collect();
    let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1);
    let numbers = (
        0..Shape::KINDS,
        0..Shape::AMOUNTS,
        0..=span,
        1..=span,
        select(targets),
    );
    numbers.prop_map(|(kind, amount, from, length, target)| {
        let shape = Shape {
            kind,
            amount,
            from,
            length,
        };
        shape.of(&target)
    })
}

/// Plans of at most `most` such [`faults`].
///
/// # Panics
///
/// As [`faults`].
pub fn plan(targets: &[&str], span: Duration, most: usize) -> impl Strategy<Value = Plan> + use<> {
    vec(faults(targets, span), 0..=most).prop_map(Plan::from)
}
