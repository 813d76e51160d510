//! The retry budget of one route: what keeps retries from holding down an origin that is down.
//!
//! ```text
//!  first attempt --> counters: 12 x 5 s --> cap = clamp(ratio * firsts of 60 s, min, max)
//!        |                                   v
//!        |           success --> [ bucket: +ratio a success, +refill a second, up to cap ]
//!        v                                   |
//!  counters: 10 x 1 s --> window: retries + 1 <= max(2, window * firsts)
//!                                            |
//!                    withdraw: both must agree, and then both are charged;
//!                    refund: the retry was not made
//! ```
//!
//! Deposits come from successes, not from requests, so that the rate of retries falls towards
//! nothing in a total outage; the cap follows the client's own traffic, because a fixed one is
//! minutes of traffic for a slow client; the window stops the first burst that a full bucket would
//! allow. Invariants: tokens never exceed the largest cap, and no balance is negative; retries in
//! the ten slots never exceed what the firsts in them allow. Tokens are whole thousandths.

use std::fmt;
use std::time::Duration;

use crate::time::Instant;

const SECOND: u64 = 1_000_000_000;
/// Slots of a second each, which limit the rate.
const WINDOW: usize = 10;
/// Slots of [`STRIDE`] seconds each, which make the cap.
const MINUTE: usize = 12;
const STRIDE: u32 = 5;
/// So many retries the window always allows.
const WINDOW_FLOOR: u32 = 2;

/// What a retry costs, by how the attempt before it died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cost {
    /// It failed at once: one token.
    Fast,
    /// It timed out, hence the origin probably still works on it: two tokens.
    Timeout,
}

impl Cost {
    const fn milli(self) -> u32 {
        match self {
            Self::Fast => 1_000,
            Self::Timeout => 2_000,
        }
    }
}

/// The numbers of a [`Budget`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetConfig {
    /// Tokens per success, and the share of a minute's first attempts that caps them, from 0 to 1.
    /// Default 0.1. To raise it buys success under scattered failures with load under total ones.
    pub ratio: f64,
    /// The share of ten seconds' first attempts that may be retries, from 0 to 1; unset, twice
    /// the ratio and at most 1.
    pub window_ratio: Option<f64>,
    /// The least cap in tokens, with which a budget starts. Default 3.
    pub min: f64,
    /// The largest cap in tokens, at most 4,000,000. Default 10.
    pub max: f64,
    /// Tokens per second, from 0 to 60. Default 0.01.
    pub refill: f64,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self {
            ratio: 0.1,
            window_ratio: None,
            min: 3.0,
            max: 10.0,
            refill: 0.01,
        }
    }
}

impl BudgetConfig {
    /// Checks that the numbers make sense, each and together.
    ///
    /// # Errors
    ///
    /// Names the first that does not.
    pub fn validate(&self) -> Result<(), InvalidBudget> {
        let share = 0.0..=1.0;
        if !share.contains(&self.ratio) {
            return Err(InvalidBudget::Ratio);
        }
        if self
            .window_ratio
            .is_some_and(|ratio| !share.contains(&ratio))
        {
            return Err(InvalidBudget::WindowRatio);
        }
        if !(0.0..=4_000_000.0).contains(&self.max) || !(0.0..=self.max).contains(&self.min) {
            return Err(InvalidBudget::Caps);
        }
        if !(0.0..=60.0).contains(&self.refill) {
            return Err(InvalidBudget::Refill);
        }
        Ok(())
    }
}

/// What is wrong with a [`BudgetConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InvalidBudget {
    /// The ratio is no share.
    Ratio,
    /// The window's ratio is no share.
    WindowRatio,
    /// The caps are out of range or order.
    Caps,
    /// The refill is out of range.
    Refill,
}

impl fmt::Display for InvalidBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ratio => "the retry budget's ratio is not between 0 and 1",
            Self::WindowRatio => "the retry budget's window ratio is not between 0 and 1",
            Self::Caps => "the retry budget's caps are not 0 <= min <= max <= 4000000",
            Self::Refill => "the retry budget's refill is not between 0 and 60 tokens per second",
        })
    }
}

impl std::error::Error for InvalidBudget {}

/// The configuration in thousandths.
#[derive(Clone, Copy, Debug)]
struct Rules {
    min: u32,
    max: u32,
    ratio: u16,
    window: u16,
    refill: u16,
}

impl Rules {
    fn new(config: &BudgetConfig) -> Self {
        let min = thousandths(config.min);
        let window = config.window_ratio.unwrap_or((config.ratio * 2.0).min(1.0));
        Self {
            min,
            max: thousandths(config.max).max(min),
            ratio: thousandths(config.ratio).min(1_000) as u16,
            window: thousandths(window).min(1_000) as u16,
            refill: thousandths(config.refill).min(60_000) as u16,
        }
    }
}

#[allow(
    clippy::cast_sign_loss,
    reason = "casts from floats saturate, and turn NaN into 0"
)]
fn thousandths(value: f64) -> u32 {
    (value * 1_000.0).round() as u32
}

/// Decides whether one more retry is good for the origin. Transparent retries do not ask it.
#[derive(Clone, Debug)]
pub struct Budget {
    tokens: u32,
    /// The latest second that was seen, since the origin of time.
    second: u32,
    /// Up to when the refill has been credited.
    refilled: Instant,
    /// Before it the origin wants no retries.
    gate: Instant,
    rules: Rules,
    window_firsts: u32,
    window_retries: u32,
    minute_firsts: u32,
    firsts: [u16; WINDOW],
    retries: [u16; WINDOW],
    minute: [u16; MINUTE],
}

impl Budget {
    /// A budget with the default numbers, holding the least cap.
    pub fn new(now: Instant) -> Self {
        Self::with_config(&BudgetConfig::default(), now)
    }

    /// A budget with these numbers, which should be [valid](BudgetConfig::validate).
    pub fn with_config(config: &BudgetConfig, now: Instant) -> Self {
        let rules = Rules::new(config);
        Self {
            tokens: rules.min,
            second: second(now),
            refilled: now,
            gate: Instant::ORIGIN,
            rules,
            window_firsts: 0,
            window_retries: 0,
            minute_firsts: 0,
            firsts: [0; WINDOW],
            retries: [0; WINDOW],
            minute: [0; MINUTE],
        }
    }

    /// A call sends its first attempt.
    pub fn handle_first_attempt(&mut self, now: Instant) {
        self.roll(now);
        let (slot, stride) = self.slots();
        // Counters saturate, beyond 65,535 a second; their sums stay what they add up to.
        if self.firsts[slot] < u16::MAX {
            self.firsts[slot] += 1;
            self.window_firsts += 1;
        }
        if self.minute[stride] < u16::MAX {
            self.minute[stride] += 1;
            self.minute_firsts += 1;
        }
    }

    /// An attempt brought a complete head that calls for no retry.
    pub fn handle_success(&mut self, now: Instant) {
        self.roll(now);
        self.refill(now);
        self.tokens = (self.tokens + u32::from(self.rules.ratio)).min(self.cap());
    }

    /// Pays for a retry. `false`: nothing was charged, and the retry must not be made.
    pub fn withdraw(&mut self, now: Instant, cost: Cost) -> bool {
        self.roll(now);
        self.refill(now);
        let share = u64::from(self.window_firsts) * u64::from(self.rules.window) / 1_000;
        let allowed = u64::from(WINDOW_FLOOR).max(share);
        let (slot, _) = self.slots();
        if self.tokens < cost.milli()
            || u64::from(self.window_retries) >= allowed
            || self.retries[slot] == u16::MAX
        {
            return false;
        }
        self.tokens -= cost.milli();
        self.retries[slot] += 1;
        self.window_retries += 1;
        true
    }

    /// A retry that was paid for at `paid` is not made after all: gives back what it cost.
    pub fn refund(&mut self, now: Instant, paid: Instant, cost: Cost) {
        self.roll(now);
        self.refill(now);
        self.tokens = (self.tokens + cost.milli()).min(self.cap());
        let (paid, slot) = (second(paid), second(paid) as usize % WINDOW);
        // Beyond the window time has given it back.
        let is_counted = self.second - paid.min(self.second) < WINDOW as u32;
        if is_counted && self.retries[slot] > 0 {
            self.retries[slot] -= 1;
            self.window_retries -= 1;
        }
    }

    /// The origin asked for a wait (`Retry-After`): no retry is to start before it has passed,
    /// whichever call was told.
    pub fn shut(&mut self, now: Instant, wait: Duration) {
        self.gate = self.gate.max(now + wait);
    }

    /// How long the origin still wants no retries.
    pub fn shut_for(&self, now: Instant) -> Option<Duration> {
        (self.gate > now).then(|| self.gate - now)
    }

    /// What the bucket holds, in thousandths of a token, as of the last deposit or withdrawal.
    pub fn tokens(&self) -> u32 {
        self.tokens
    }

    /// Whether a new budget would decide the same from now on: this one may be dropped.
    pub fn is_initial(&self, now: Instant) -> bool {
        let mut copy = self.clone();
        copy.roll(now);
        copy.refill(now);
        copy.minute_firsts == 0
            && copy.window_retries == 0
            && copy.tokens == copy.rules.min
            && copy.gate <= now
    }

    fn cap(&self) -> u32 {
        let share = self
            .minute_firsts
            .saturating_mul(u32::from(self.rules.ratio));
        share.clamp(self.rules.min, self.rules.max)
    }

    /// Places of the latest second in the two rings.
    fn slots(&self) -> (usize, usize) {
        let second = self.second as usize;
        (second % WINDOW, second / STRIDE as usize % MINUTE)
    }

    /// Empties the slots that time has passed into. Time that stands or runs back changes nothing.
    fn roll(&mut self, now: Instant) {
        let now = second(now);
        if now <= self.second {
            return;
        }
        for passed in (self.second + 1..=now).take(WINDOW) {
            let slot = passed as usize % WINDOW;
            self.window_firsts -= u32::from(std::mem::take(&mut self.firsts[slot]));
            self.window_retries -= u32::from(std::mem::take(&mut self.retries[slot]));
        }
        for passed in (self.second / STRIDE + 1..=now / STRIDE).take(MINUTE) {
            let slot = passed as usize % MINUTE;
            self.minute_firsts -= u32::from(std::mem::take(&mut self.minute[slot]));
        }
        self.second = now;
    }

    /// Credits the time since the last credit, in whole thousandths, and applies the cap.
    fn refill(&mut self, now: Instant) {
        let cap = self.cap();
        if self.tokens >= cap || self.rules.refill == 0 {
            self.tokens = self.tokens.min(cap);
            self.refilled = self.refilled.max(now);
            return;
        }
        let rate = u64::from(self.rules.refill);
        let elapsed = (now - self.refilled).as_nanos() as u64;
        // More than a day fills any bucket that fills at all within one, and cannot overflow.
        let gained = elapsed.min(86_400 * SECOND).saturating_mul(rate) / SECOND;
        let tokens = u64::from(self.tokens) + gained;
        if tokens >= u64::from(cap) {
            self.tokens = cap;
            self.refilled = now;
        } else {
            self.tokens = tokens as u32;
            self.refilled = self.refilled + Duration::from_nanos(gained * SECOND / rate);
        }
    }
}

fn second(at: Instant) -> u32 {
    u32::try_from(at.as_nanos() / SECOND).unwrap_or(u32::MAX)
}

// There is one for every route.
const _: () = assert!(size_of::<Budget>() <= 128);
