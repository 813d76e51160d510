//! A resolver with its faults.

use fulmar_core::fault::FaultKind;
use fulmar_sim::net::{Family, Net};
use fulmar_sim::{Fault, Sim};

use crate::support::{connect, echo, echoing, exchange, ms};

#[test]
fn a_name_can_be_missing_for_a_while() {
    let (mut sim, net) = echoing(1);
    sim.between(..ms(10), Fault::dns_missing("API.test"));
    let handle = sim.handle();
    let run = sim.run(async move {
        let fault = net.resolve("api.test", Family::Any).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::NameNotFound);
        handle.sleep(ms(10)).await;
        net.resolve("api.test", Family::Any).await.unwrap();
    });
    run.expect();
}

#[test]
fn a_slow_resolver_answers_so_much_later() {
    let (mut sim, net) = echoing(1);
    sim.between(..ms(10), Fault::dns_slow("api.test", ms(2500)));
    let run = sim.run(async move {
        net.resolve("api.test.", Family::Any).await.unwrap();
        let first = net.now().since_origin();
        net.resolve("api.test", Family::Any).await.unwrap();
        (first, net.now().since_origin())
    });
    assert_eq!(run.into_output(), (ms(2501), ms(2502)));
}

#[test]
fn a_name_moves_to_another_host_and_back() {
    let mut sim = Sim::seeded(1);
    for host in ["api.test", "backup.test"] {
        sim.serve(&format!("{host}:80"), move |mut conn| async move {
            conn.read(1).await?;
            conn.write_all(&host[..1]).await
        });
    }
    sim.between(
        ms(100)..ms(200),
        Fault::dns_changed("api.test", "backup.test"),
    );
    let (net, handle) = (sim.net("laptop"), sim.handle());
    let run = sim.run(async move {
        let mut answers = Vec::new();
        for _ in 0..3 {
            let mut socket = connect(&net, "api.test").await.unwrap();
            answers.extend(exchange(&mut socket, b"?").await.unwrap());
            handle.sleep(ms(95)).await;
        }
        answers
    });
    assert_eq!(run.expect(), b"aba");
}

#[test]
fn a_name_can_point_to_an_address_where_nobody_is() {
    let mut sim = Sim::seeded(1);
    sim.serve("api.test:80", echo);
    sim.between(.., Fault::dns_changed("api.test", "192.0.2.1"));
    let net = sim.net("laptop");
    let run = sim.run(async move { connect(&net, "api.test").await.err().unwrap().kind() });
    assert_eq!(run.expect(), &std::io::ErrorKind::HostUnreachable);
}
