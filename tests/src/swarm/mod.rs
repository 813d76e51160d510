//! A swarm: random clients with random work, random servers and random plans of faults, in virtual
//! time, and what must hold in all of them.
//!
//! A seed decides the client's settings, the work and the servers; a plan decides the faults. For
//! every pair:
//!
//! * every call ends, by its deadline;
//! * nothing leaks: no connection in use, no waiter, no task once all calls are over and the client
//!   is gone, and the pool's numbers add up after every step;
//! * no request is replayed that may have been processed and must not be, and none is sent without
//!   end (`ledger`);
//! * a response belongs to its request, and so does every byte of its body, and a body that ended
//!   well is whole (`caller`);
//! * the same pair leads to the same trace: each is played twice.

mod caller;
mod draws;
mod ledger;
mod origin;
mod report;
mod settings;
mod work;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use fulmar_sim::{Client, Divergence, Gauges, Handle, Plan, Sim};

use caller::{Asker, Tally};
use draws::Draws;
use ledger::Ledger;

pub use report::{failing_test, minimal};

/// Where requests go.
const HOSTS: [&str; 2] = ["a.test", "b.test"];

/// How long faults begin, and how long each may last.
const SPAN: Duration = Duration::from_secs(4);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The plan that goes with a seed.
pub fn plan(seed: u64) -> Plan {
    Plan::seeded(seed, &HOSTS, SPAN, 4)
}

/// Plays the pairs of these seeds.
///
/// # Panics
///
/// At the first that fails, with a test to paste.
pub fn check_seeds(seeds: Range<u64>) -> Tally {
    let mut tally = Tally::default();
    for seed in seeds {
        let plan = plan(seed);
        match report::caught(|| check(seed, &plan)) {
            Ok(more) => tally.add(&more),
            Err(message) => {
                let plan = minimal(&plan, |plan| report::caught(|| check(seed, plan)).is_err());
                panic!("{message}\n\n{}", failing_test(seed, &plan));
            }
        }
    }
    tally
}

/// Plays one pair, and again.
///
/// # Panics
///
/// Where something does not hold.
pub fn check(seed: u64, plan: &Plan) -> Tally {
    let (tally, trace) = play(seed, plan);
    let (_, again) = play(seed, plan);
    if let Some(divergence) = Divergence::between(&trace, &again) {
        panic!("one seed, two stories: {divergence}");
    }
    tally
}

/// Plays one pair. What the client says of itself is in the trace.
fn play(seed: u64, plan: &Plan) -> (Tally, String) {
    let mut draws = Draws::seeded(seed);
    let mut sim = Sim::seeded(seed);
    sim.check();
    sim.plan(plan);
    let ledger = Arc::new(Ledger::default());
    for host in HOSTS {
        let slowest = draws.below(40) + 2;
        sim.link("laptop", host).latency(ms(1)..ms(slowest));
        origin::serve(&sim, host, &ledger, draws.chance(50));
    }
    let handle = sim.handle();
    let (builder, limit) = settings::draw(&mut draws, sim.client("laptop"));
    let client = builder.build().expect("settings that agree");
    sim.watch(&client);
    let callers = caller::draw(&mut draws, &Asker::new(&client, limit, &handle, &ledger));
    let run = sim.run(async move {
        let tally = caller::run_all(callers).await;
        wind_up(client, &handle).await;
        tally
    });
    let tally = *run.expect();
    assert_eq!(run.leaks(), [""; 0], "sockets that nobody closed");
    (tally, run.trace())
}

/// What is left when all calls are over: nothing, a little later.
async fn wind_up(client: Client, handle: &Handle) {
    let in_use = |g: Gauges| g.busy + g.connecting + g.waiting + g.draining;
    assert_eq!(
        client.gauges().busy,
        0,
        "in use by nobody: {:?}",
        client.gauges()
    );
    assert_eq!(
        client.gauges().waiting,
        0,
        "nobody waits: {:?}",
        client.gauges()
    );
    // Dials belong to the pool, and go on until their limit.
    handle.sleep(settings::LONGEST_DIAL).await;
    assert_eq!(
        in_use(client.gauges()),
        0,
        "nobody is there: {:?}",
        client.gauges()
    );
    let gauges = client.gauge_reader();
    drop(client);
    handle.sleep(ms(1)).await;
    assert_eq!(gauges(), None, "a task keeps the client");
}
