//! How a call comes to be in flight, where calls in flight are capped.

use std::sync::Arc;
use std::task::{Context, Poll};

use fulmar_core::fault::Phase;
use fulmar_core::time::Instant;

use super::{Live, Progress, Step};
use crate::in_flight;
use crate::request::Parts;
use crate::shared::Shared;

impl Live {
    /// Waits for its place among the calls in flight: as long as for a connection.
    #[cold]
    pub(super) fn enter(
        &mut self,
        shared: &Arc<Shared>,
        parts: &mut Parts,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Progress {
        let Some(pass) = &mut self.pass else {
            self.step = Step::Begin;
            return Poll::Ready(Ok(None));
        };
        if self.clocks.phase().is_none() {
            self.clocks.entered(now, Phase::Pool);
        }
        let bound = self.clocks.lower_bound(now).unwrap_or(Instant::MAX);
        let waker = cx.waker().clone();
        let registration = &mut self.registration;
        let (entered, _replaced) = shared.locked_and_driven(|state| {
            let (tag, replaced) = registration.register(state, waker, bound);
            (pass.enter(state, tag), replaced)
        });
        let error = match entered {
            in_flight::Progress::Inside => {
                self.call.handle_admitted(self.clocks.spent_by(now));
                pass.begin(now);
                self.step = Step::Begin;
                return Poll::Ready(Ok(None));
            }
            in_flight::Progress::Full => pass.refused(),
            in_flight::Progress::Queued => match self.clocks.expired(now) {
                Some(phase) => pass.too_late(phase),
                None => return self.wait(shared, parts, cx, now),
            },
        };
        self.step = Step::Over;
        self.end_with(error, parts)
    }
}
