//! `io::Error` becomes a `Fault`, here and nowhere else.

use std::io;

use fulmar_core::fault::{Fault, FaultKind, Phase};

/// What an `io::Error` means, in the phase in which it happened.
pub(crate) fn fault_of(error: &io::Error, phase: Phase) -> Fault {
    let mut fault = Fault::new(kind_of(error), phase);
    fault.code = error.raw_os_error();
    if fault.kind == FaultKind::Other || error.kind() == io::ErrorKind::Unsupported {
        fault = fault.with_detail(error.to_string());
        // The text has the number already.
        fault.code = None;
    }
    fault
}

fn kind_of(error: &io::Error) -> FaultKind {
    use io::ErrorKind as K;
    match error.kind() {
        // A unix socket's path that is not there is one where nobody listens.
        K::ConnectionRefused | K::NotFound => FaultKind::Refused,
        K::ConnectionReset => FaultKind::Reset,
        K::ConnectionAborted => FaultKind::Aborted,
        K::BrokenPipe | K::WriteZero => FaultKind::BrokenPipe,
        K::UnexpectedEof => FaultKind::Eof,
        K::TimedOut => FaultKind::TimedOut,
        K::HostUnreachable | K::NetworkUnreachable | K::NetworkDown => FaultKind::Unreachable,
        K::AddrNotAvailable => FaultKind::AddressExhausted,
        K::PermissionDenied => FaultKind::Forbidden,
        K::InvalidInput | K::Unsupported => FaultKind::InvalidAddress,
        K::NotConnected => FaultKind::RuntimeGone,
        K::OutOfMemory => FaultKind::OutOfDescriptors,
        _ => kind_of_code(error.raw_os_error()),
    }
}

/// Those that have no `ErrorKind`. The numbers are the system's own.
fn kind_of_code(code: Option<i32>) -> FaultKind {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = if cfg!(target_os = "linux") { 105 } else { 55 };
    const WSAEMFILE: i32 = 10024;
    const WSAENOBUFS: i32 = 10055;
    match code {
        Some(ENFILE | EMFILE | ENOBUFS | WSAEMFILE | WSAENOBUFS) => FaultKind::OutOfDescriptors,
        _ => FaultKind::Other,
    }
}
