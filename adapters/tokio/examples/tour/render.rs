//! A call as a block of text that is understood at a glance.

use std::fmt::Write;
use std::time::Duration;

use fulmar_tokio::Error;

use crate::bar;
use crate::paint::{Ink, Paint};
use crate::story::{Fetched, Told};
use crate::timeline::{Attempt, Rest, Row, Stage, Timeline};
use crate::units;

/// Columns of the whole picture.
pub(crate) const WIDTH: usize = 104;
/// Columns before a bar: indentation, the number of the try, the connection.
const LABEL: usize = 37;
/// Columns of what a failure says beside its bar.
const REMARK: usize = 46;

/// What the characters mean, in one line.
pub(crate) fn legend(paint: Paint) -> String {
    let marks = bar::LEGEND.map(|(mark, ink, what)| format!("{} {what}", paint.text(ink, mark)));
    format!("    {}\n", marks.join("   "))
}

/// One call: a title, a row for each attempt and each rest, the time, and the end.
pub(crate) fn block(number: usize, told: &Told, paint: Paint) -> String {
    let timeline = Timeline::of(&told.records);
    let mut out = title(number, told, paint);
    let mut tries = 0;
    for row in &timeline.rows {
        match row {
            Row::Attempt(attempt) => {
                tries += 1;
                attempt_row(&mut out, tries, attempt, timeline.length, paint);
            }
            Row::Rest(rest) => rest_row(&mut out, rest, timeline.length, paint),
        }
    }
    if !timeline.rows.is_empty() {
        let axis = bar::axis(timeline.length);
        line(
            &mut out,
            &format!("{:LABEL$}{}", "", paint.text(Ink::Dim, axis)),
        );
    }
    out + &ending(told, timeline.length, paint)
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

fn attempt_row(out: &mut String, try_: u32, attempt: &Attempt, length: Duration, paint: Paint) {
    for connection in &attempt.found_closed {
        let said = format!("    #{connection} was found closed by the server");
        line(out, &paint.text(Ink::Dim, said));
    }
    let label = format!("    try {try_}  {}", link(attempt));
    let bar = bar::attempt(&attempt.spans, length, attempt.failure.is_some(), paint);
    line(
        out,
        &format!("{label:LABEL$}{bar}  {}", remark(attempt, paint)),
    );
}

fn link(attempt: &Attempt) -> String {
    match attempt.link {
        Some(link) => match link.idle_for {
            Some(idle) => format!("#{} reused, idle {}", link.number, units::time(idle)),
            None => format!("#{} new", link.number),
        },
        None => "no connection".to_owned(),
    }
}

/// What is to be said beside an attempt: what came of it, and where its time went.
fn remark(attempt: &Attempt, paint: Paint) -> String {
    let status = attempt.status.map(|status| status.to_string());
    let timings = paint.text(Ink::Dim, timings(attempt));
    match (&attempt.failure, status) {
        (Some((phase, cause)), None) => {
            paint.text(Ink::Bad, shorten(&format!("{phase}: {cause}"), REMARK))
        }
        (Some((phase, cause)), Some(status)) => {
            let failure = format!("{status}, then {phase}: {cause}");
            paint.text(Ink::Bad, shorten(&failure, REMARK))
        }
        (None, Some(status)) => format!("{status}  {timings}"),
        (None, None) => timings,
    }
}

/// The stages that took a share worth naming, the two longest at most.
fn timings(attempt: &Attempt) -> String {
    let whole = attempt.spent(&Stage::ALL);
    let named = [
        (&[Stage::Ask, Stage::Queue][..], "queue"),
        (&[Stage::Lookup], "look-up"),
        (&[Stage::Connect], "connect"),
        (&[Stage::Send, Stage::FirstByte], "answer"),
        (&[Stage::Body], "body"),
    ];
    let mut shares = named.map(|(stages, name)| (attempt.spent(stages), name));
    let order = shares;
    shares.sort_by_key(|(spent, _)| std::cmp::Reverse(*spent));
    let least = shares[1].0.max(whole / 10);
    let worth = order.iter().filter(|(spent, _)| *spent >= least);
    let texts: Vec<_> = worth
        .map(|(spent, name)| format!("{name} {}", units::time(*spent)))
        .collect();
    texts.join(", ")
}

fn rest_row(out: &mut String, rest: &Rest, length: Duration, paint: Paint) {
    if rest.is_free {
        let said = "    tried again at once, free of charge: the connection had gone stale";
        return line(out, &paint.text(Ink::Dim, said));
    }
    let waited = units::time(rest.to.saturating_sub(rest.from));
    let bar = bar::rest(rest.from, rest.to, length, paint);
    let why = match rest.reason {
        "Retry-After" => "the server said Retry-After",
        _ => "before another try",
    };
    let label = format!("    waited {waited}");
    line(
        out,
        &format!("{label:LABEL$}{bar}  {}", paint.text(Ink::Dim, why)),
    );
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
    format!("{size} in {}{rate}", units::time(took))
}

fn shown(fetched: &Fetched) -> String {
    let damaged = if fetched.is_good { "" } else { ", damaged" };
    format!("{}{damaged}", fetched.status)
}

/// An error in its own words, wrapped.
fn failure(error: &Error, paint: Paint) -> String {
    let text = format!("failed: {error}");
    let mut out = String::new();
    for (index, part) in wrap(&text, WIDTH - 6).iter().enumerate() {
        let mark = if index == 0 { "✗" } else { " " };
        let (mark, part) = (paint.text(Ink::Bad, mark), paint.text(Ink::Bad, part));
        line(&mut out, &format!("    {mark} {part}"));
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
