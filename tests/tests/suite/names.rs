//! A resolver of the user's own, and addresses that need none.

use std::future::Future;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use fulmar::net::{Answer, BoxFuture, Family, Fault, FaultKind};
use fulmar::trace::{Event, Record};
use fulmar::{Fate, Kind, Limits, Phase, Resolve, Retry};

use crate::env::{Env, Gate};
use crate::responses::text;

suite![
    addresses_are_tried_in_the_order_of_a_resolver_of_ones_own,
    what_a_resolver_of_ones_own_says_is_what_the_error_says,
    a_name_without_addresses_is_told_from_a_resolver_that_fails,
    a_lookup_is_dropped_where_its_call_is_and_nothing_keeps_the_answer,
    a_lookup_goes_on_for_the_cache_where_its_call_is_dropped,
    addresses_that_are_named_need_no_resolver,
];

const NAME: &str = "api.test";
/// Of the family that is preferred; no server listens there.
const NOBODY: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

type Answered = Result<Answer, Fault>;

/// Answers once its gate is open.
#[derive(Clone)]
struct Scripted {
    answer: Arc<dyn Fn() -> Answered + Send + Sync>,
    gate: Gate,
    asked: Arc<Mutex<Vec<String>>>,
    dropped: Gate,
}

impl Scripted {
    fn new(answer: impl Fn() -> Answered + Send + Sync + 'static) -> Self {
        Self {
            answer: Arc::new(answer),
            gate: Gate::default(),
            asked: Arc::default(),
            dropped: Gate::default(),
        }
    }

    fn at_once(answer: impl Fn() -> Answered + Send + Sync + 'static) -> Self {
        let scripted = Self::new(answer);
        scripted.gate.open();
        scripted
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Resolve for Scripted {
    fn resolve(&self, name: &str, family: Family) -> BoxFuture<Answered> {
        assert_eq!(family, Family::Any);
        self.asked.lock().unwrap().push(name.to_owned());
        let (scripted, unfinished) = (self.clone(), Unfinished(Some(self.dropped.clone())));
        Box::pin(async move {
            scripted.gate.opened().await;
            unfinished.finish();
            (scripted.answer)()
        })
    }
}

/// Opens its gate where it is dropped before it was done.
struct Unfinished(Option<Gate>);

impl Unfinished {
    fn finish(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.0.iter().for_each(Gate::open);
    }
}

#[expect(clippy::unnecessary_wraps, reason = "what a resolver returns")]
fn found(addrs: &[IpAddr]) -> Answered {
    let addrs = addrs.to_vec();
    Ok(Answer { addrs, ttl: None })
}

/// A server's address, and its URL under another name.
async fn renamed(env: &Env, url: &str) -> (IpAddr, String) {
    let authority = url.strip_prefix("http://").unwrap();
    let host = authority.split(':').next().unwrap();
    let addr = env.addresses(host).await[0];
    (
        addr,
        format!("http://{}/", authority.replacen(host, NAME, 1)),
    )
}

/// Polls a call until its name is looked up.
async fn until_asked(env: &Env, mut call: Pin<&mut impl Future>, resolver: &Scripted) {
    env.until("a lookup", || {
        let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        resolver.asked() == 1
    })
    .await;
}

pub(crate) async fn addresses_are_tried_in_the_order_of_a_resolver_of_ones_own(env: Env) {
    let server = env.echo();
    let (addr, url) = renamed(&env, &server.url("")).await;
    for (answer, expected) in [
        // IPv6 would go first, were it not for that order.
        (vec![addr, NOBODY], vec![addr]),
        (vec![NOBODY, addr], vec![NOBODY, addr]),
    ] {
        let tried = Arc::new(Mutex::new(Vec::new()));
        let kept = tried.clone();
        let observer = move |record: &Record| {
            if let Event::Connecting { addr } = record.event {
                kept.lock().unwrap().push(addr.ip());
            }
        };
        let client = env.builder().observer(observer);
        let client = client.resolver(Scripted::at_once(move || found(&answer)));
        let client = client.build().unwrap();
        assert_eq!(text(&client, url.clone()).await.unwrap(), "/");
        assert_eq!(*tried.lock().unwrap(), expected);
    }
}

pub(crate) async fn what_a_resolver_of_ones_own_says_is_what_the_error_says(env: Env) {
    let resolver = Scripted::at_once(|| {
        let fault = Fault::new(FaultKind::NameFailed, Phase::Dns);
        Err(fault.with_detail("the registry restarts"))
    });
    let client = env.builder().retry(Retry::never()).resolver(resolver);
    let client = client.build().unwrap();
    let error = text(&client, format!("http://{NAME}/")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Connect);
    assert_eq!(error.phase(), Some(Phase::Dns));
    assert_eq!(error.fate(), Fate::NotProcessed);
    assert_eq!(error.fault().unwrap().kind, FaultKind::NameFailed);
    let line = error.to_string();
    assert!(line.contains("the registry restarts"), "{line}");
    env.quiet(&client).await;
}

pub(crate) async fn a_name_without_addresses_is_told_from_a_resolver_that_fails(env: Env) {
    let missing = || Err(Fault::new(FaultKind::NameNotFound, Phase::Dns));
    let empty = || found(&[]);
    for resolver in [Scripted::at_once(missing), Scripted::at_once(empty)] {
        let asked = resolver.clone();
        // Repeated, were it not for what is known of the name.
        let client = env.builder().resolver(resolver).build().unwrap();
        for _ in 0..2 {
            let error = text(&client, format!("http://{NAME}/")).await.unwrap_err();
            assert_eq!(error.fault().unwrap().kind, FaultKind::NameNotFound);
            assert_eq!((error.phase(), error.tries()), (Some(Phase::Dns), 1));
        }
        assert_eq!(asked.asked(), 1);
    }
}

pub(crate) async fn a_lookup_is_dropped_where_its_call_is_and_nothing_keeps_the_answer(env: Env) {
    let resolver = Scripted::new(|| found(&[NOBODY]));
    let (asked, dropped) = (resolver.clone(), resolver.dropped.clone());
    // Neither a name nor a connection is kept for the next call.
    let limits = Limits::new().idle_per_origin(0);
    let client = env.builder().limits(limits).no_dns_cache();
    let client = client.resolver(resolver).build().unwrap();
    let mut call = Box::pin(client.get(format!("http://{NAME}/")).send());
    until_asked(&env, call.as_mut(), &asked).await;
    assert!(!dropped.is_open());
    drop(call);
    env.until("a dropped lookup", || dropped.is_open()).await;
    env.quiet(&client).await;
    assert_eq!(asked.asked(), 1);
}

pub(crate) async fn a_lookup_goes_on_for_the_cache_where_its_call_is_dropped(env: Env) {
    let server = env.echo();
    let (addr, url) = renamed(&env, &server.url("")).await;
    let resolver = Scripted::new(move || found(&[addr]));
    let asked = resolver.clone();
    let client = env.builder().resolver(resolver).build().unwrap();
    let mut call = Box::pin(client.get(&url).send());
    until_asked(&env, call.as_mut(), &asked).await;
    drop(call);
    asked.gate.open();
    assert_eq!(text(&client, url).await.unwrap(), "/");
    assert_eq!(asked.asked(), 1);
    assert!(!asked.dropped.is_open());
}

pub(crate) async fn addresses_that_are_named_need_no_resolver(env: Env) {
    let server = env.echo();
    let (addr, url) = renamed(&env, &server.url("")).await;
    let resolver = Scripted::at_once(|| found(&[NOBODY]));
    let asked = resolver.clone();
    let client = env.builder().resolver(resolver).resolve(NAME, [addr]);
    let client = client.build().unwrap();
    assert_eq!(text(&client, url.clone()).await.unwrap(), "/");
    assert_eq!(asked.asked(), 0);
    let seen = server.requests().pop().unwrap();
    let host = url.trim_start_matches("http://").trim_end_matches('/');
    assert_eq!(seen.header("host"), Some(host));
}
