//! `Limiter` against a queue, and its adaptive limit against latencies that are sorted.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use fulmar_core::adaptive::Aimd;
use fulmar_sim::{Acquire, Adaptive, Instant, Limiter, Permit, Sample};

use super::script::Script;

/// Whether somebody was woken.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One who waits, or was let in and has not looked yet.
struct Waiter {
    future: Pin<Box<Acquire>>,
    /// Behind the waker of the last poll.
    flag: Arc<Flag>,
    is_let_in: bool,
}

impl Waiter {
    fn poll(&mut self) -> Poll<Permit> {
        // Another one each time: only the last is to be woken.
        self.flag = Arc::default();
        let waker = Waker::from(self.flag.clone());
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

struct World {
    limiter: Limiter,
    limit: usize,
    permits: Vec<Permit>,
    /// In the order of coming.
    waiters: VecDeque<Waiter>,
    now: Instant,
}

impl World {
    fn inside(&self) -> usize {
        let unseen = self.waiters.iter().filter(|waiter| waiter.is_let_in);
        self.permits.len() + unseen.count()
    }

    fn waiting(&self) -> usize {
        self.waiters.len() + self.permits.len() - self.inside()
    }

    fn is_free(&self) -> bool {
        self.inside() < self.limit && self.waiting() == 0
    }

    /// While there is room the one who came first is let in, and nobody else.
    fn admit(&mut self) {
        while self.inside() < self.limit
            && let Some(first) = self.waiters.iter_mut().find(|waiter| !waiter.is_let_in)
        {
            first.is_let_in = true;
        }
    }

    fn come(&mut self) {
        let mut waiter = Waiter {
            future: Box::pin(self.limiter.acquire()),
            flag: Arc::default(),
            is_let_in: false,
        };
        let is_free = self.is_free();
        match waiter.poll() {
            Poll::Ready(permit) => {
                assert!(is_free, "somebody was overtaken, or there is no room");
                self.permits.push(permit);
            }
            Poll::Pending => {
                assert!(!is_free, "there is room, and nobody waits");
                self.waiters.push_back(waiter);
            }
        }
    }

    fn look(&mut self, place: usize) {
        let waiter = &mut self.waiters[place];
        match waiter.poll() {
            Poll::Ready(permit) => {
                assert!(waiter.is_let_in, "out of its turn");
                self.waiters.remove(place);
                self.permits.push(permit);
            }
            Poll::Pending => assert!(!waiter.is_let_in, "it was its turn"),
        }
    }

    fn act(&mut self, script: &mut Script<'_>) {
        match script.below(10) {
            0..=2 => self.come(),
            3 | 4 if !self.waiters.is_empty() => self.look(script.below(self.waiters.len())),
            5 if !self.waiters.is_empty() => {
                let place = script.below(self.waiters.len());
                self.waiters.remove(place);
            }
            6 if !self.permits.is_empty() => {
                let place = script.below(self.permits.len());
                drop(self.permits.swap_remove(place));
            }
            7 => {
                let is_free = self.is_free();
                let permit = self.limiter.try_acquire();
                assert_eq!(permit.is_some(), is_free);
                self.permits.extend(permit);
            }
            8 => {
                self.limit = script.below(6);
                self.limiter.set_limit(self.limit);
            }
            _ => {
                self.now = self.now + Duration::from_millis(script.below(1_200) as u64);
                self.limiter.observe(self.now, sample(script));
                // What it comes to is the other property's.
                self.limit = self.limiter.limit();
            }
        }
    }
}

fn sample(script: &mut Script<'_>) -> Sample {
    match script.below(8) {
        0 => Sample::Overload,
        latency => Sample::Latency(Duration::from_millis(latency as u64)),
    }
}

/// Runs the script on a limiter and on a queue, and compares all that can be seen after each step:
/// who is let in, that everybody who is was woken, and that all is as if nobody had been there once
/// all are gone.
///
/// # Panics
///
/// Where they differ.
pub fn limiter_ops(data: &[u8]) {
    let mut script = Script::new(data);
    let limit = script.below(4);
    let limiter = if script.below(2) == 0 {
        Limiter::new(limit)
    } else {
        let settings = Adaptive::new(Duration::from_millis(4))
            .start(limit + 1)
            .most(8);
        Limiter::adaptive(settings).expect("valid settings")
    };
    let mut world = World {
        limit: limiter.limit(),
        limiter,
        permits: Vec::new(),
        waiters: VecDeque::new(),
        now: Instant::ORIGIN,
    };
    while !script.is_over() {
        let before = world.inside();
        world.act(&mut script);
        world.admit();
        assert!(world.inside() <= world.limit.max(before));
        let limiter = &world.limiter;
        assert_eq!(
            (limiter.in_use(), limiter.waiting(), limiter.limit()),
            (world.inside(), world.waiting(), world.limit)
        );
        for waiter in &world.waiters {
            let is_woken = waiter.flag.0.load(Ordering::Relaxed);
            assert_eq!(is_woken, waiter.is_let_in, "a wake was lost, or too many");
        }
    }
    world.permits.clear();
    world.waiters.clear();
    assert_eq!((world.limiter.in_use(), world.limiter.waiting()), (0, 0));
}

/// Feeds samples to the machine, and to an oracle that keeps and sorts those of a window.
///
/// # Panics
///
/// Where the limits differ, leave their bounds, or move by more than they may.
pub fn aimd_samples(data: &[u8]) {
    const TARGET: Duration = Duration::from_millis(4);
    const WINDOW: Duration = Duration::from_millis(500);
    let mut script = Script::new(data);
    let least = 1 + script.below(5);
    let most = least + script.below(40);
    let settings = Adaptive::new(TARGET).window(WINDOW);
    let settings = settings.least(least).most(most).start(most);
    let mut aimd = Aimd::new(settings);
    let (mut limit, mut now) = (settings.initial(), Instant::ORIGIN);
    let (mut opened, mut decreased) = (None, None);
    let (mut latencies, mut was_full) = (Vec::new(), false);
    while !script.is_over() {
        now = now + Duration::from_millis(script.below(40) as u64);
        let (sample, is_full) = (sample(&mut script), script.below(2) == 0);
        let decrease = |limit: usize| (limit - limit.div_ceil(10)).max(least);
        let mut expected = limit;
        if now - *opened.get_or_insert(now) >= WINDOW {
            latencies.sort();
            // The nearest rank.
            let rank = (latencies.len() * 99).div_ceil(100).saturating_sub(1);
            if latencies.get(rank).is_some_and(|p99| *p99 > TARGET) {
                expected = decrease(expected);
                decreased = Some(now);
            } else if was_full {
                expected = (expected + 1).min(most);
            }
            (opened, was_full) = (Some(now), false);
            latencies.clear();
        }
        latencies.push(match sample {
            Sample::Latency(latency) => latency,
            Sample::Overload => Duration::MAX,
        });
        was_full |= is_full;
        let is_recent = decreased.is_some_and(|at| now - at < WINDOW);
        if sample == Sample::Overload && !is_recent {
            expected = decrease(expected);
            (opened, decreased, was_full) = (Some(now), Some(now), false);
            latencies.clear();
        }
        let next = aimd.handle_sample(now, sample, limit, is_full);
        assert_eq!(next, expected);
        assert!((least..=most).contains(&next), "{next}");
        limit = next;
    }
}
