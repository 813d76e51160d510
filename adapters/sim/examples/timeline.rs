//! Draws what a client does in a bad minute: as text, or as SVG.
//!
//! `cargo run -p fulmar-sim --example timeline` prints text;
//! `cargo run -p fulmar-sim --example timeline -- svg > timeline.svg` makes the picture.

use std::time::Duration;

use fulmar_sim::{Backoff, Fault, Limits, Retry, Run, Sim, Timeouts};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn main() {
    let run = bad_times();
    run.expect();
    let timeline = run.timeline();
    if std::env::args().any(|argument| argument == "svg") {
        print!("{}", timeline.svg());
    } else {
        print!("{timeline}");
    }
}

fn bad_times() -> Run<()> {
    let mut sim = Sim::seeded(0xF0_1AA5);
    sim.link("laptop", "api.test").latency(ms(20)..ms(60));
    sim.host("laptop").dns_latency(ms(15));
    sim.link("laptop", "api.test").bandwidth(200_000);
    sim.serve("api.test:80", |mut conn| async move {
        while let Some(request) = conn.request().await? {
            conn.sleep(ms(80)).await;
            let size = if request.path() == "/report" {
                60_000
            } else {
                100
            };
            conn.respond(200, vec![b'x'; size]).await?;
        }
        Ok(())
    });
    sim.between(ms(0)..ms(200), Fault::dns_error("api.test"));
    sim.between(ms(1000)..ms(1150), Fault::reset("api.test"));
    sim.between(ms(1600)..ms(2300), Fault::slow("api.test", 60_000));
    sim.between(ms(2600)..ms(2800), Fault::down("api.test"));

    let client = sim
        .client("laptop")
        .timeouts(Timeouts::new().connect(ms(700)).read(ms(700)))
        .limits(Limits::new().total(2))
        .retry(Retry::new(3).backoff(Backoff::constant(ms(300))))
        .build()
        .expect("the settings agree");
    let clock = sim.handle();
    for (start, path) in [
        (0, "users"),
        (400, "report"),
        (480, "users"),
        (500, "orders"),
        (950, "users"),
        (1600, "report"),
    ] {
        let (client, clock) = (client.clone(), clock.clone());
        sim.spawn(async move {
            clock.sleep(ms(start)).await;
            let _ = fetch(&client, path).await;
        });
    }
    sim.run(async move {
        clock.sleep(ms(2500)).await;
        let _ = fetch(&client, "orders").await;
    })
}

async fn fetch(client: &fulmar_sim::Client, path: &str) -> Result<usize, fulmar_sim::Error> {
    let url = format!("http://api.test/{path}");
    Ok(client.get(url).send().await?.bytes().await?.len())
}
