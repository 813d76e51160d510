//! Colours, for terminals that want them.

use std::fmt::Display;

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ink {
    /// A heading.
    Title,
    /// Of less interest.
    Dim,
    /// A look-up of a name.
    Lookup,
    /// Connecting.
    Connect,
    /// Waiting for an answer.
    Wait,
    /// Receiving.
    Body,
    /// A success.
    Good,
    /// A failure, or a fault.
    Bad,
}

/// Whether to colour at all.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    is_on: bool,
}

impl Paint {
    /// No colours.
    pub const fn plain() -> Self {
        Self { is_on: false }
    }

    /// ANSI colours, for a terminal.
    pub const fn ansi() -> Self {
        Self { is_on: true }
    }

    /// The text in its colour. Padding has to be there already: the escapes have no width.
    pub fn text(self, ink: Ink, text: impl Display) -> String {
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
