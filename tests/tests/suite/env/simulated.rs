//! The simulator as one more runtime.

use std::sync::{Arc, Mutex};

use fulmar_sim::{Fault, Sim};

use super::peer::{Pipe, Service};
use super::{Behaviour, Env, Network, checked};

/// Hosts that a behaviour may serve at.
const HOSTS: usize = 32;

pub(crate) fn in_the_simulator(behaviour: Behaviour) {
    let mut sim = Sim::seeded(1);
    sim.host("closed.test");
    sim.host("hole.test");
    sim.between(.., Fault::half_open("hole.test"));
    let network = Hosts::default();
    for index in 0..HOSTS {
        let services = Arc::clone(&network.services);
        sim.serve(&format!("s{index}.test:80"), move |conn| {
            let serving = services.lock().unwrap()[index](Pipe::Simulated(conn));
            async move {
                serving.await;
                Ok(())
            }
        });
    }
    let net = sim.net("laptop");
    let run = sim.run(checked(Env::new(move || net.clone(), network), behaviour));
    run.expect();
    assert_eq!(run.leaks(), [""; 0]);
}

/// Hosts with a name and a port each; who serves them is known when a behaviour says so.
#[derive(Default)]
struct Hosts {
    services: Arc<Mutex<Vec<Arc<Service>>>>,
}

impl Network for Hosts {
    fn serve(&self, service: Arc<Service>) -> String {
        let mut services = self.services.lock().unwrap();
        services.push(service);
        assert!(services.len() <= HOSTS);
        format!("http://s{}.test", services.len() - 1)
    }

    fn refused(&self) -> (String, Box<dyn Send>) {
        ("http://closed.test".into(), Box::new(()))
    }

    fn black_hole(&self) -> (String, Box<dyn Send>) {
        ("http://hole.test".into(), Box::new(()))
    }
}
