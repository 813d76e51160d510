//! One seed, played twice.

use std::cell::Cell;

use fulmar_sim::{Divergence, Sim, check_determinism};

use crate::support::{connect, echo, exchange, ms};

fn play(sim: &mut Sim) {
    sim.serve("api.test:80", echo);
    sim.link("laptop", "api.test")
        .latency(ms(1)..ms(90))
        .loss(0.1);
    let net = sim.net("laptop");
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        for _ in 0..20 {
            exchange(&mut socket, b"hello").await.unwrap();
        }
    });
    run.expect();
}

#[test]
fn what_depends_on_the_seed_alone_is_the_same_twice() {
    let trace = check_determinism(7, play).unwrap();
    assert!(trace.lines().count() > 80);
    assert_ne!(trace, check_determinism(8, play).unwrap());
}

#[test]
fn the_first_line_that_differs_is_shown_with_those_before_it() {
    let count = Cell::new(0);
    let divergence = check_determinism(7, |sim| {
        for line in ["one", "two", "three", "four"] {
            sim.trace_line("test", line);
        }
        count.set(count.get() + 1);
        sim.trace_line("test", format!("run {}", count.get()));
    });
    let divergence = divergence.unwrap_err();
    assert_eq!(divergence.line(), 5);
    let text = "the traces differ from line 5 on:\n  \
                0.000000000s 000001 test two\n  \
                0.000000000s 000002 test three\n  \
                0.000000000s 000003 test four\n\
                - 0.000000000s 000004 test run 1\n\
                + 0.000000000s 000004 test run 2";
    assert_eq!(divergence.to_string(), text);
}

#[test]
fn a_longer_trace_differs_where_the_shorter_ends() {
    assert_eq!(Divergence::between("a\nb\n", "a\nb\n"), None);
    let divergence = Divergence::between("a\n", "a\nb\n").unwrap();
    assert_eq!(divergence.line(), 2);
    assert!(divergence.to_string().ends_with("- \n+ b"), "{divergence}");
    assert!(Divergence::between("a\n", "a").is_some());
}
