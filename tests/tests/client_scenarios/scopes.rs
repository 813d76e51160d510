//! Branches that share one fate.

use std::time::Duration;

use fulmar_sim::{BoxError, Client, Outcome, Retry, Scope, Sim};

use super::support::{assert_quiet, builder, client, echo, ms, secs, silent};

fn fetch(scope: &Scope, client: &Client, name: &'static str, url: &'static str) {
    let get = client.get(url);
    scope.branch(name, async move {
        get.send().await?.bytes().await?;
        Ok(())
    });
}

fn outcomes(branches: &[fulmar_sim::Branch]) -> Vec<(&str, Outcome)> {
    let outcome = |branch: &fulmar_sim::Branch| branch.outcome;
    branches
        .iter()
        .map(|branch| (&*branch.name, outcome(branch)))
        .collect()
}

#[test]
fn a_scope_waits_for_its_branches_and_lists_them() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    let (client, handle) = (client(&sim), sim.handle());
    let run = sim.run(async move {
        let api = client.clone();
        let scoped = client.scope(None, |scope| async move {
            fetch(&scope, &api, "a", "http://api.test/a");
            let inner = scope.clone();
            scope.branch("nested", async move {
                handle.sleep(ms(300)).await;
                fetch(&inner, &api, "later", "http://api.test/b");
                Ok(())
            });
            Ok(7)
        });
        let scoped = scoped.await.unwrap();
        assert_quiet(client.gauges());
        scoped
    });
    let scoped = run.expect();
    assert_eq!(scoped.value, 7);
    assert_eq!(
        outcomes(&scoped.branches),
        ["a", "nested", "later"].map(|name| (name, Outcome::Success))
    );
    assert_eq!(scoped.branches[1].elapsed, ms(300));
    assert!(run.elapsed() > ms(300));
}

#[test]
fn the_first_error_cancels_the_siblings_and_nothing_outlives_it() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "api.test:80");
    sim.host("down.test");
    let client = builder(&sim).retry(Retry::never()).build().unwrap();
    let run = sim.run(async move {
        let api = client.clone();
        let failed = client.scope(client.deadline(secs(30)), |scope| async move {
            fetch(&scope, &api, "slow", "http://api.test/a");
            fetch(&scope, &api, "down", "http://down.test/b");
            std::future::pending::<Result<(), BoxError>>().await
        });
        let failed = failed.await.unwrap_err();
        assert_quiet(client.gauges());
        failed
    });
    let failed = run.expect();
    assert_eq!(failed.branch(), Some("down"));
    assert!(!failed.is_deadline());
    assert_eq!(
        outcomes(failed.branches()),
        [("slow", Outcome::Cancelled), ("down", Outcome::Failed)]
    );
    let text = failed.to_string();
    assert!(
        text.starts_with("branch down failed: cannot connect"),
        "{text}"
    );
    assert!(std::error::Error::source(failed).is_some());
    assert!(run.elapsed() < secs(1));
    assert_eq!(run.leaks(), [""; 0]);
}

#[test]
fn an_error_of_the_body_cancels_the_branches() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "api.test:80");
    let (client, handle) = (client(&sim), sim.handle());
    let run = sim.run(async move {
        let api = client.clone();
        let failed = client.scope(None, |scope| async move {
            fetch(&scope, &api, "slow", "http://api.test/a");
            handle.sleep(ms(100)).await;
            Err::<(), BoxError>("changed my mind".into())
        });
        let failed = failed.await.unwrap_err();
        assert_quiet(client.gauges());
        failed
    });
    let failed = run.expect();
    assert_eq!(failed.branch(), None);
    assert_eq!(failed.to_string(), "the scope failed: changed my mind");
    assert_eq!(outcomes(failed.branches()), [("slow", Outcome::Cancelled)]);
    assert_eq!(failed.branches()[0].elapsed, ms(100));
}

#[test]
fn the_deadline_ends_a_scope_at_its_instant_and_is_told_apart_from_a_cancellation() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "api.test:80");
    echo(&sim, "quick.test:80");
    let client = client(&sim);
    let run = sim.run(async move {
        let api = client.clone();
        let failed = client.scope(client.deadline(secs(2)), |scope| async move {
            assert!(scope.deadline().is_some());
            fetch(&scope, &api, "quick", "http://quick.test/");
            fetch(&scope, &api, "slow", "http://api.test/");
            Ok(())
        });
        let failed = failed.await.unwrap_err();
        assert_quiet(client.gauges());
        failed
    });
    let failed = run.expect();
    assert!(failed.is_deadline());
    assert_eq!(
        outcomes(failed.branches()),
        [("quick", Outcome::Success), ("slow", Outcome::Deadline)]
    );
    assert_eq!(run.elapsed(), secs(2));
}

#[test]
fn a_branch_whose_own_deadline_passed_says_so() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "api.test:80");
    let client = client(&sim);
    let run = sim.run(async move {
        let get = client.get("http://api.test/").timeout(ms(300));
        let failed = client.scope(None, |scope| async move {
            scope.branch("slow", async move {
                get.send().await?;
                Ok(())
            });
            Ok(())
        });
        failed.await.unwrap_err()
    });
    let failed = run.expect();
    assert!(failed.is_deadline());
    assert_eq!(outcomes(failed.branches()), [("slow", Outcome::Deadline)]);
}

#[test]
fn cancelling_branches_is_a_normal_end() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "api.test:80");
    let (client, handle) = (client(&sim), sim.handle());
    let run = sim.run(async move {
        let api = client.clone();
        let scoped = client.scope(None, |scope| async move {
            fetch(&scope, &api, "feed", "http://api.test/");
            handle.sleep(ms(50)).await;
            scope.cancel();
            Ok("done")
        });
        let scoped = scoped.await.unwrap();
        assert_quiet(client.gauges());
        scoped
    });
    let scoped = run.expect();
    assert_eq!(outcomes(&scoped.branches), [("feed", Outcome::Cancelled)]);
    assert_eq!(run.elapsed(), ms(50));
}

#[test]
fn a_branch_that_is_added_after_a_cancellation_runs() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    let client = client(&sim);
    let run = sim.run(async move {
        let api = client.clone();
        let scoped = client.scope(None, |scope| async move {
            fetch(&scope, &api, "before", "http://api.test/a");
            scope.cancel();
            fetch(&scope, &api, "after", "http://api.test/b");
            Ok(())
        });
        scoped.await.unwrap()
    });
    assert_eq!(
        outcomes(&run.expect().branches),
        [("before", Outcome::Cancelled), ("after", Outcome::Success)]
    );
}

#[test]
fn dropping_a_scope_drops_its_branches() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "api.test:80");
    let (client, handle) = (client(&sim), sim.handle());
    let run = sim.run(async move {
        let api = client.clone();
        let mut kept = None;
        let scope = client.scope(None, |scope| {
            kept = Some(scope.clone());
            async move {
                fetch(&scope, &api, "slow", "http://api.test/");
                std::future::pending::<Result<(), BoxError>>().await
            }
        });
        let at = client.deadline(ms(100));
        assert!(super::support::until(&handle, at, scope).await.is_none());
        assert_quiet(client.gauges());
        // What is added to a scope that is over never runs.
        kept.unwrap().branch("late", async { panic!("it runs") });
        handle.sleep(secs(1)).await;
    });
    run.expect();
    assert_eq!(run.leaks(), [""; 0]);
}

#[test]
fn a_batch_and_a_branch_share_a_scope() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    let client = client(&sim);
    let run = sim.run(async move {
        let api = client.clone();
        let scoped = client.scope(client.deadline(secs(30)), |scope| async move {
            fetch(&scope, &api, "alone", "http://api.test/alone");
            let requests = (0..100).map(|n| api.get(format!("http://api.test/{n}")));
            let responses = api.batch(requests).max_in_flight(10).try_collect().await?;
            Ok(responses.len())
        });
        scoped.await.unwrap().value
    });
    assert_eq!(*run.expect(), 100);
    assert!(run.elapsed() < Duration::from_secs(1));
}

/// An error of the user's own, around one of ours.
#[derive(Debug)]
struct Wrapped(fulmar_sim::Error);

impl std::fmt::Display for Wrapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("wrapped")
    }
}

impl std::error::Error for Wrapped {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[test]
fn a_deadline_is_one_however_deep_in_a_branch_it_passed() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "api.test:80");
    let client = client(&sim);
    let run = sim.run(async move {
        let api = client.clone();
        let nested = client.scope(client.deadline(secs(30)), |scope| async move {
            let inner = api.clone();
            scope.branch("inner", async move {
                let deadline = inner.deadline(secs(1));
                let get = inner.get("http://api.test/");
                let scope = inner.scope(deadline, |scope| async move {
                    scope.branch("get", async move {
                        get.send().await?;
                        Ok(())
                    });
                    Ok(())
                });
                scope.await?;
                Ok(())
            });
            Ok(())
        });
        let nested = nested.await.unwrap_err();
        let get = client.get("http://api.test/").timeout(secs(1));
        let wrapped = client.scope(None, |scope| async move {
            scope.branch("wrapped", async move {
                get.send().await.map_err(Wrapped)?;
                Ok(())
            });
            Ok(())
        });
        let wrapped = wrapped.await.unwrap_err();
        [nested, wrapped].map(|error| (error.is_deadline(), error.branches()[0].outcome))
    });
    assert_eq!(*run.expect(), [(true, Outcome::Deadline); 2]);
}
