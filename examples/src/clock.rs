//! Waiting, on whichever network a story is told.

use std::sync::Arc;
use std::time::Duration;

use fulmar::net::Net;

/// A network's clock: the system's on tokio, virtual in the simulator.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Net>);

impl Clock {
    pub(crate) fn of(net: impl Net) -> Self {
        Self(Arc::new(net))
    }

    pub(crate) async fn sleep(&self, duration: Duration) {
        self.0.sleep(self.0.now() + duration).await;
    }
}
