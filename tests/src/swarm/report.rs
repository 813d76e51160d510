//! A pair that failed: made small, and printed as a test.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fulmar_sim::Plan;

/// What `play` returned, or the message of its panic.
pub(super) fn caught<T>(play: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(play)).map_err(|panic| match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => panic
            .downcast_ref::<&str>()
            .copied()
            .unwrap_or("a panic")
            .to_owned(),
    })
}

/// The plan without the faults that do not matter: it still fails, and would not without any of
/// those that are left.
pub fn minimal(plan: &Plan, fails: impl Fn(&Plan) -> bool) -> Plan {
    let mut faults = plan.to_vec();
    let mut at = 0;
    while at < faults.len() {
        let mut fewer = faults.clone();
        fewer.remove(at);
        if fails(&fewer.clone().into()) {
            faults = fewer;
        } else {
            at += 1;
        }
    }
    faults.into()
}

/// The test that fails, to be pasted.
pub fn failing_test(seed: u64, plan: &Plan) -> String {
    let plan = format!("{plan:?}").replace('\n', "\n    ");
    format!(
        "the pair as a test, to be pasted into tests/tests/swarm.rs:\n\n\
         #[test]\n\
         fn the_swarm_found_seed_{seed}() {{\n    \
             let plan = Plan::from({plan});\n    \
             fulmar_tests::swarm::check({seed}, &plan);\n\
         }}\n"
    )
}
