//! What a client tells about itself.

use fulmar_core::trace::Record;

/// Receives a client's events as plain data, one by one, in order.
///
/// It is called from the code that drives the call, never under a lock and never from inside a
/// machine: it may use the client. It must not block: hand heavy work to a queue of your own. A panic
/// unwinds through the call, the drop or the task that drives, and leaves nothing behind.
pub trait Observer: Send + Sync + 'static {
    /// Something happened.
    fn event(&self, record: &Record);
}

impl<F: Fn(&Record) + Send + Sync + 'static> Observer for F {
    fn event(&self, record: &Record) {
        self(record);
    }
}
