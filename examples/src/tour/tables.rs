//! The tables at the end: what happened, and whether it happened twice alike.

use std::fmt::Write;
use std::time::Duration;

use fulmar::timeline::{Call, Ink, Paint, time_text};

use super::gist::Gist;
use super::render::shorten;
use super::story::Told;

/// A line for each call.
pub(crate) fn summary(all: &[Told], paint: Paint) -> String {
    let head = format!(
        "{:>2}  {:<44} {:>7} {:>11} {:>9}  {}",
        "", "", "tries", "connections", "time", "end"
    );
    let mut out = paint.text(Ink::Dim, head) + "\n";
    for (index, told) in all.iter().enumerate() {
        let (gist, took) = (Gist::of(told), took(told));
        let _ = writeln!(
            out,
            "{:>2}  {:<44} {:>7} {:>11} {:>9}  {}",
            index + 1,
            shorten(&told.request, 44),
            gist.tries.len(),
            connections(&gist),
            time_text(took),
            gist.end
        );
    }
    out
}

fn connections(gist: &Gist) -> &'static str {
    match (
        gist.opened(),
        gist.tries.iter().any(|t| t.is_reused == Some(true)),
    ) {
        (0, false) => "none",
        (0, true) => "reused",
        (_, true) => "both",
        (_, false) => "new",
    }
}

/// Both tellings beside each other. True where they agree.
pub(crate) fn comparison(real: &[Told], simulated: &[Told], paint: Paint) -> (String, bool) {
    let head = row(["", "", "how it ended", "tries", "loopback", "simulator"]);
    let mut out = paint.text(Ink::Dim, head) + "\n";
    let mut is_same = real.len() == simulated.len();
    for (index, (real, simulated)) in real.iter().zip(simulated).enumerate() {
        let (left, right) = (Gist::of(real), Gist::of(simulated));
        is_same &= left == right;
        let cells = row([
            &(index + 1).to_string(),
            &real.title,
            &left.end.to_string(),
            &left.tries.len().to_string(),
            &time_text(took(real)),
            &time_text(took(simulated)),
        ]);
        let mark = if left == right {
            paint.text(Ink::Good, "=")
        } else {
            paint.text(Ink::Bad, "≠")
        };
        let _ = writeln!(out, "{cells}  {mark}");
        if left != right {
            let _ = writeln!(out, "      loopback:  {left}\n      simulator: {right}");
        }
    }
    (out, is_same)
}

fn row([number, title, end, tries, real, simulated]: [&str; 6]) -> String {
    format!("{number:>2}  {title:<35} {end:<38} {tries:>5} {real:>8} {simulated:>9}")
}

/// From the start of a call to the end of its body.
fn took(told: &Told) -> Duration {
    Call::of(&told.records).length
}
