//! Profiles, and unix sockets: what differs for some hosts or some requests of one client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fulmar_sim::{Client, Kind, Limits, Phase, Profile, Retry, RouteGauges, Sim, Timeouts};

use super::support::{assert_quiet, builder, echo, join_all, ms, secs, silent, text};

/// Answers with the fields of that name, comma between.
fn fields(sim: &Sim, addr: &str, name: &'static str) {
    sim.serve(addr, move |mut conn| async move {
        while let Some(request) = conn.request().await? {
            let value = request.header(name).map(str::to_owned);
            conn.respond(200, value.unwrap_or_default()).await?;
        }
        Ok(())
    });
}

#[test]
fn the_first_pattern_that_matches_decides_and_a_request_overrides_it() {
    let mut sim = Sim::seeded(1);
    for host in [
        "a.corp.test:80",
        "corp.test:80",
        "a.corp.test:81",
        "other.test:80",
    ] {
        fields(&sim, host, "x-manner");
    }
    let manner = |name: &str| Profile::new().default_header("x-manner", name);
    let client = builder(&sim)
        .default_header("x-manner", "client")
        .profile("a.corp.test:81", manner("port"))
        .profile("*.corp.test", manner("corp"))
        .profile("a.corp.test", manner("never"))
        .build()
        .unwrap();
    let run = sim.run(async move {
        for (url, expected) in [
            ("http://a.corp.test/", "corp"),
            ("http://a.corp.test:81/", "port"),
            ("http://corp.test/", "client"),
            ("http://other.test/", "client"),
        ] {
            assert_eq!(text(&client, url).await.unwrap(), expected, "{url}");
        }
        let own = client.get("http://a.corp.test/").header("x-manner", "own");
        assert_eq!(own.send().await.unwrap().text().await.unwrap(), "own");
    });
    run.expect();
}

#[test]
fn timeouts_and_retries_of_a_profile_are_in_force_for_its_hosts_alone() {
    let mut sim = Sim::seeded(1);
    silent(&sim, "slow.test:80");
    silent(&sim, "other.test:80");
    let profile = Profile::new()
        .timeouts(Timeouts::new().first_byte(secs(1)))
        .retry(Retry::never());
    let client = builder(&sim)
        .timeouts(Timeouts::new().first_byte(secs(3)))
        .retry(Retry::new(2))
        .profile("slow.test", profile)
        .build()
        .unwrap();
    let run = sim.run(async move {
        let took = |begun| client.deadline(ms(0)) - begun;
        let begun = client.deadline(ms(0));
        let error = text(&client, "http://slow.test/").await.unwrap_err();
        assert_eq!((error.phase(), error.tries()), (Some(Phase::FirstByte), 1));
        assert!(took(begun) < ms(1_100));
        let error = text(&client, "http://other.test/").await.unwrap_err();
        assert_eq!(error.tries(), 2);
        // `timeout` adds to what the profile says.
        let call = client.get("http://slow.test/").timeout(secs(9));
        let begun = client.deadline(ms(0));
        assert_eq!(
            call.send().await.unwrap_err().phase(),
            Some(Phase::FirstByte)
        );
        assert!(took(begun) < ms(1_100));
        // `timeouts` replaces all of it, an earlier `timeout` too.
        let own = Timeouts::new().first_byte(secs(2));
        let call = client
            .get("http://slow.test/")
            .timeout(secs(1))
            .timeouts(own);
        let begun = client.deadline(ms(0));
        assert_eq!(
            call.send().await.unwrap_err().phase(),
            Some(Phase::FirstByte)
        );
        assert!(took(begun) >= secs(2));
    });
    run.expect();
}

#[test]
fn connections_of_an_origin_and_calls_of_a_profile_have_limits_of_their_own() {
    let mut sim = Sim::seeded(1);
    for host in ["a.slow.test:80", "b.slow.test:80", "fast.test:80"] {
        sim.serve(host, |mut conn| async move {
            while let Some(request) = conn.request().await? {
                conn.sleep(ms(10)).await;
                conn.respond(200, request.path()).await?;
            }
            Ok(())
        });
    }
    let client = builder(&sim)
        .limits(Limits::new().total(20).per_origin(8))
        .profile("*.slow.test", Profile::new().per_origin(2).max_in_flight(3))
        .build()
        .unwrap();
    let is_slow = Arc::new(AtomicBool::new(true));
    let (handle, looks) = (sim.handle(), is_slow.clone());
    let run = sim.run(async move {
        let watcher = client.clone();
        handle.clone().spawn(async move {
            while looks.load(Ordering::Relaxed) {
                let gauges = watcher.gauges();
                // A dial may outlive the wait of the call that asked for it.
                assert!(gauges.busy <= 3, "{gauges:?}");
                handle.sleep(ms(1)).await;
            }
        });
        let urls = [
            "http://a.slow.test/",
            "http://b.slow.test/",
            "http://a.slow.test/",
        ];
        join_all((0..30).map(|n| text(&client, urls[n % 3]))).await;
        assert_quiet(client.gauges());
        let slow = client.gauges().total;
        assert!(slow <= 4, "{slow}");
        let of = |url| client.route_gauges(url).unwrap().total;
        let by_route = client.gauges_by_route();
        let told = |host: &str| {
            let is_its = |row: &&RouteGauges| row.route.contains(host);
            let row = by_route.routes.iter().find(is_its).unwrap();
            (row.gauges.total, row.limit)
        };
        assert_eq!(told("a.slow.test"), (of("http://a.slow.test/x"), 2));
        assert_eq!(told("b.slow.test"), (of("http://b.slow.test/"), 2));
        assert_eq!(of("http://a.slow.test/") + of("http://b.slow.test/"), slow);
        assert_eq!((of("http://fast.test/"), by_route.others), (0, 0));
        assert!(client.route_gauges("no url").is_err());
        is_slow.store(false, Ordering::Relaxed);
        join_all((0..30).map(|_| text(&client, "http://fast.test/"))).await;
        assert_eq!(client.gauges().total, slow + 8);
    });
    run.expect();
}

#[test]
fn what_is_no_pattern_or_contradicts_fails_the_build_by_name() {
    let sim = Sim::seeded(1);
    let limits = Limits::new().total(10);
    for (pattern, profile, why) in [
        ("*corp", Profile::new(), "a `*` stands alone"),
        ("10.0.0.0/40", Profile::new(), "number of bits"),
        ("a.test:x", Profile::new(), "the port is not"),
        (
            "a.test",
            Profile::new().per_origin(11),
            "client's total of 10",
        ),
        (
            "a.test",
            Profile::new().max_in_flight(0),
            "max_in_flight is 0",
        ),
        ("a.test", Profile::new().retry(Retry::new(0)), "attempt"),
        (
            "a.test",
            Profile::new().default_header("x y", "z"),
            "header name",
        ),
    ] {
        let built = builder(&sim)
            .limits(limits)
            .profile(pattern, profile)
            .build();
        let error = built.unwrap_err();
        let said = error.to_string();
        assert_eq!(error.kind(), Kind::Builder);
        assert!(said.contains(pattern) && said.contains(why), "{said}");
    }
}

#[test]
fn a_request_over_a_unix_socket_never_takes_a_connection_over_tcp() {
    let mut sim = Sim::seeded(1);
    echo(&sim, "api.test:80");
    let client: Client = builder(&sim).retry(Retry::never()).build().unwrap();
    let run = sim.run(async move {
        text(&client, "http://api.test/").await.unwrap();
        assert_eq!(client.gauges().idle, 1);
        let over = client.get("http://api.test/").unix_socket("/run/api.sock");
        let error = over.send().await.unwrap_err();
        let said = error.to_string();
        assert!(said.contains("has no unix sockets"), "{said}");
        assert_eq!(client.gauges().idle, 1);
        let again = client.get("http://api.test/").send().await.unwrap();
        assert!(again.is_reused());
    });
    run.expect();
}
