//! Branches that share one fate.

use std::future::pending;

use fulmar::{BoxError, Branch, Client, Outcome, Retry, Scope};

use crate::env::{Env, ms};

suite![
    a_scope_waits_for_its_branches_and_lists_them,
    the_first_error_cancels_the_siblings_and_nothing_outlives_it,
    the_deadline_ends_a_scope_and_is_told_apart_from_a_cancellation,
    cancelling_branches_is_a_normal_end,
];

fn never(env: &Env) -> Client {
    env.builder().retry(Retry::never()).build().unwrap()
}

fn fetch(scope: &Scope, client: &Client, name: &'static str, url: String) {
    let get = client.get(url);
    scope.branch(name, async move {
        get.send().await?.bytes().await?;
        Ok(())
    });
}

fn outcomes(branches: &[Branch]) -> Vec<(&str, Outcome)> {
    let outcome = |branch: &Branch| branch.outcome;
    branches
        .iter()
        .map(|branch| (&*branch.name, outcome(branch)))
        .collect()
}

pub(crate) async fn a_scope_waits_for_its_branches_and_lists_them(env: Env) {
    let (server, client) = (env.echo(), env.client());
    let api = client.clone();
    let (a, b) = (server.url("/a"), server.url("/b"));
    let scoped = client.scope(None, |scope| async move {
        fetch(&scope, &api, "a", a);
        fetch(&scope, &api, "b", b);
        Ok(7)
    });
    let scoped = scoped.await.unwrap();
    assert_eq!(scoped.value, 7);
    let expected = ["a", "b"].map(|name| (name, Outcome::Success));
    assert_eq!(outcomes(&scoped.branches), expected);
    assert_eq!(server.log().len(), 2);
    assert_eq!(client.gauges().busy, 0);
}

pub(crate) async fn the_first_error_cancels_the_siblings_and_nothing_outlives_it(env: Env) {
    let (silent, client) = (env.silent(), never(&env));
    let (slow, down, api) = (silent.url("/"), env.refused(), client.clone());
    let failed = client.scope(None, |scope| async move {
        fetch(&scope, &api, "slow", slow);
        fetch(&scope, &api, "down", down);
        pending::<Result<(), BoxError>>().await
    });
    let failed = failed.await.unwrap_err();
    assert_eq!(client.gauges().busy, 0);
    assert_eq!(
        (failed.branch(), failed.is_deadline()),
        (Some("down"), false)
    );
    let expected = [("slow", Outcome::Cancelled), ("down", Outcome::Failed)];
    assert_eq!(outcomes(failed.branches()), expected);
    env.quiet(&client).await;
}

pub(crate) async fn the_deadline_ends_a_scope_and_is_told_apart_from_a_cancellation(env: Env) {
    let (silent, client) = (env.silent(), env.client());
    let (slow, api) = (silent.url("/"), client.clone());
    let begun = env.now();
    let failed = client.scope(client.deadline(ms(60)), |scope| async move {
        assert!(scope.deadline().is_some());
        fetch(&scope, &api, "slow", slow);
        Ok(())
    });
    let failed = failed.await.unwrap_err();
    assert!(failed.is_deadline() && env.now() - begun >= ms(60));
    assert_eq!(outcomes(failed.branches()), [("slow", Outcome::Deadline)]);
    assert_eq!(client.gauges().busy, 0);
    env.quiet(&client).await;
}

pub(crate) async fn cancelling_branches_is_a_normal_end(env: Env) {
    let (silent, server, client) = (env.silent(), env.echo(), env.client());
    let (feed, quick, api) = (silent.url("/"), server.url("/"), client.clone());
    let scoped = client.scope(None, |scope| async move {
        fetch(&scope, &api, "feed", feed);
        api.get(quick).send().await?;
        scope.cancel();
        Ok("done")
    });
    let scoped = scoped.await.unwrap();
    assert_eq!(outcomes(&scoped.branches), [("feed", Outcome::Cancelled)]);
    env.quiet(&client).await;
}
