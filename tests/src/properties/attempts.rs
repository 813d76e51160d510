//! The attempts of calls as their origin sees them: the whole client, under random faults.

mod origin;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fulmar_sim::trace::{Event, Record};
use fulmar_sim::{
    Backoff, Body, Client, Fault, Gauges, Handle, IdempotencyKey, Instant, Jitter, Limits, Method,
    Retry, Sim, Timeouts,
};
use futures_core::Stream;

use super::script::Script;
use origin::{Act, Log, Sight};

/// A response that is given up is read for as long at most, by nobody's request.
const DRAIN: Duration = Duration::from_millis(50);

const fn ms(millis: usize) -> Duration {
    Duration::from_millis(millis as u64)
}

/// One call.
#[derive(Clone, Debug)]
struct Work {
    number: usize,
    method: Method,
    keyed: bool,
    kind: Kind,
    body: Bytes,
    late: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bytes,
    Factory,
    SizedFactory,
    OneShot,
    SizedOneShot,
    Spooled,
    SizedSpooled,
}

/// All that a script says.
#[derive(Debug)]
struct Play {
    attempts: u32,
    transparent: bool,
    rest: Duration,
    per_origin: u32,
    works: Vec<Work>,
    acts: Vec<Act>,
    faults: Vec<(std::ops::Range<Duration>, Fault)>,
}

impl Play {
    fn read(script: &mut Script<'_>) -> Self {
        let works = 1 + script.below(3);
        Self {
            attempts: 1 + script.below(5) as u32,
            transparent: script.below(4) > 0,
            rest: DRAIN + ms(10 + script.below(200)),
            per_origin: 1 + script.below(3) as u32,
            works: (0..works).map(|number| work(script, number)).collect(),
            acts: (0..script.below(9)).map(|_| Act::read(script)).collect(),
            faults: (0..script.below(3)).map(|_| fault(script)).collect(),
        }
    }
}

fn work(script: &mut Script<'_>, number: usize) -> Work {
    let methods = [Method::PUT, Method::POST, Method::DELETE, Method::PATCH];
    let kinds = [
        Kind::Bytes,
        Kind::Factory,
        Kind::SizedFactory,
        Kind::OneShot,
        Kind::SizedOneShot,
        Kind::Spooled,
        Kind::SizedSpooled,
    ];
    let longest = [1, 20, 2_000, 200_000][script.below(4)];
    let len = script.below(longest);
    // Of every call other bytes, so that they cannot be taken for each other's.
    let byte = |place: usize| (place * 31 + place / 251 + number * 7) as u8;
    Work {
        number,
        method: methods[script.below(methods.len())].clone(),
        keyed: script.below(2) > 0,
        kind: kinds[script.below(kinds.len())],
        body: (0..len).map(byte).collect(),
        late: ms(script.below(4) * 5),
    }
}

fn fault(script: &mut Script<'_>) -> (std::ops::Range<Duration>, Fault) {
    let start = ms(script.below(256) * 2);
    let target = "api.test";
    let fault = match script.below(8) {
        0 => Fault::refuse(target),
        1 => Fault::reset(target),
        2 => Fault::down(target),
        3 => Fault::half_open(target),
        4 => Fault::segment(target, 1 + script.below(100)),
        5 => Fault::slow_reader(target, script.below(4) as u64 * 1_000),
        6 => Fault::dns_error(target),
        _ => Fault::delay(target, ms(script.below(256))),
    };
    (start..start + ms(1 + script.below(256)), fault)
}

/// Who rests and who does not.
#[derive(Default)]
struct Watch {
    /// Whether there is but one call.
    is_alone: bool,
    /// Calls and bodies that have begun and not ended.
    running: AtomicUsize,
    /// Calls at rest, and since when.
    resting: Mutex<HashMap<u64, Instant>>,
    scheduled: AtomicUsize,
}

impl Watch {
    fn event(&self, record: &Record) {
        let mut resting = self.resting.lock().expect("nobody panics under it");
        match &record.event {
            Event::RetryScheduled { delay, .. } if !delay.is_zero() => {
                self.scheduled.fetch_add(1, Ordering::Relaxed);
                resting.insert(record.call, record.at);
            }
            Event::AttemptStarted { .. } | Event::CallEnded { .. } => {
                resting.remove(&record.call);
            }
            _ => {}
        }
    }

    /// I1.8: whoever holds a connection, or a place in the queue for one, does not rest.
    fn check(&self, gauges: &Gauges, now: Instant) -> Result<(), String> {
        let running = self.running.load(Ordering::Relaxed);
        let resting = self.resting.lock().expect("nobody panics under it");
        let active = running - resting.len();
        let held = (gauges.busy + gauges.waiting) as usize;
        if held > active {
            return Err(format!(
                "{held} held, and {active} of {running} calls are not at rest: {gauges:?}"
            ));
        }
        // A dial is the pool's, and goes on for later calls where its own was served otherwise. Where
        // there is but one call none does. It runs in a task of its own, which may learn of its end
        // a step later, but at the same instant.
        let rests_on = resting.values().all(|since| *since < now);
        if self.is_alone && running > 0 && active == 0 && rests_on && gauges.connecting > 0 {
            return Err(format!("a dial for nobody: {gauges:?}"));
        }
        Ok(())
    }
}

/// What came of a play.
struct Played {
    play: Play,
    sights: Vec<Sight>,
    answered: Vec<bool>,
    rests: usize,
}

/// Plays a script; with `watched`, I1.8 is checked after every step.
fn play(data: &[u8], watched: bool) -> Played {
    let mut script = Script::new(data);
    let play = Play::read(&mut script);
    let mut sim = Sim::seeded(u64::from(script.byte()));
    let log = Log::default();
    origin::serve(&sim, &play.acts, &log);
    sim.plan(&play.faults);
    let watch = Arc::new(Watch {
        is_alone: play.works.len() == 1,
        ..Watch::default()
    });
    let client = client(&sim, &play, &watch);
    if watched {
        let (gauges, watch) = (client.gauge_reader(), Arc::clone(&watch));
        let clock = sim.handle();
        sim.invariant("i1_8", move || {
            gauges().map_or(Ok(()), |gauges| watch.check(&gauges, clock.now()))
        });
    }
    let (handle, works) = (sim.handle(), play.works.clone());
    let answers = Arc::new(Mutex::new(vec![None; works.len()]));
    let (seen, running) = (Arc::clone(&answers), Arc::clone(&watch));
    let run = sim.run(async move {
        for work in works {
            let (client, watch) = (client.clone(), Arc::clone(&running));
            let (answers, timer) = (Arc::clone(&seen), handle.clone());
            handle.spawn(async move {
                timer.sleep(work.late).await;
                watch.running.fetch_add(1, Ordering::Relaxed);
                let answered = call(&client, &timer, &work).await;
                watch.running.fetch_sub(1, Ordering::Relaxed);
                answers.lock().expect("nobody panics under it")[work.number] = Some(answered);
            });
        }
        // Every limit of every attempt, every rest, and what is drained after them.
        handle.sleep(Duration::from_secs(60)).await;
    });
    run.expect();
    let answers = answers.lock().expect("nobody panics under it");
    let answered = answers
        .iter()
        .map(|answer| answer.expect("every call ends"));
    Played {
        answered: answered.collect(),
        sights: log.lock().expect("nobody panics under it").clone(),
        rests: watch.scheduled.load(Ordering::Relaxed),
        play,
    }
}

fn client(sim: &Sim, play: &Play, watch: &Arc<Watch>) -> Client {
    let watch = Arc::clone(watch);
    let rest = Backoff::constant(play.rest).jitter(Jitter::None);
    let retry = Retry::new(play.attempts)
        .transparent(play.transparent)
        .backoff(rest)
        .throttle(rest);
    let limit = ms(400);
    let timeouts = Timeouts::new()
        .connect(limit)
        .write(limit)
        .first_byte(limit);
    Client::builder(sim.net("laptop"))
        .retry(retry)
        .timeouts(timeouts.between_bytes(limit))
        .limits(Limits::new().per_origin(play.per_origin))
        .observer(move |record: &Record| watch.event(record))
        .build()
        .expect("settings that go together")
}

/// Whether the call and the body of its response ended well.
async fn call(client: &Client, handle: &Handle, work: &Work) -> bool {
    let url = format!("http://api.test/{}", work.number);
    let mut request = client.request(work.method.clone(), url);
    if work.keyed {
        request = request.idempotency_key(IdempotencyKey::Auto);
    }
    match request.body(body(work, handle)).send().await {
        Ok(response) => response.bytes().await.is_ok(),
        Err(_) => false,
    }
}

fn body(work: &Work, handle: &Handle) -> Body {
    let (bytes, timer, length) = (work.body.clone(), handle.clone(), work.body.len() as u64);
    let stream = move || Chunks {
        left: bytes.clone(),
        pause: None,
        timer: timer.clone(),
    };
    match work.kind {
        Kind::Bytes => work.body.clone().into(),
        Kind::Factory => Body::factory(stream, None),
        Kind::SizedFactory => Body::factory(stream, Some(length)),
        Kind::OneShot => Body::stream(stream()),
        Kind::SizedOneShot => Body::sized_stream(stream(), length),
        Kind::Spooled => Body::spooled(stream(), None),
        Kind::SizedSpooled => Body::spooled(stream(), Some(length)),
    }
}

/// A body in pieces, with a pause before each.
struct Chunks {
    left: Bytes,
    pause: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    timer: Handle,
}

impl Stream for Chunks {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let sleep = self.timer.sleep(ms(1));
        let pause = self.pause.get_or_insert_with(|| Box::pin(sleep));
        std::task::ready!(pause.as_mut().poll(cx));
        self.pause = None;
        let len = self.left.len().min(20_000);
        Poll::Ready(Some(Ok(self.left.split_to(len))))
    }
}

/// I1.6: every attempt sends the bytes that the caller gave, from the first on. Of one that broke
/// off the origin saw a part, and no other attempt says anything else; the fields are the same, too.
/// Returns how many attempts were repeats.
///
/// # Panics
///
/// Where it does not hold.
pub fn i1_6_attempts_send_the_same_bytes(data: &[u8]) -> usize {
    let Played {
        play,
        sights,
        answered,
        ..
    } = play(data, false);
    let mut repeats = 0;
    for work in &play.works {
        let path = format!("/{}", work.number);
        let own: Vec<_> = sights.iter().filter(|sight| sight.path == path).collect();
        for sight in &own {
            let (seen, given) = (&sight.body, &work.body);
            assert!(given.starts_with(seen), "{play:?}: {sight:?}");
            assert!(
                !sight.whole || seen.len() == given.len(),
                "{play:?}: {sight:?}"
            );
            assert_eq!(sight.head, own[0].head, "{play:?}");
        }
        repeats += own.len().saturating_sub(1);
        let is_sent = own.iter().any(|sight| sight.whole || sight.early);
        assert!(!answered[work.number] || is_sent, "{play:?}: {own:?}");
    }
    repeats
}

/// I1.8: a call at rest holds no connection and no place in the queue; after every step of the whole
/// simulation. Returns how many rests there were.
///
/// # Panics
///
/// Where it does not hold.
pub fn i1_8_a_call_at_rest_holds_nothing(data: &[u8]) -> usize {
    play(data, true).rests
}
