//! Printing, in colours for terminals that want them.

use std::io::{self, IsTerminal, Write};

use fulmar::timeline::Paint;

/// Colours if the output is a terminal and `NO_COLOR` is unset or empty.
pub(crate) fn for_stdout() -> Paint {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if !refused && io::stdout().is_terminal() {
        Paint::ansi()
    } else {
        Paint::plain()
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
