//! What connections taught about addresses, as later dials show it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fulmar_sim::{Conn, Fault, Sim};

use super::support::{TlsConn, builder, ms, secure, text};

const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1));
const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2));
const BOTH: [IpAddr; 2] = [FIRST, SECOND];

const CLOSING: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

/// A host of each address, with that port; how many connections the first has had. Both close each
/// connection after its response, so that each request dials.
fn two(sim: &Sim, port: u16, breaks: bool) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    for (host, addr) in [("first.test", FIRST), ("second.test", SECOND)] {
        sim.host(host).addrs([addr]);
        let (count, is_first) = (count.clone(), addr == FIRST);
        sim.serve(&format!("{host}:{port}"), move |conn| {
            count.fetch_add(usize::from(is_first), Ordering::Relaxed);
            let breaks = is_first && breaks;
            async move {
                match port {
                    443 => serve_secure(conn, breaks).await,
                    _ => serve(conn, breaks).await,
                }
            }
        });
    }
    count
}

/// Closes instead of a response, or after it.
async fn serve(mut conn: Conn, breaks: bool) -> std::io::Result<()> {
    conn.request().await?;
    if breaks {
        return Ok(());
    }
    conn.write_all(CLOSING).await
}

/// Closes instead of a handshake, or after a response.
async fn serve_secure(mut conn: Conn, breaks: bool) -> std::io::Result<()> {
    if breaks {
        conn.read(100).await?;
        return Ok(());
    }
    let mut tls = TlsConn::new(conn, "api.test");
    tls.request().await?;
    tls.write(CLOSING.as_bytes()).await
}

#[test]
fn an_address_whose_handshake_broke_goes_last_at_the_next_dial() {
    let mut sim = Sim::seeded(1);
    let first = two(&sim, 443, true);
    let client = secure(&sim).resolve("api.test", BOTH).build().unwrap();
    let run = sim.run(async move {
        for _ in 0..3 {
            assert_eq!(text(&client, "https://api.test/").await.unwrap(), "ok");
        }
    });
    run.expect();
    assert_eq!(first.load(Ordering::Relaxed), 1);
}

#[test]
fn an_address_that_closes_instead_of_its_first_response_goes_last_at_the_next_dial() {
    let mut sim = Sim::seeded(1);
    let first = two(&sim, 80, true);
    let client = builder(&sim).resolve("api.test", BOTH).build().unwrap();
    let run = sim.run(async move {
        // The call's own next attempt dials elsewhere already.
        let response = client.get("http://api.test/").send().await.unwrap();
        assert_eq!(response.attempts(), 2);
        assert_eq!(text(&client, "http://api.test/").await.unwrap(), "ok");
    });
    run.expect();
    assert_eq!(first.load(Ordering::Relaxed), 1);
}

#[test]
fn of_two_named_addresses_a_dead_one_costs_a_quarter_of_a_second_once() {
    let mut sim = Sim::seeded(1);
    two(&sim, 80, false);
    sim.between(.., Fault::half_open("10.9.0.1"));
    let client = builder(&sim).resolve("api.test", BOTH);
    let client = client.build().unwrap();
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut took = Vec::new();
        for _ in 0..3 {
            let begun = handle.now();
            text(&client, "http://api.test/").await.unwrap();
            took.push(handle.now() - begun);
        }
        took
    });
    assert_eq!(*run.expect(), [ms(250 + 2 + 2), ms(2 + 2), ms(2 + 2)]);
}

#[test]
fn of_two_networks_the_nearer_goes_first_even_on_another_port() {
    let mut sim = Sim::seeded(1);
    let near = IpAddr::V4(Ipv4Addr::new(10, 8, 0, 1));
    sim.host("near.test").addrs([near]);
    sim.host("far.test").addrs([FIRST]);
    sim.link("laptop", "far.test").latency(ms(40));
    for addr in ["near.test:80", "near.test:81", "far.test:80", "far.test:81"] {
        sim.serve(addr, move |mut conn| async move {
            while conn.request().await?.is_some() {
                conn.respond(200, addr).await?;
            }
            Ok(())
        });
    }
    let client = builder(&sim).resolve("api.test", [FIRST, near]);
    let client = client.build().unwrap();
    let run = sim.run(async move {
        for url in ["http://near.test/", "http://far.test/"] {
            text(&client, url).await.unwrap();
        }
        text(&client, "http://api.test:81/").await.unwrap()
    });
    assert_eq!(run.expect(), "near.test:81");
}
