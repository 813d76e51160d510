//! Runs as pictures.

use std::io;
use std::time::Duration;

use fulmar_sim::timeline::Timeline;
use fulmar_sim::trace::{Event, Outcome, Record};
use fulmar_sim::{Fate, Fault, Instant, Phase, Run, Sim};

use crate::support::ms;

/// Three calls that meet a busy server, a fault, and each other.
fn play(url: &'static str) -> Run<()> {
    let mut sim = Sim::seeded(5);
    sim.link("laptop", "api.test").latency(ms(20)..ms(40));
    let is_first = std::sync::atomic::AtomicBool::new(true);
    let is_first = std::sync::Arc::new(is_first);
    sim.serve("api.test:80", move |mut conn| {
        let is_first = std::sync::Arc::clone(&is_first);
        async move {
            while let Some(request) = conn.request().await? {
                conn.sleep(ms(60)).await;
                if is_first.swap(false, std::sync::atomic::Ordering::Relaxed) {
                    conn.respond(503, "busy").await?;
                } else {
                    conn.respond(200, request.path()).await?;
                }
            }
            io::Result::Ok(())
        }
    });
    sim.between(ms(600)..ms(1400), Fault::half_open("api.test"));
    sim.between(ms(100)..ms(300), Fault::delay("laptop", ms(20)));
    let timeouts = fulmar_sim::Timeouts::new()
        .read(Duration::from_secs(1))
        .connect(Duration::from_secs(1));
    let client = sim.client("laptop").timeouts(timeouts).build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        client.get(url).send().await.unwrap();
        let (one, two) = (client.clone(), client.clone());
        let (done, both) = (std::sync::Arc::new(()), handle.clone());
        for (client, done) in [(one, done.clone()), (two, done.clone())] {
            handle.spawn(async move {
                let response = client.get("http://api.test/next").send().await;
                response.unwrap().text().await.unwrap();
                drop(done);
            });
        }
        while std::sync::Arc::strong_count(&done) > 1 {
            both.sleep(ms(10)).await;
        }
        handle.sleep(ms(300)).await;
        client.get("http://api.test/last").send().await.unwrap();
    });
    run.expect();
    run
}

#[test]
fn a_run_is_drawn_as_text_with_calls_attempts_waits_connections_and_faults() {
    let timeline = play("http://api.test/first").timeline();
    let text = timeline.to_string();
    println!("{text}");
    for part in [
        "half_open(\"api.test\")",
        "╳",
        "  1 GET http://api.test/first",
        "try 1  #1 new",
        "503",
        "waited ",
        "try 2  #1 reused, idle ",
        "#2 10.0.0.2:80",
        "━",
        "╵0",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn a_run_is_drawn_as_svg_that_is_well_formed_whatever_was_asked_for() {
    let run = play("http://api.test/a?b=1&c=%3Cscript%3E'\"<i>");
    let svg = run.timeline().svg();
    if let Some(path) = std::env::var_os("TIMELINE_SVG") {
        std::fs::write(path, &svg).unwrap();
    }
    check_xml(&svg);
    assert!(svg.contains("half_open(&quot;api.test&quot;)"));
    assert!(!svg.contains("<i>") && !svg.contains("<script"), "{svg}");
    assert!(!svg.contains("href"), "it is self-contained");
}

#[test]
fn the_same_run_is_the_same_picture() {
    let draw = || play("http://api.test/first").timeline().svg();
    assert_eq!(draw(), draw());
}

#[test]
fn a_run_without_an_observed_client_shows_its_faults() {
    let mut sim = Sim::seeded(1);
    sim.between(ms(100)..ms(200), Fault::refuse("api.test"));
    let nap = sim.sleep(ms(1000));
    let run = sim.run(nap);
    run.expect();
    let timeline = run.timeline();
    assert!(timeline.to_string().contains("refuse(\"api.test\")"));
    check_xml(&timeline.svg());
}

#[test]
fn nothing_at_all_is_drawn_too() {
    let timeline = Timeline::of(&[]);
    check_xml(&timeline.svg());
    assert!(timeline.to_string().ends_with("╵0\n"));
}

#[test]
fn of_very_many_calls_the_first_are_drawn_and_the_rest_counted() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", |mut conn| async move {
        while conn.request().await?.is_some() {
            conn.respond(200, "").await?;
        }
        Ok(())
    });
    let client = sim.client("laptop").build().unwrap();
    let run = sim.run(async move {
        for _ in 0..250 {
            client.get("http://api.test/").send().await.unwrap();
        }
    });
    run.expect();
    let timeline = run.timeline();
    assert_eq!(timeline.calls.len(), 250);
    for picture in [timeline.to_string(), timeline.svg()] {
        assert!(picture.contains(".. and 50 more calls"));
    }
}

/// One event of each kind, for any connection, with a text that is hostile to pictures.
fn event(kind: u8, connection: u64, text: &str) -> Event {
    let (phase, fate) = (Phase::Body, Fate::Processed);
    let elapsed = Duration::from_secs(connection);
    match kind {
        0 => Event::CallStarted {
            method: fulmar_sim::Method::GET,
            url: text.into(),
        },
        1 => Event::AttemptStarted { attempt: 1 },
        2 => Event::Waiting,
        3 => Event::DialStarted,
        4 => Event::Resolved { addresses: 1 },
        5 => Event::Connected {
            connection,
            peer: None,
        },
        6 => Event::Leased {
            connection,
            reused: connection.is_multiple_of(2),
            idle_for: elapsed,
        },
        7 => Event::RequestWritten { bytes: 1 },
        8 => Event::HeadReceived { status: 200 },
        9 => Event::AttemptFailed {
            attempt: 1,
            phase,
            fate,
            cause: text.into(),
        },
        10 => Event::RetryScheduled {
            attempt: 2,
            delay: elapsed,
            reason: "status",
            transparent: connection.is_multiple_of(2),
        },
        11 => Event::BodyEnded { bytes: 1 },
        12 => Event::Parked { connection },
        13 => Event::Closed {
            connection,
            why: "asked to",
        },
        _ => Event::CallEnded {
            outcome: Outcome::Failed { phase, fate },
            elapsed,
            attempts: 1,
        },
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(500))]

    /// Records may be out of order, of no call, and say what they like.
    #[test]
    fn whatever_is_recorded_can_be_drawn(
        records in proptest::collection::vec((0..15u8, 0..4u64, 0..4u64, proptest::num::u64::ANY), 0..40),
        is_wide: bool,
        text in "[ -~]{0,20}|\\PC{0,20}|[\u{0}-\u{1f}<&>]{0,20}",
        band in (proptest::num::u64::ANY, proptest::num::u64::ANY),
    ) {
        let scale = if is_wide { u64::MAX } else { 1_000_000_000 };
        let records: Vec<_> = (records.into_iter())
            .map(|(kind, call, connection, at)| Record {
                at: Instant::from_nanos(at % scale),
                call,
                event: event(kind, connection, &text),
            })
            .collect();
        let (from, to) = (Instant::from_nanos(band.0), Instant::from_nanos(band.1));
        let timeline = Timeline::of(&records).band(from, to, text.as_str());
        check_xml(&timeline.svg());
        let lines = timeline.to_string();
        proptest::prop_assert!(lines.lines().all(|line| !line.contains(char::is_control)));
    }
}

/// Checks that tags are closed in order and that no character of the markup is left over.
fn check_xml(text: &str) {
    let mut open = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let (before, tag) = rest.split_at(at);
        check_text(before);
        let (tag, after) = tag[1..].split_once('>').expect("a tag ends");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "{tag}");
        } else if !tag.ends_with('/') {
            open.push(tag.split(' ').next().unwrap());
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        rest = after;
    }
    check_text(rest);
    assert!(open.is_empty(), "{open:?} left open");
}

fn check_text(text: &str) {
    for part in text.split('&').skip(1) {
        let entity = part.split_once(';').map(|(name, _)| name);
        assert!(
            matches!(entity, Some("amp" | "lt" | "gt" | "quot" | "#39")),
            "{text}"
        );
    }
}
