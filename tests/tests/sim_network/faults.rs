//! Streams on a bad network.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use fulmar_core::fault::FaultKind;
use fulmar_sim::net::{Family, Net};
use fulmar_sim::{Failure, Fault};

use crate::support::{
    connect, connect_to, echoing, exchange, ms, pattern, read, read_up_to, write,
};

#[test]
fn a_reset_reaches_both_ends_of_existing_connections_and_those_that_begin() {
    let (mut sim, net) = echoing(1);
    sim.between(ms(50)..ms(200), Fault::reset("api.test"));
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        assert_eq!(
            read(&mut socket).await.unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
        assert_eq!(net.now().since_origin(), ms(50));
        assert!(!socket.is_quiet());
        let error = connect(&net, "api.test").await.err().unwrap();
        assert_eq!(
            (error.kind(), net.now().since_origin()),
            (ErrorKind::ConnectionReset, ms(71))
        );
        handle.sleep(ms(200)).await;
        let mut socket = connect(&net, "api.test").await.unwrap();
        exchange(&mut socket, b"again").await.unwrap()
    });
    assert_eq!(run.expect(), b"again");
    assert!(
        run.trace().contains("server gives up: connection reset"),
        "{}",
        run.trace()
    );
}

#[test]
fn a_refusal_leaves_existing_connections_alone() {
    let (mut sim, net) = echoing(1);
    sim.between(ms(30).., Fault::refuse("api.test:80"));
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        handle.sleep(ms(50)).await;
        let error = connect(&net, "api.test").await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        exchange(&mut socket, b"still here").await.unwrap()
    });
    assert_eq!(run.expect(), b"still here");
}

#[test]
fn who_has_no_descriptor_left_connects_again_once_another_connection_is_closed() {
    let (mut sim, net) = echoing(1);
    sim.between(ms(30).., Fault::descriptors("laptop", 1));
    let handle = sim.handle();
    let run = sim.run(async move {
        let to = net.resolve("api.test", Family::Any).await.unwrap();
        let to = SocketAddr::new(to.addrs[0], 80);
        let first = connect_to(&net, to).await.unwrap();
        let second = connect_to(&net, to).await.unwrap();
        handle.sleep(ms(50)).await;
        let begun = handle.now();
        let error = connect_to(&net, to).await.err().unwrap();
        assert_eq!(error.raw_os_error(), Some(24));
        drop(first);
        let error = connect_to(&net, to).await.err();
        assert!(error.is_some(), "one is open still");
        assert_eq!(handle.now(), begun, "it takes no round trip");
        drop(second);
        let mut third = connect_to(&net, to).await.unwrap();
        exchange(&mut third, b"again").await.unwrap()
    });
    assert_eq!(run.expect(), b"again");
}

#[test]
fn a_half_open_connection_takes_bytes_until_its_buffer_is_full_and_never_answers() {
    let (mut sim, net) = echoing(1);
    sim.between(ms(50)..ms(100), Fault::half_open("api.test"));
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        handle.sleep(ms(60)).await;
        assert!(socket.is_quiet(), "nobody is told");
        write(&mut socket, pattern(65_536)).await.unwrap();
        // The end of the fault brings nothing back.
        write(&mut socket, "x").await.unwrap();
    });
    assert_eq!(
        run.failure(),
        Some(&Failure::Deadlock(vec![
            "server of laptop>api.test:80#1".to_owned(),
        ]))
    );
    assert_eq!(run.open_sockets(), 0, "the future that held it was dropped");
}

#[test]
fn a_connection_begun_in_the_dark_is_made_when_the_light_is_back() {
    let (mut sim, net) = echoing(1);
    sim.between(ms(0)..ms(2000), Fault::half_open("api.test"));
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        // The SYN is sent at 1 ms, 1001 ms, and 3001 ms.
        assert_eq!(net.now().since_origin(), ms(3021));
        exchange(&mut socket, b"light").await.unwrap()
    });
    assert_eq!(run.expect(), b"light");
}

#[test]
fn a_connect_into_the_void_gives_up_after_two_minutes() {
    let (mut sim, net) = echoing(1);
    sim.between(.., Fault::partition("10.0.0.1"));
    let run = sim.run(async move { connect(&net, "api.test").await.err().unwrap().kind() });
    assert_eq!(run.expect(), &ErrorKind::TimedOut);
    assert_eq!(run.elapsed(), ms(127_001));
}

#[test]
fn a_partition_delays_bytes_and_loses_none() {
    let (mut sim, net) = echoing(1);
    sim.between(ms(50)..ms(1000), Fault::partition("laptop"));
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        handle.sleep(ms(79)).await;
        // Sent at 100 ms, 300, 700 and 1500.
        let echo = exchange(&mut socket, b"patience").await.unwrap();
        (echo, net.now().since_origin())
    });
    assert_eq!(run.into_output(), (b"patience".to_vec(), ms(1520)));
}

#[test]
fn a_partition_without_end_fails_the_writer_in_the_end() {
    let (mut sim, net) = echoing(1);
    sim.between(ms(50).., Fault::partition("laptop"));
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        handle.sleep(ms(79)).await;
        exchange(&mut socket, b"patience").await.unwrap_err().kind()
    });
    assert_eq!(run.expect(), &ErrorKind::TimedOut);
    assert!(
        run.elapsed() > Duration::from_secs(600),
        "{:?}",
        run.elapsed()
    );
}

#[test]
fn a_slow_stream_trickles_and_recovers_its_speed() {
    let (mut sim, net) = echoing(1);
    sim.between(ms(0)..ms(1000), Fault::slow("api.test", 1000));
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        write(&mut socket, pattern(60_000)).await.unwrap();
        let first = read(&mut socket).await.unwrap();
        assert_eq!(first.len(), 50, "a twentieth of a second's worth");
        let rest = read_up_to(&mut socket, 60_000 - first.len()).await.unwrap();
        [&first[..], &rest].concat()
    });
    assert_eq!(run.expect()[..], pattern(60_000)[..]);
    assert!(
        run.elapsed() > ms(1000) && run.elapsed() < ms(1200),
        "{:?}",
        run.elapsed()
    );
}

#[test]
fn a_segmented_stream_gives_no_more_than_a_piece_per_read() {
    let (mut sim, net) = echoing(1);
    sim.between(.., Fault::segment("api.test", 1));
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        write(&mut socket, "abc").await.unwrap();
        handle.sleep(ms(100)).await;
        for piece in ["a", "b", "c"] {
            assert_eq!(read(&mut socket).await.unwrap(), piece);
        }
    });
    run.expect();
}

#[test]
fn corruption_flips_a_bit_of_each_piece() {
    let (mut sim, net) = echoing(1);
    sim.between(.., Fault::corrupt("api.test"));
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        exchange(&mut socket, &[0; 64]).await.unwrap()
    });
    let ones: u32 = run.expect().iter().map(|byte| byte.count_ones()).sum();
    assert_eq!(ones, 2, "one there and one back");
}

#[test]
fn the_resolver_fails_or_falls_silent_for_a_name() {
    let (mut sim, net) = echoing(1);
    sim.between(..ms(10), Fault::dns_error("api.test"));
    sim.between(ms(20)..ms(30), Fault::dns_silent("api.test"));
    let handle = sim.handle();
    let run = sim.run(async move {
        let fault = net.resolve("api.test", Family::Any).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::NameFailed);
        handle.sleep(ms(10)).await;
        net.resolve("api.test", Family::Any).await.unwrap();
        handle.sleep(ms(10)).await;
        net.resolve("api.test", Family::Any).await
    });
    assert!(matches!(run.failure(), Some(Failure::Deadlock(_))));
}

#[test]
fn a_fault_of_one_address_spares_the_others() {
    let (mut sim, net) = echoing(1);
    let addrs: [std::net::IpAddr; 2] = ["fd00::1".parse().unwrap(), "10.1.0.1".parse().unwrap()];
    sim.host("api.test").addrs(addrs);
    sim.between(.., Fault::refuse("fd00::1"));
    let run = sim.run(async move {
        let error = connect(&net, "api.test").await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let addr = "10.1.0.1:80".parse().unwrap();
        let mut socket = crate::support::connect_to(&net, addr).await.unwrap();
        exchange(&mut socket, b"four").await.unwrap()
    });
    assert_eq!(run.expect(), b"four");
}

#[test]
fn a_fault_can_be_decided_while_the_simulation_runs() {
    let (mut sim, net) = echoing(1);
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        exchange(&mut socket, b"hello").await.unwrap();
        let now = handle.now().since_origin();
        handle.between(now..now + ms(1), Fault::reset("laptop"));
        read(&mut socket).await.unwrap_err().kind()
    });
    assert_eq!(run.into_output(), ErrorKind::ConnectionReset);
}
