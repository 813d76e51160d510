//! The cap on calls in flight that finds itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fulmar_sim::{
    Adaptive, Admission, Client, Kind, Limits, Profile, RequestBuilder, Retry, Sim, Timeouts,
};

use super::support::{at, builder, echo, join_all, ms, raw, secs, silent, text};

/// Answers within 10 ms while it has no more than 8 requests at once, else within 60 ms.
fn overloadable(sim: &Sim, addr: &str) {
    let now = Arc::new(AtomicUsize::new(0));
    sim.serve(addr, move |mut conn| {
        let now = now.clone();
        async move {
            while let Some(request) = conn.request().await? {
                let active = now.fetch_add(1, Ordering::Relaxed) + 1;
                conn.sleep(ms(if active <= 8 { 10 } else { 60 })).await;
                now.fetch_sub(1, Ordering::Relaxed);
                conn.respond(200, request.path()).await?;
            }
            Ok(())
        }
    });
}

fn adaptive() -> Adaptive {
    Adaptive::new(ms(30)).window(ms(200)).start(2)
}

#[test]
fn an_adaptive_cap_stays_about_what_the_server_bears() {
    let mut sim = Sim::seeded(1);
    overloadable(&sim, "api.test:80");
    let client = builder(&sim)
        .limits(Limits::new().per_origin(100))
        .adaptive_in_flight(adaptive())
        .build()
        .unwrap();
    let run = sim.run(async move {
        let end = at(secs(30));
        let seen = join_all((0..40).map(|_| async {
            let mut seen = Vec::new();
            while client.deadline(ms(0)) < end {
                text(&client, "http://api.test/").await.unwrap();
                seen.push((client.deadline(ms(0)), client.max_in_flight().unwrap()));
            }
            seen
        }))
        .await;
        seen.into_iter().flatten().collect::<Vec<_>>()
    });
    let settled = run.expect().iter().filter(|(now, _)| *now > at(secs(5)));
    let caps: Vec<usize> = settled.map(|(_, cap)| *cap).collect();
    let (least, most) = (caps.iter().min().unwrap(), caps.iter().max().unwrap());
    assert!(
        caps.len() > 1_000 && *least >= 7 && *most <= 10,
        "{least} {most}"
    );
}

/// The cap that the next call of that request meets.
fn cap(request: &RequestBuilder) -> Vec<usize> {
    let admission = request.explain().unwrap().admission;
    let max = |admission| match admission {
        Admission::Begins { max, .. } | Admission::Waits { max, .. } => max,
        _ => 0,
    };
    admission.into_iter().map(max).collect()
}

#[test]
fn an_answer_that_asks_for_less_and_a_timeout_take_a_tenth_and_no_answer_of_another_host_does() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "other.test:80");
    silent(&sim, "silent.test:80");
    for status in [429, 503] {
        let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n");
        raw(&sim, &format!("s{status}.test:80"), answer);
    }
    let capped = || Profile::new().adaptive_in_flight(Adaptive::new(secs(1)).start(20));
    let client = builder(&sim)
        .retry(Retry::never())
        .timeouts(Timeouts::new().first_byte(secs(2)))
        .profile("silent.test", capped())
        .profile("s429.test", capped())
        .profile("s503.test", capped())
        .build()
        .unwrap();
    let run = sim.run(async move {
        for host in ["silent", "s429", "s503"] {
            let url = format!("http://{host}.test/");
            assert_eq!(cap(&client.get(&url)), [20]);
            let _ = text(&client, &url).await;
            assert_eq!(cap(&client.get(&url)), [18], "{host}");
            text(&client, "http://other.test/").await.unwrap();
            assert_eq!(cap(&client.get("http://other.test/")), [0; 0]);
        }
        assert_eq!(client.max_in_flight(), None);
    });
    run.expect();
}

#[test]
fn every_attempt_counts_and_one_that_ran_until_the_deadline_was_as_slow_at_least() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "api.test:80");
    let client = builder(&sim)
        .adaptive_in_flight(Adaptive::new(secs(1)).start(20))
        .timeouts(Timeouts::new().first_byte(secs(2)))
        .retry(Retry::new(2))
        .build()
        .unwrap();
    let run = sim.run(async move {
        text(&client, "http://api.test/").await.unwrap_err();
        assert_eq!(client.max_in_flight(), Some(16), "20, 18, 16");
        let hurried = async |client: &Client| {
            let call = client.get("http://api.test/").timeout(ms(1_500));
            assert!(call.send().await.unwrap_err().is_deadline());
        };
        hurried(&client).await;
        assert_eq!(client.max_in_flight(), Some(16));
        // The window that ends with it has the one before.
        hurried(&client).await;
        assert_eq!(client.max_in_flight(), Some(14));
    });
    run.expect();
}

#[test]
fn settings_of_an_adaptive_cap_that_contradict_each_other_build_no_client() {
    let sim = Sim::seeded(1);
    let wrong = || Adaptive::new(Duration::ZERO);
    let client = builder(&sim).adaptive_in_flight(wrong()).build();
    let profile = Profile::new().adaptive_in_flight(wrong());
    let other = builder(&sim).profile("api.test", profile).build();
    for error in [client.unwrap_err(), other.unwrap_err()] {
        assert_eq!(error.kind(), Kind::Builder);
        assert!(error.to_string().contains("target"), "{error}");
    }
}
