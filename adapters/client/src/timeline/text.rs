//! A timeline as text.

use std::fmt::{self, Write};
use std::time::Duration;

use super::bar;
use super::call::{Attempt, Call, Rest, Row, Span, Stage};
use super::connection::Connection;
use super::paint::{Ink, Paint};
use super::{Timeline, units};

/// Columns before a bar: indentation, the number of the try, the connection.
const LABEL: usize = 37;
/// Columns of what a failure says beside its bar.
const REMARK: usize = 46;
/// Columns of a title.
const TITLE: usize = 104;
/// Calls shown, and connections.
pub(super) const SHOWN: usize = 200;

/// What the characters mean, in one line.
pub fn legend(paint: Paint) -> String {
    let marks = bar::LEGEND.map(|(mark, ink, what)| format!("{} {what}", paint.text(ink, mark)));
    format!("    {}\n", marks.join("   "))
}

impl Call {
    /// The call as text: a row for each attempt and each rest, and the time below them, which begins
    /// with the call.
    pub fn text(&self, paint: Paint) -> String {
        let mut out = String::new();
        if self.rows.is_empty() {
            return out;
        }
        self.write_rows(&mut out, Duration::ZERO, self.length, paint);
        axis(&mut out, self.length, paint);
        out
    }

    fn write_rows(&self, out: &mut String, offset: Duration, length: Duration, paint: Paint) {
        let mut tries = 0;
        for row in &self.rows {
            match row {
                Row::Attempt(attempt) => {
                    tries += 1;
                    attempt_row(out, tries, attempt, (offset, length), paint);
                }
                Row::Rest(rest) => rest_row(out, rest, (offset, length), paint),
            }
        }
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(Paint::plain()))
    }
}

impl Timeline {
    /// The timeline as text: all calls, then all connections, over one time. Of very many, the first
    /// 200 each.
    pub fn text(&self, paint: Paint) -> String {
        let length = self.length();
        let mut out = legend(paint);
        for (from, to, label) in self.visible_bands() {
            let bar = bar::stretch(from, to, length, ('╳', Ink::Bad), paint);
            let label = one_line(label, LABEL - 6);
            line(
                &mut out,
                &format!("    {label:<width$}{bar}", width = LABEL - 4),
            );
        }
        for call in self.calls.iter().take(SHOWN) {
            let title = format!("{:>3} {}", call.number, one_line(&call.request, TITLE));
            line(&mut out, &paint.text(Ink::Title, title));
            call.write_rows(&mut out, call.start - self.start, length, paint);
        }
        more(&mut out, self.calls.len(), "calls");
        for connection in self.connections.iter().take(SHOWN) {
            self.connection_row(&mut out, connection, paint);
        }
        more(&mut out, self.connections.len(), "connections");
        axis(&mut out, length, paint);
        out
    }

    fn connection_row(&self, out: &mut String, connection: &Connection, paint: Paint) {
        let length = self.length();
        let span = |stage, from, to| Span { stage, from, to };
        let since = |at| -> Duration { at - self.start };
        let end = since(connection.closed.unwrap_or(self.end).min(self.end));
        let open = [span(Stage::Queue, since(connection.opened), end)];
        let busy: Vec<_> = (connection.busy.iter())
            .map(|(from, to)| span(Stage::Body, since(*from), since(to.unwrap_or(self.end))))
            .collect();
        let cells: Vec<_> = (0..bar::WIDTH)
            .map(|cell| {
                let is_busy = bar::widest_of(&busy, cell, length);
                let is_open = bar::widest_of(&open, cell, length);
                match (is_busy, is_open) {
                    (true, _) => Some(('━', Ink::Wait)),
                    (false, true) => Some(('─', Ink::Dim)),
                    _ => None,
                }
            })
            .collect();
        let peer = connection.peer.map(|peer| peer.to_string());
        let label = format!("    #{} {}", connection.number, peer.unwrap_or_default());
        let n = connection.busy.len();
        let remark = paint.text(Ink::Dim, format!("{n} exchange{}", plural(n)));
        let bar = bar::paint_cells(&cells, paint);
        line(out, &format!("{label:LABEL$}{bar}  {remark}"));
    }
}

pub(super) fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

fn more(out: &mut String, all: usize, what: &str) {
    if let Some(rest) = all.checked_sub(SHOWN).filter(|rest| *rest > 0) {
        line(out, &format!("    .. and {rest} more {what}"));
    }
}

fn axis(out: &mut String, length: Duration, paint: Paint) {
    let axis = paint.text(Ink::Dim, bar::axis(length));
    line(out, &format!("{:LABEL$}{axis}", ""));
}

/// The whole time that is drawn: how late it is when the call begins, and how long it is.
type Frame = (Duration, Duration);

fn attempt_row(out: &mut String, try_: u32, attempt: &Attempt, frame: Frame, paint: Paint) {
    for connection in &attempt.found_closed {
        let said = format!("    #{connection} was found closed by the server");
        line(out, &paint.text(Ink::Dim, said));
    }
    let (offset, length) = frame;
    let later = |span: &Span| Span {
        from: span.from + offset,
        to: span.to + offset,
        ..*span
    };
    let spans: Vec<_> = attempt.spans.iter().map(later).collect();
    let label = format!("    try {try_}  {}", attempt.link_text());
    let bar = bar::attempt(&spans, length, attempt.failure.is_some(), paint);
    line(
        out,
        &format!("{label:LABEL$}{bar}  {}", remark(attempt, paint)),
    );
}

impl Attempt {
    /// The connection in a few words.
    pub(super) fn link_text(&self) -> String {
        match self.link {
            Some(link) => match link.idle_for {
                Some(idle) => format!("#{} reused, idle {}", link.number, units::time(idle)),
                None => format!("#{} new", link.number),
            },
            None => "no connection".to_owned(),
        }
    }

    /// What came of it, where it failed.
    pub(super) fn failure_text(&self) -> Option<String> {
        let (phase, cause) = self.failure.as_ref()?;
        Some(match self.status {
            Some(status) => format!("{status}, then {phase}: {cause}"),
            None => format!("{phase}: {cause}"),
        })
    }

    /// The stages that took a share worth naming, the two longest at most.
    pub(super) fn timings(&self) -> String {
        let whole = self.spent(&Stage::ALL);
        let named = [
            (&[Stage::Ask, Stage::Queue][..], "queue"),
            (&[Stage::Lookup], "look-up"),
            (&[Stage::Connect], "connect"),
            (&[Stage::Send, Stage::FirstByte], "answer"),
            (&[Stage::Body], "body"),
        ];
        let mut shares = named.map(|(stages, name)| (self.spent(stages), name));
        let order = shares;
        shares.sort_by_key(|(spent, _)| std::cmp::Reverse(*spent));
        let least = shares[1].0.max(whole / 10);
        let worth = order.iter().filter(|(spent, _)| *spent >= least);
        let texts: Vec<_> = worth
            .map(|(spent, name)| format!("{name} {}", units::time(*spent)))
            .collect();
        texts.join(", ")
    }
}

/// What is to be said beside an attempt: what came of it, and where its time went.
fn remark(attempt: &Attempt, paint: Paint) -> String {
    if let Some(failure) = attempt.failure_text() {
        return paint.text(Ink::Bad, one_line(&failure, REMARK));
    }
    let timings = paint.text(Ink::Dim, attempt.timings());
    match attempt.status {
        Some(status) => format!("{status}  {timings}"),
        None => timings,
    }
}

fn rest_row(out: &mut String, rest: &Rest, (offset, length): Frame, paint: Paint) {
    if rest.is_free {
        let said = "    tried again at once, free of charge: the connection had gone stale";
        return line(out, &paint.text(Ink::Dim, said));
    }
    let waited = units::time(rest.to.saturating_sub(rest.from));
    let mark = ('╌', Ink::Dim);
    let bar = bar::stretch(rest.from + offset, rest.to + offset, length, mark, paint);
    let label = format!("    waited {waited}");
    let why = paint.text(Ink::Dim, rest.why());
    line(out, &format!("{label:LABEL$}{bar}  {why}"));
}

impl Rest {
    /// Why it was, in a few words.
    pub(super) fn why(&self) -> &'static str {
        match self.reason {
            "Retry-After" => "the server said Retry-After",
            _ => "before another try",
        }
    }
}

/// At most so many characters of a text, without what would break a line.
pub(super) fn one_line(text: &str, width: usize) -> String {
    let is_break = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let clean = text.replace(is_break, " ");
    if clean.chars().count() <= width {
        return clean;
    }
    let kept: String = clean.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

fn line(out: &mut String, text: &str) {
    let _ = writeln!(out, "{}", text.trim_end());
}
