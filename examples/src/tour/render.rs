//! A call as a block of text that is understood at a glance.

use std::fmt::Write;
use std::time::Duration;

use fulmar::Error;
use fulmar::timeline::{Call, Ink, Paint, time_text};

use super::story::{Fetched, Told};
use crate::units;

/// Columns of the whole picture.
pub(crate) const WIDTH: usize = 104;

/// One call: a title, a row for each attempt and each rest, the time, and the end.
pub(crate) fn block(number: usize, told: &Told, paint: Paint) -> String {
    let call = Call::of(&told.records);
    let (title, end) = (title(number, told, paint), ending(told, call.length, paint));
    title + &call.text(paint) + &end
}

fn title(number: usize, told: &Told, paint: Paint) -> String {
    let name = format!("{number:>2}  {}", told.title);
    let request = shorten(
        &told.request,
        WIDTH.saturating_sub(name.chars().count() + 3).max(30),
    );
    let gap = WIDTH.saturating_sub(name.chars().count() + request.chars().count());
    let (name, request) = (paint.text(Ink::Title, name), paint.text(Ink::Dim, request));
    format!("{name}{:gap$}{request}\n", "")
}

fn ending(told: &Told, took: Duration, paint: Paint) -> String {
    match &told.end {
        Ok(fetched) => {
            let said = format!("{}, {}", shown(fetched), took_text(fetched, took));
            let is_success = fetched.is_good && fetched.status.is_success();
            let (mark, ink) = if is_success {
                ("✓", Ink::Good)
            } else {
                ("✗", Ink::Bad)
            };
            format!("    {} {}\n", paint.text(ink, mark), paint.text(ink, said))
        }
        Err(error) => failure(error, paint),
    }
}

fn took_text(fetched: &Fetched, took: Duration) -> String {
    let size = units::size(fetched.bytes);
    let rate = if fetched.bytes > 1 << 20 {
        format!(" ({})", units::rate(fetched.bytes, took))
    } else {
        String::new()
    };
    format!("{size} in {}{rate}", time_text(took))
}

fn shown(fetched: &Fetched) -> String {
    let damaged = if fetched.is_good { "" } else { ", damaged" };
    format!("{}{damaged}", fetched.status)
}

/// An error in its own words, wrapped: what it was, and each attempt on a line of its own.
fn failure(error: &Error, paint: Paint) -> String {
    let text = format!("failed: {error:#}");
    let mut out = String::new();
    for (index, said) in text.lines().enumerate() {
        let said_alone = said.trim_start();
        let indent = said.len() - said_alone.len();
        let width = WIDTH - 6 - indent;
        for (part_index, part) in wrap(said_alone, width).iter().enumerate() {
            let is_first = index == 0 && part_index == 0;
            let mark = if is_first { "✗" } else { " " };
            let ink = if index == 0 { Ink::Bad } else { Ink::Dim };
            let (mark, part) = (paint.text(Ink::Bad, mark), paint.text(ink, part));
            line(&mut out, &format!("    {mark} {:indent$}{part}", ""));
        }
    }
    out
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines
            .last_mut()
            .filter(|last| last.is_empty() || last.chars().count() + word.chars().count() < width);
        match last {
            Some(last) if last.is_empty() => last.push_str(word),
            Some(last) => {
                let _ = write!(last, " {word}");
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// At most so many characters of a text.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}
