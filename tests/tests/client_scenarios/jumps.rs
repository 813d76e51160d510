//! The clock jumps forward by an hour: a machine that was suspended.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use fulmar_sim::net::{
    Answer, BoxFuture, Endpoint, Family, Fault, Net, Sleep, SocketOptions, Stream,
};
use fulmar_sim::{
    Backoff, Body, Client, Fate, Instant, Jitter, Limits, Phase, Resolve, Retry, Sim, SimNet,
};

use super::support::{assert_quiet, echo, join, ms, secs, silent, text};
use super::uploads::Poller;

const HOUR: u64 = 3_600_000_000_000;

/// A network whose clock may jump. Its timers do not: they fire when the time they were set for
/// has passed without the jump, as those of a suspended system may.
struct Jumping {
    inner: SimNet,
    ahead: Arc<AtomicU64>,
}

impl Net for Jumping {
    fn now(&self) -> Instant {
        let nanos = self.inner.now().as_nanos() + self.ahead.load(Ordering::Relaxed);
        Instant::from_nanos(nanos)
    }

    fn wall(&self) -> SystemTime {
        self.inner.wall()
    }

    fn entropy(&self, dst: &mut [u8]) {
        self.inner.entropy(dst);
    }

    fn resolve(&self, name: &str, family: Family) -> BoxFuture<Result<Answer, Fault>> {
        self.inner.resolve(name, family)
    }

    fn connect(
        &self,
        to: &Endpoint,
        options: &SocketOptions,
    ) -> BoxFuture<io::Result<Box<dyn Stream>>> {
        self.inner.connect(to, options)
    }

    fn sleep(&self, until: Instant) -> Box<dyn Sleep> {
        let nanos = until
            .as_nanos()
            .saturating_sub(self.ahead.load(Ordering::Relaxed));
        let inner = self.inner.sleep(Instant::from_nanos(nanos));
        Box::new(JumpingSleep {
            inner,
            ahead: self.ahead.clone(),
        })
    }

    fn spawn(&self, task: BoxFuture<()>) {
        self.inner.spawn(task);
    }

    fn block(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<()> {
        self.inner.block(work)
    }
}

struct JumpingSleep {
    inner: Box<dyn Sleep>,
    ahead: Arc<AtomicU64>,
}

impl Future for JumpingSleep {
    type Output = ();

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<()> {
        std::pin::Pin::new(&mut *self.inner).poll(cx)
    }
}

impl Sleep for JumpingSleep {
    fn reset(&mut self, until: Instant) {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let nanos = until.as_nanos().saturating_sub(ahead);
        self.inner.reset(Instant::from_nanos(nanos));
    }
}

fn jumping(sim: &Sim) -> (Client, Arc<AtomicU64>) {
    let ahead = Arc::new(AtomicU64::new(0));
    let net = Jumping {
        inner: sim.net("laptop"),
        ahead: ahead.clone(),
    };
    let client = Client::builder(net).retry(Retry::never()).build().unwrap();
    (client, ahead)
}

#[test]
fn a_call_that_waits_ends_as_its_phase_says_when_it_is_looked_at() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "api.test:80");
    let (client, ahead) = jumping(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        handle.clone().spawn(async move {
            handle.sleep(secs(1)).await;
            ahead.store(HOUR, Ordering::Relaxed);
        });
        let error = text(&client, "http://api.test/").await.unwrap_err();
        assert_quiet(client.gauges());
        error
    });
    let error = run.expect();
    assert_eq!(error.phase(), Some(Phase::FirstByte));
    assert_eq!(error.fate(), Fate::MaybeProcessed);
    // No later than the timer would have been without the jump.
    assert!(run.elapsed() <= secs(16), "{:?}", run.elapsed());
}

#[test]
fn connections_that_idled_through_an_hour_are_not_used_again() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    let (client, ahead) = jumping(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        text(&client, "http://api.test/a").await.unwrap();
        assert_eq!(client.gauges().idle, 1);
        ahead.store(HOUR, Ordering::Relaxed);
        text(&client, "http://api.test/b").await.unwrap();
        handle.sleep(ms(10)).await;
    });
    run.expect();
    assert_eq!(run.stats().connections, 2);
}

/// IPv4 is answered while the clock jumps beyond what the dial waits for IPv6; that never is.
struct Jerky(Arc<AtomicU64>);

impl Resolve for Jerky {
    fn resolve(&self, _: &str, family: Family) -> BoxFuture<Result<Answer, Fault>> {
        let ahead = self.0.clone();
        Box::pin(async move {
            if family == Family::V6 {
                return pending().await;
            }
            ahead.fetch_add(60_000_000, Ordering::Relaxed);
            let (addrs, ttl) = (vec![[10, 9, 0, 1].into()], None);
            Ok(Answer { addrs, ttl })
        })
    }

    fn is_split(&self) -> bool {
        true
    }
}

#[test]
fn a_wait_for_ipv6_that_the_clock_jumps_over_is_no_dns_timeout() {
    let mut sim = Sim::seeded(1);
    sim.host("api.test").addrs([[10, 9, 0, 1]]);
    echo(&sim, "api.test:80");
    let ahead = Arc::new(AtomicU64::new(0));
    let net = Jumping {
        inner: sim.net("laptop"),
        ahead: ahead.clone(),
    };
    let client = Client::builder(net).retry(Retry::never());
    let client = client.resolver(Jerky(ahead)).no_dns_cache();
    let client = client.build().unwrap();
    sim.run(async move { text(&client, "http://api.test/").await.unwrap() })
        .expect();
}

#[test]
fn a_deadline_that_the_jump_passed_sends_nothing() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    let (client, ahead) = jumping(&sim);
    let run = sim.run(async move {
        let deadline = client.deadline(secs(60));
        ahead.store(HOUR, Ordering::Relaxed);
        let get = client.get("http://api.test/").deadline(deadline);
        get.send().await.unwrap_err()
    });
    assert!(run.expect().is_deadline());
    assert_eq!(run.stats().connections, 0);
}

/// The answer comes in the wake in which the clock is seen to have passed the deadline.
fn late_answer(code: u16) -> fulmar_sim::Error {
    let mut sim = Sim::seeded(1);
    let (client, ahead) = jumping(&sim);
    sim.serve("api.test:80", move |mut conn| {
        let ahead = ahead.clone();
        async move {
            while conn.request().await?.is_some() {
                conn.sleep(secs(2)).await;
                ahead.store(HOUR, Ordering::Relaxed);
                conn.respond(code, "x").await?;
            }
            Ok(())
        }
    });
    let run = sim.run(async move {
        let deadline = client.deadline(secs(60));
        let get = client.get("http://api.test/").retry(Retry::new(3));
        let error = get.deadline(deadline).send().await.unwrap_err();
        assert_quiet(client.gauges());
        error
    });
    assert_eq!(run.leaks(), [""; 0]);
    run.into_output()
}

#[test]
fn a_deadline_that_has_passed_wins_over_a_head_that_comes_with_it() {
    for code in [200, 503] {
        let error = late_answer(code);
        assert!(error.is_deadline(), "{code}: {error}");
        assert_ne!(error.fate(), Fate::NotProcessed, "{code}");
        let stop = error.retry_stop_reason();
        assert_eq!(
            stop,
            Some(fulmar_sim::StopReason::DeadlineExpired),
            "{code}"
        );
    }
}

#[test]
fn a_deadline_that_has_passed_wins_over_a_connection_that_comes_with_it() {
    let mut sim = Sim::seeded(1);
    let ahead = Arc::new(AtomicU64::new(0));
    let net = Jumping {
        inner: sim.net("laptop"),
        ahead: ahead.clone(),
    };
    let one = Limits::new().per_origin(1);
    let client = Client::builder(net).limits(one).build().unwrap();
    let orders = Arc::new(AtomicU64::new(0));
    let seen = orders.clone();
    sim.serve("api.test:80", move |mut conn| {
        let (ahead, seen) = (ahead.clone(), seen.clone());
        async move {
            while let Some(request) = conn.request().await? {
                seen.fetch_add(u64::from(request.path() == "/order"), Ordering::Relaxed);
                conn.sleep(secs(1)).await;
                ahead.store(10_000_000_000, Ordering::Relaxed);
                conn.respond(200, "x").await?;
            }
            Ok(())
        }
    });
    let run = sim.run(async move {
        let deadline = client.deadline(secs(5));
        let order = client.post("http://api.test/order").deadline(deadline);
        let both = join(text(&client, "http://api.test/"), order.send());
        let (first, order) = both.await;
        first.unwrap();
        assert_quiet(client.gauges());
        // It went to nobody, and is there for the next.
        assert_eq!(text(&client, "http://api.test/").await.unwrap(), "x");
        order.unwrap_err()
    });
    let error = run.expect();
    assert!(error.is_deadline(), "{error}");
    assert_eq!(error.fate(), Fate::NotProcessed, "{error}");
    assert_eq!(orders.load(Ordering::Relaxed), 0);
    assert_eq!(run.stats().connections, 1);
}

#[test]
fn a_retry_that_the_jump_let_no_time_for_costs_nothing() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while conn.request().await?.is_some() {
            conn.respond(503, "later").await?;
        }
        Ok(())
    });
    let (client, ahead) = jumping(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        let tokens = || {
            let get = client.get("http://api.test/");
            client.explain(&get).unwrap().retry.tokens
        };
        let before = tokens();
        let backoff = Backoff::constant(secs(1)).jitter(Jitter::None);
        let retry = Retry::new(3).throttle(backoff);
        let get = client.get("http://api.test/").retry(retry);
        let get = get.deadline(client.deadline(secs(3)));
        handle.clone().spawn(async move {
            handle.sleep(ms(500)).await;
            ahead.store(5_000_000_000, Ordering::Relaxed);
        });
        let error = get.send().await.unwrap_err();
        assert!(error.is_deadline(), "{error}");
        assert_eq!(tokens(), before);
    });
    run.expect();
}

#[test]
fn no_more_of_a_body_is_sent_once_the_deadline_has_passed() {
    let mut sim = Sim::seeded(1);
    let got = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = got.clone();
    sim.serve("api.test:80", move |mut conn| {
        let got = kept.clone();
        async move {
            conn.request_head().await?;
            loop {
                let part = conn.read(1_000).await?;
                if part.is_empty() {
                    return Ok(());
                }
                got.lock().unwrap().extend_from_slice(&part);
            }
        }
    });
    let (client, ahead) = jumping(&sim);
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut sleep = Box::pin(handle.sleep(secs(1)));
        handle.clone().spawn({
            let handle = handle.clone();
            async move {
                handle.sleep(ms(900)).await;
                ahead.store(HOUR, Ordering::Relaxed);
            }
        });
        let mut parts = vec!["late!", "first"];
        let body = Poller(move |cx: &mut std::task::Context<'_>| {
            if parts.len() == 1 {
                std::task::ready!(sleep.as_mut().poll(cx));
            }
            let next = parts.pop();
            std::task::Poll::Ready(next.map(|part| io::Result::Ok(bytes::Bytes::from(part))))
        });
        let order = client
            .post("http://api.test/")
            .deadline(client.deadline(secs(60)));
        let error = order
            .body(Body::sized_stream(body, 10))
            .send()
            .await
            .unwrap_err();
        handle.sleep(ms(10)).await;
        error
    });
    assert!(run.expect().is_deadline(), "{}", run.expect());
    assert_eq!(run.expect().fate(), Fate::MaybeProcessed);
    assert_eq!(got.lock().unwrap().as_slice(), b"first");
}
