//! Colours, for terminals that want them.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    Title,
    Dim,
    Lookup,
    Connect,
    Wait,
    Body,
    Good,
    Bad,
}

/// Whether to colour at all.
#[derive(Clone, Copy)]
pub(crate) struct Paint {
    is_on: bool,
}

impl Paint {
    /// Colours if the output is a terminal and `NO_COLOR` is unset or empty.
    pub(crate) fn for_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            is_on: !refused && io::stdout().is_terminal(),
        }
    }

    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self { is_on: false }
    }

    /// The text in its colour. Padding has to be there already: the escapes have no width.
    pub(crate) fn text(self, ink: Ink, text: impl Display) -> String {
        if !self.is_on {
            return text.to_string();
        }
        let code = match ink {
            Ink::Title => "1",
            Ink::Dim => "2",
            Ink::Lookup => "35",
            Ink::Connect => "33",
            Ink::Wait => "34",
            Ink::Body | Ink::Good => "32",
            Ink::Bad => "31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// Prints at once. Where nobody reads any more (`tour | head`), the tour is over.
pub(crate) fn say(text: &str) {
    let mut out = io::stdout().lock();
    if out
        .write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .is_err()
    {
        std::process::exit(0);
    }
}
