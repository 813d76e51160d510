//! Who dials goes away while others wait for the connection.

use std::future::Future;
use std::pin::Pin;

use fulmar_sim::{Limits, Sim};

use crate::support::{PollTimes, assert_quiet, builder, join_all, secs, text};
use crate::world::everything;

#[test]
fn ten_waiters_are_served_whenever_the_dialler_goes() {
    for polls in 0..6 {
        let mut sim = Sim::seeded(3);
        everything(&sim);
        let limits = Limits::default().per_origin(1);
        let client = builder(&sim).limits(limits).build().unwrap();
        let handle = sim.handle();
        let run = sim.run(async move {
            let dialler = PollTimes::new(polls, text(&client, "http://api.test/first"));
            let mut all: Vec<Pin<Box<dyn Future<Output = bool>>>> = Vec::new();
            all.push(Box::pin(async move {
                dialler.await;
                false
            }));
            for _ in 0..10 {
                let other = text(&client, "http://api.test/other");
                all.push(Box::pin(async move { other.await.is_ok() }));
            }
            let served = join_all(all).await;
            assert_eq!(served.into_iter().filter(|one| *one).count(), 10);
            // The dialler's own answer may still be read to its end.
            handle.sleep(secs(1)).await;
            assert_quiet(client.gauges());
        });
        run.expect();
        assert_eq!(run.leaks(), [""; 0], "{polls} polls");
    }
}
