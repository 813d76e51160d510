//! What an error says.

use std::error::Error as StdError;
use std::fmt;

use super::{Cause, Error};

impl Error {
    /// The leaf cause alone.
    pub(crate) fn leaf(&self) -> String {
        match &self.0.cause {
            Cause::None => self.0.kind.as_str().to_owned(),
            Cause::Text(text) => text.to_string(),
            Cause::Slow(rate) => too_slow(*rate),
            Cause::Fault(fault) => fault.to_string(),
            Cause::Protocol(error) => error.to_string(),
            Cause::Other(error) => error.to_string(),
        }
    }
}

fn too_slow(rate: u64) -> String {
    format!("too slow, {rate} bytes/s")
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = &*self.0;
        f.write_str(detail.kind.as_str())?;
        if let Some(phase) = detail.phase {
            write!(f, " in phase {phase}")?;
        }
        // Of a limit on more than a phase, what was waited for when it passed.
        if let Some(phase) = detail.during.filter(|_| detail.phase != detail.during) {
            write!(f, " ({phase})")?;
        }
        match &detail.cause {
            Cause::None => {}
            Cause::Text(text) => write!(f, ": {text}")?,
            Cause::Slow(rate) => write!(f, ": {}", too_slow(*rate))?,
            Cause::Fault(fault) => write!(f, ": {fault}")?,
            Cause::Protocol(error) => write!(f, ": {error}")?,
            Cause::Other(error) => write!(f, ": {error}")?,
        }
        if detail.phase.is_some() {
            write!(f, "; request {}", detail.fate)?;
        }
        match (detail.stop, detail.tried) {
            (Some(stop), 2..) => write!(f, " after {} attempts ({stop})", detail.tried)?,
            // What ended it is worth a word only where it could have gone on.
            (Some(stop), 1) if stop.is_exhausted() => write!(f, " after 1 attempt ({stop})")?,
            _ => {}
        }
        if let Some(url) = &detail.url {
            write!(f, " [{url}]")?;
        }
        if f.alternate() {
            for attempt in &detail.attempts {
                write!(f, "\n  {attempt}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("phase", &self.0.phase)
            .field("fate", &self.0.fate)
            .field("message", &format_args!("{self}"))
            .field("attempts", &self.0.attempts)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.cause {
            Cause::None | Cause::Text(_) | Cause::Slow(_) => None,
            Cause::Fault(fault) => Some(fault),
            Cause::Protocol(error) => Some(error),
            Cause::Other(error) => Some(&**error),
        }
    }
}
