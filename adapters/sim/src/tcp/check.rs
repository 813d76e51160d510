//! What must hold of connections at any time.

use super::Tcp;
use crate::world::State;

impl State {
    /// Looks for something that does not hold.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        if let Some(at) = self.queue.next_at().filter(|at| *at < self.now) {
            return Err(format!("an event at {at} ns, now is {} ns", self.now));
        }
        self.check_alarms()?;
        for conn in self.conns.values() {
            let name = || self.trace.actor(conn.actor);
            conn.check(self.wires.get(conn.wire).map_or(0, |wire| wire.widest))
                .map_err(|what| format!("{}: {what}", name()))?;
        }
        Ok(())
    }
}

impl Tcp {
    fn check(&self, window: usize) -> Result<(), String> {
        if self.ends.iter().all(|end| end.is_closed) {
            return Err("closed by both ends and kept".to_owned());
        }
        for flow in &self.flows {
            let arrived: usize = flow.inbox.iter().map(|segment| segment.data.len()).sum();
            let due: usize = flow.credits.iter().map(|(_, n)| n).sum();
            if arrived + due > flow.taken {
                return Err(format!(
                    "{arrived} bytes to read and {due} read, of {} that were written",
                    flow.taken
                ));
            }
            if flow.taken > window {
                return Err(format!("{} bytes in a window of {window}", flow.taken));
            }
        }
        Ok(())
    }
}
