//! Links and faults that only make what passes worse.

use fulmar_sim::Fault;

use crate::support::{connect, echoing, exchange, ms, read, write};

#[test]
fn jitter_spreads_packets_between_the_latency_and_so_much_more() {
    let (mut sim, net) = echoing(3);
    sim.link("laptop", "api.test")
        .latency(ms(10))
        .jitter(ms(40));
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        let mut times = Vec::new();
        for _ in 0..50 {
            let start = net_now(&net);
            exchange(&mut socket, b"x").await.unwrap();
            times.push(net_now(&net) - start);
        }
        times
    });
    let times = run.expect();
    assert!(times.iter().all(|time| (20..=100).contains(time)));
    assert!(times.iter().any(|time| *time < 40) && times.iter().any(|time| *time > 80));
}

fn net_now(net: &fulmar_sim::SimNet) -> u128 {
    use fulmar_sim::net::Net;
    net.now().since_origin().as_millis()
}

#[test]
fn a_link_can_cut_everything_into_pieces() {
    let (mut sim, net) = echoing(1);
    sim.link("laptop", "api.test").segment(2);
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        write(&mut socket, "abcde").await.unwrap();
        handle.sleep(ms(100)).await;
        for piece in ["ab", "cd", "e"] {
            assert_eq!(read(&mut socket).await.unwrap(), piece);
        }
    });
    run.expect();
}

#[test]
fn a_delay_lasts_as_long_as_its_fault() {
    let (mut sim, net) = echoing(1);
    sim.between(ms(100)..ms(200), Fault::delay("api.test", ms(50)));
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        let mut times = Vec::new();
        for at in [50, 100, 300] {
            handle
                .sleep_until(fulmar_sim::Instant::ORIGIN + ms(at))
                .await;
            let start = net_now(&net);
            exchange(&mut socket, b"x").await.unwrap();
            times.push(net_now(&net) - start);
        }
        times
    });
    assert_eq!(run.expect(), &[20, 120, 20]);
}

#[test]
fn loss_delays_bytes_while_it_lasts_and_loses_none() {
    let (mut sim, net) = echoing(1);
    sim.between(ms(100)..ms(900), Fault::loss("api.test", 100));
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        handle
            .sleep_until(fulmar_sim::Instant::ORIGIN + ms(100))
            .await;
        // Sent at 100 ms, 300, 700 and 1500.
        exchange(&mut socket, b"patience").await.unwrap();
        net_now(&net)
    });
    assert_eq!(run.into_output(), 1520);
}
