//! Plans as values that are drawn, shrunk and printed.

use std::collections::BTreeSet;
use std::time::Duration;

use fulmar_sim::{Fault, Plan, Sim, strategy};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, TestError, TestRunner};

use crate::support::{connect, echo, exchange, ms};

const TARGETS: [&str; 2] = ["api.test", "laptop"];

/// Whether an exchange succeeds under a plan.
fn survives(plan: &Plan) -> bool {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", echo);
    sim.plan(plan);
    let net = sim.net("laptop");
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await?;
        exchange(&mut socket, b"hello").await
    });
    run.output().is_some_and(Result::is_ok)
}

#[test]
fn a_failing_plan_shrinks_to_one_fault_and_prints_as_rust() {
    let mut runner = TestRunner::new_with_rng(
        Config {
            failure_persistence: None,
            ..Config::with_cases(2000)
        },
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let plans = strategy::plan(&TARGETS, ms(1000), 6);
    let result = runner.run(&plans, |plan| {
        if survives(&plan) {
            return Ok(());
        }
        Err(proptest::test_runner::TestCaseError::fail("it failed"))
    });
    let Err(TestError::Fail(_, plan)) = result else {
        panic!("no plan of 2,000 broke an exchange: {result:?}");
    };
    assert_eq!(plan.len(), 1, "{plan:?}");
    let source = format!("{plan:?}");
    assert!(
        source.starts_with("vec![\n    (Duration::from_"),
        "{source}"
    );
    assert!(source.contains("Fault::"), "{source}");
    assert!(!survives(&Plan::from(plan.to_vec())), "it still fails");
}

#[test]
fn a_plan_keeps_to_its_targets_its_span_and_its_length() {
    let mut runner = TestRunner::deterministic();
    let plans = strategy::plan(&TARGETS, ms(1000), 4);
    for _ in 0..200 {
        let plan = plans.new_tree(&mut runner).unwrap().current();
        assert_fits(&plan);
    }
    for seed in 0..200 {
        assert_fits(&Plan::seeded(seed, &TARGETS, ms(1000), 4));
    }
}

fn assert_fits(plan: &Plan) {
    assert!(plan.len() <= 4, "{plan:?}");
    for (range, fault) in plan.iter() {
        assert!(range.start <= ms(1000) && range.end <= ms(2000), "{plan:?}");
        assert!(range.start < range.end, "{plan:?}");
        let source = format!("{fault:?}");
        assert!(TARGETS.iter().any(|target| source.contains(target)));
    }
}

#[test]
fn a_seed_decides_a_plan_and_many_seeds_draw_every_kind_of_fault() {
    let plan = |seed| Plan::seeded(seed, &TARGETS, ms(1000), 4);
    assert_eq!(plan(3), plan(3));
    let kind = |fault: &Fault| format!("{fault:?}").split('(').next().map(str::to_owned);
    let kinds: BTreeSet<_> = (0..300)
        .flat_map(|seed| {
            plan(seed)
                .iter()
                .map(|(_, fault)| kind(fault))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(kinds.len(), 16, "{kinds:?}");
    assert_eq!(
        Plan::seeded(1, &[], Duration::from_secs(1), 4),
        Plan::default()
    );
    assert_eq!(format!("{:?}", Plan::default()), "vec![]");
}
