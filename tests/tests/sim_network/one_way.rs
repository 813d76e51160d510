//! Partitions that let packets pass one way.

use std::io::ErrorKind;

use fulmar_sim::Fault;

use crate::support::{connect, echoing, ms, read, write};

#[test]
fn what_a_cut_off_host_sends_is_late_and_what_is_sent_to_it_is_not() {
    let (mut sim, net) = echoing(1);
    sim.between(ms(50)..ms(1000), Fault::partition_from("api.test"));
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        handle.sleep(ms(79)).await;
        write(&mut socket, "x").await.unwrap();
        read(&mut socket).await.unwrap();
    });
    run.expect();
    // The echo is sent at 110 ms, 310, 710 and 1510.
    assert_eq!(run.elapsed(), ms(1520));
    let arrived = "0.110000000s 000006 laptop>api.test:80#1 server gets 1 bytes";
    assert!(run.trace().contains(arrived), "{}", run.trace());
}

#[test]
fn what_is_sent_to_a_cut_off_host_is_late_and_what_it_sends_is_not() {
    let (mut sim, net) = echoing(1);
    sim.between(ms(50)..ms(1000), Fault::partition_to("api.test:80"));
    let handle = sim.handle();
    let run = sim.run(async move {
        let mut socket = connect(&net, "api.test").await.unwrap();
        handle.sleep(ms(79)).await;
        // Sent at 100 ms, 300, 700 and 1500.
        write(&mut socket, "x").await.unwrap();
        read(&mut socket).await.unwrap();
    });
    run.expect();
    assert_eq!(run.elapsed(), ms(1520));
    let arrived = "1.510000000s 000007 laptop>api.test:80#1 server gets 1 bytes";
    assert!(run.trace().contains(arrived), "{}", run.trace());
}

#[test]
fn a_server_that_cannot_answer_accepts_and_its_client_gives_up() {
    let (mut sim, net) = echoing(1);
    sim.between(.., Fault::partition_from("api.test"));
    let run = sim.run(async move { connect(&net, "api.test").await.err().unwrap().kind() });
    assert_eq!(run.expect(), &ErrorKind::TimedOut);
    assert!(run.trace().contains("is accepted"), "{}", run.trace());
}
