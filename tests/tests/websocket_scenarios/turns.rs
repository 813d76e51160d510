//! Handshakes wait for each other: RFC 6455 section 4.1, step 2.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use fulmar_sim::{Phase, Sim, StopReason};

use crate::server::URL;
use crate::support::{builder, join_all, ms};

/// Servers of which each takes a while for a handshake; how many of those are under way, and how many
/// were at most.
fn slow(sim: &Sim, addrs: &[&str]) -> Arc<Mutex<(usize, usize)>> {
    let now = Arc::new(Mutex::new((0, 0)));
    for addr in addrs {
        let counts = now.clone();
        sim.serve(addr, move |mut conn| {
            let counts = counts.clone();
            async move {
                let request = conn.request().await?.unwrap();
                {
                    let mut counts = counts.lock().unwrap();
                    counts.0 += 1;
                    counts.1 = counts.1.max(counts.0);
                }
                conn.sleep(ms(100)).await;
                counts.lock().unwrap().0 -= 1;
                conn.write_all(crate::server::switch(&request, "")).await?;
                while !conn.read(1024).await?.is_empty() {}
                Ok(())
            }
        });
    }
    now
}

/// RFC 6455 section 4.1, step 2: "even if the remote host is known by another name".
#[test]
fn handshakes_with_one_address_follow_each_other_whatever_its_names() {
    const ADDR: [IpAddr; 1] = [IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1))];
    for is_named in [true, false] {
        let mut sim = Sim::seeded(5);
        for host in ["api.test", "other.test"] {
            sim.host(host).addrs(ADDR);
        }
        let now = slow(&sim, &["api.test:80", "api.test:81"]);
        let mut client = builder(&sim);
        if is_named {
            client = client.resolve("api.test", ADDR).resolve("other.test", ADDR);
        }
        let client = client.build().unwrap();
        let run = sim.run(async move {
            let names = ["ws://api.test/", "ws://other.test/", "ws://10.9.0.1/"];
            // A name that was never looked up has no address yet.
            for name in names {
                client.websocket(name).connect().await.map(drop).unwrap();
            }
            let opening = names.iter().cycle().take(6);
            let opening = opening.map(|name| client.websocket(*name).connect());
            for opened in join_all(opening).await {
                opened.unwrap();
            }
            let most = now.lock().unwrap().1;
            let ports = ["ws://api.test/", "ws://api.test:81/"];
            join_all(ports.map(|url| client.websocket(url).connect())).await;
            (most, now.lock().unwrap().1)
        });
        assert_eq!(run.expect(), &(1, 2), "another port is another server");
    }
}

#[test]
fn handshakes_with_one_server_follow_each_other_unless_told_otherwise() {
    for (at_once, most) in [(1, 1), (3, 3)] {
        let mut sim = Sim::seeded(4);
        let now = slow(&sim, &["api.test:80"]);
        let client = builder(&sim).websocket_handshakes(at_once).build().unwrap();
        let run = sim.run(async move {
            let opening = (0..6).map(|_| client.websocket(URL).connect());
            for opened in join_all(opening).await {
                assert!(opened.is_ok());
            }
        });
        run.expect();
        assert_eq!(now.lock().unwrap().1, most);
    }
}

#[test]
fn who_waits_for_his_turn_to_shake_hands_waits_until_his_deadline() {
    let mut sim = Sim::seeded(4);
    sim.serve("api.test:80", |mut conn| async move {
        while conn.request().await?.is_some() {}
        Ok(())
    });
    let client = builder(&sim).build().unwrap();
    let run = sim.run(async move {
        let opening = [400, 200].map(|total| client.websocket(URL).timeout(ms(total)).connect());
        let mut ends = join_all(opening).await;
        let second = ends.pop().unwrap().unwrap_err();
        assert!(second.is_deadline(), "{second}");
        let told = (second.waiting_for(), second.retry_stop_reason());
        let expected = (Some(Phase::Pool), Some(StopReason::DeadlineExpired));
        assert_eq!(told, expected, "{second}");
        assert_eq!(second.tries(), 0);
    });
    run.expect();
}
