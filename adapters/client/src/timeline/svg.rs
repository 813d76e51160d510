//! A timeline as a picture.
//!
//! ```text
//! title, legend
//! faults       a strip each, and a band over the whole height
//! calls        a row for each attempt; a dashed line for the wait before it
//! connections  a row each: a line while open, a bar while at work
//! time
//! ```

use std::fmt::Write as _;
use std::time::Duration;

use fulmar_core::trace::Outcome;

use super::call::{Attempt, Call, Rest, Row, Span, Stage};
use super::connection::Connection;
use super::text::{SHOWN, one_line, plural};
use super::{Timeline, bar, units};

const WIDTH: f64 = 1160.0;
/// Where time begins and ends.
const LEFT: f64 = 300.0;
const RIGHT: f64 = 840.0;
/// Where remarks begin.
const REMARK: f64 = 852.0;
const MARGIN: f64 = 20.0;
/// The height of a row, and of a bar in it.
const ROW: f64 = 22.0;
const BAR: f64 = 12.0;

const STYLE: &str = "text{font:12px system-ui,'DejaVu Sans',sans-serif;fill:#1e293b}\
    .title{font-size:15px;font-weight:600}.head{font-size:11px;fill:#64748b;letter-spacing:.08em}\
    .dim{fill:#64748b}.bad{fill:#b91c1c}.good{fill:#15803d}.name{font-weight:600}";

const FAULT: &str = "#dc2626";
const WAIT: &str = "#94a3b8";

/// The stages in the legend, with their colours.
const LEGEND: [(&str, &str); 6] = [
    ("queueing", "#cbd5e1"),
    ("name look-up", "#a855f7"),
    ("connecting", "#f59e0b"),
    ("waiting for an answer", "#3b82f6"),
    ("receiving", "#22c55e"),
    ("fault", "#fecaca"),
];

fn colour(stage: Stage) -> &'static str {
    let index = match stage {
        Stage::Ask | Stage::Queue => 0,
        Stage::Lookup => 1,
        Stage::Connect => 2,
        Stage::Send | Stage::FirstByte => 3,
        Stage::Body => 4,
    };
    LEGEND[index].1
}

impl Timeline {
    /// The timeline as a self-contained SVG document. What calls and peers said is escaped. Of very
    /// many calls or connections, the first 200 each are drawn.
    pub fn svg(&self) -> String {
        let mut canvas = Canvas {
            out: String::new(),
            length: self.length(),
            y: MARGIN,
        };
        canvas.title(self);
        canvas.legend();
        let top = canvas.y;
        let mut bands = Canvas {
            out: String::new(),
            ..canvas
        };
        bands.strips(self);
        canvas.y = bands.y;
        canvas.calls(self);
        canvas.connections(self);
        let bottom = canvas.y + 4.0;
        let mut under = Canvas {
            out: String::new(),
            ..canvas
        };
        under.washes(self, top, bottom);
        under.grid(top, bottom);
        let height = bottom + 34.0;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\">\n<style>{STYLE}</style>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{}{}{}</svg>\n",
            under.out, bands.out, canvas.out
        )
    }
}

impl Call {
    /// How it ended, in a few words, and their class. A body may fail after its head.
    fn ending(&self) -> (&'static str, String) {
        let has_failed =
            matches!(self.rows.last(), Some(Row::Attempt(last)) if last.failure.is_some());
        let (class, what) = match self.outcome {
            Some(Outcome::Status(status)) if !has_failed => {
                let class = if status < 400 { "good" } else { "bad" };
                (class, status.to_string())
            }
            Some(Outcome::Cancelled) => ("dim", "cancelled".to_owned()),
            Some(Outcome::Deadline) => ("bad", "deadline exceeded".to_owned()),
            Some(_) => ("bad", "failed".to_owned()),
            None => return ("dim", String::new()),
        };
        (class, format!("{what} after {}", units::time(self.length)))
    }
}

/// A document being drawn, from top to bottom.
struct Canvas {
    out: String,
    length: Duration,
    y: f64,
}

impl Canvas {
    fn title(&mut self, timeline: &Timeline) {
        let (calls, connections) = (timeline.calls.len(), timeline.connections.len());
        let title = format!(
            "{calls} call{}, {connections} connection{}, {}",
            plural(calls),
            plural(connections),
            units::time(self.length)
        );
        self.y += 12.0;
        self.text(MARGIN, "title", &title);
        self.y += 22.0;
    }

    fn legend(&mut self) {
        let mut x = MARGIN;
        for (name, colour) in LEGEND {
            self.rect(x, self.y - 10.0, 12.0, 12.0, colour, "");
            self.text(x + 18.0, "dim", name);
            x += 42.0 + 7.0 * name.len() as f64;
        }
        self.rest_line(x, x + 22.0);
        self.text(x + 28.0, "dim", "waiting before another try");
        self.text(x + 214.0, "bad", "✗");
        self.text(x + 228.0, "dim", "failed");
        self.y += 14.0;
    }

    /// The faults' names, each beside its time.
    fn strips(&mut self, timeline: &Timeline) {
        let mut is_first = true;
        for (from, to, label) in timeline.visible_bands().take(SHOWN) {
            if std::mem::take(&mut is_first) {
                self.heading("FAULTS");
            }
            self.next_row();
            let (from, to) = (self.x(from), self.x(to));
            self.text(MARGIN, "bad", &one_line(label, 42));
            let extra = " fill-opacity=\".75\"";
            self.rect(from, self.y - 7.0, (to - from).max(2.0), 6.0, FAULT, extra);
        }
    }

    /// The faults' times over everything.
    fn washes(&mut self, timeline: &Timeline, top: f64, bottom: f64) {
        for (from, to, _) in timeline.visible_bands().take(SHOWN) {
            let (from, to) = (self.x(from), self.x(to));
            let extra = " fill-opacity=\".09\"";
            self.rect(from, top, (to - from).max(2.0), bottom - top, FAULT, extra);
        }
    }

    fn calls(&mut self, timeline: &Timeline) {
        if !timeline.calls.is_empty() {
            self.heading("CALLS");
        }
        for call in timeline.calls.iter().take(SHOWN) {
            self.call(call, call.start - timeline.start);
        }
        self.more(timeline.calls.len(), "calls");
    }

    /// A row with the call's name, then one for each attempt.
    fn call(&mut self, call: &Call, offset: Duration) {
        self.next_row();
        let name = format!("{} {}", call.number, call.request);
        self.text(MARGIN, "name", &one_line(&name, 110));
        let (class, outcome) = call.ending();
        self.text(REMARK, class, &outcome);
        let mut rest = None;
        let mut tries = 0;
        for row in &call.rows {
            match row {
                Row::Rest(wait) => rest = Some(wait),
                Row::Attempt(attempt) => {
                    tries += 1;
                    self.attempt(attempt, tries, rest.take(), offset);
                }
            }
        }
    }

    fn attempt(&mut self, attempt: &Attempt, tries: u32, rest: Option<&Rest>, offset: Duration) {
        self.next_row();
        let label = format!("try {tries}  {}", attempt.link_text());
        self.text(MARGIN + 14.0, "dim", &label);
        if let Some(rest) = rest {
            self.rest(rest, offset);
        }
        let mut end = LEFT;
        for span in &attempt.spans {
            end = self.span(span, offset);
        }
        if let Some(failure) = attempt.failure_text() {
            self.text(end - 4.0, "bad", "✗");
            return self.text(REMARK, "bad", &one_line(&failure, 44));
        }
        let status = attempt.status.map(|status| format!("{status}  "));
        let remark = status.unwrap_or_default() + &attempt.timings();
        self.text(REMARK, "dim", &one_line(&remark, 44));
    }

    /// Draws a span, at least a pixel and a half wide, and returns where it ends.
    fn span(&mut self, span: &Span, offset: Duration) -> f64 {
        let (from, to) = (self.x(span.from + offset), self.x(span.to + offset));
        if span.stage == Stage::Ask && span.from == span.to {
            return to;
        }
        let width = (to - from).max(1.5);
        self.bar(
            from,
            width,
            colour(span.stage),
            span.to.saturating_sub(span.from),
        );
        from + width
    }

    fn bar(&mut self, x: f64, width: f64, colour: &str, time: Duration) {
        let y = self.y - 10.0;
        let _ = writeln!(
            self.out,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" \
             fill=\"{colour}\"><title>{}</title></rect>",
            units::time(time)
        );
    }

    fn rest(&mut self, rest: &Rest, offset: Duration) {
        let (from, to) = (self.x(rest.from + offset), self.x(rest.to + offset));
        self.rest_line(from, to);
    }

    fn rest_line(&mut self, from: f64, to: f64) {
        let y = self.y - 4.0;
        let _ = writeln!(
            self.out,
            "<line x1=\"{from:.1}\" y1=\"{y:.1}\" x2=\"{to:.1}\" y2=\"{y:.1}\" stroke=\"{WAIT}\" \
             stroke-width=\"1.5\" stroke-dasharray=\"3 3\"/>"
        );
    }

    fn connections(&mut self, timeline: &Timeline) {
        if !timeline.connections.is_empty() {
            self.heading("CONNECTIONS");
        }
        for connection in timeline.connections.iter().take(SHOWN) {
            self.connection(connection, timeline);
        }
        self.more(timeline.connections.len(), "connections");
    }

    fn connection(&mut self, connection: &Connection, timeline: &Timeline) {
        self.next_row();
        let peer = connection.peer.map(|peer| peer.to_string());
        let label = format!("#{} {}", connection.number, peer.unwrap_or_default());
        self.text(MARGIN + 14.0, "dim", &label);
        let since = |at| -> Duration { at - timeline.start };
        let end = connection.closed.unwrap_or(timeline.end).min(timeline.end);
        let (from, to) = (self.x(since(connection.opened)), self.x(since(end)));
        let y = self.y - 5.0;
        self.rect(from, y, (to - from).max(1.5), 2.0, WAIT, "");
        if connection.closed.is_some_and(|at| at <= timeline.end) {
            self.rect(to - 1.5, y - 4.0, 1.5, 10.0, WAIT, "");
        }
        for (start, stop) in &connection.busy {
            let stop = stop.unwrap_or(timeline.end);
            let (from, to) = (self.x(since(*start)), self.x(since(stop)));
            self.bar(from, (to - from).max(1.5), "#64748b", stop - *start);
        }
        let n = connection.busy.len();
        self.text(REMARK, "dim", &format!("{n} exchange{}", plural(n)));
    }

    /// Time, as lines over the height and numbers below.
    fn grid(&mut self, top: f64, bottom: f64) {
        for at in bar::ticks(self.length) {
            let x = self.x(at);
            let _ = writeln!(
                self.out,
                "<line x1=\"{x:.1}\" y1=\"{top:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" \
                 stroke=\"#e2e8f0\"/>"
            );
            self.y = bottom + 16.0;
            self.text(x - 4.0, "dim", &units::tick(at));
        }
    }

    fn heading(&mut self, text: &str) {
        self.y += 8.0;
        self.next_row();
        self.text(MARGIN, "head", text);
    }

    fn more(&mut self, all: usize, what: &str) {
        if let Some(rest) = all.checked_sub(SHOWN).filter(|rest| *rest > 0) {
            self.next_row();
            self.text(MARGIN, "dim", &format!(".. and {rest} more {what}"));
        }
    }

    fn next_row(&mut self) {
        self.y += ROW;
    }

    fn x(&self, at: Duration) -> f64 {
        let whole = self.length.as_secs_f64().max(1e-9);
        LEFT + (RIGHT - LEFT) * (at.as_secs_f64() / whole).min(1.0)
    }

    fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, fill: &str, extra: &str) {
        let _ = writeln!(
            self.out,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             fill=\"{fill}\"{extra}/>"
        );
    }

    fn text(&mut self, x: f64, class: &str, text: &str) {
        let (y, text) = (self.y, escape(text));
        let _ = writeln!(
            self.out,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\" xml:space=\"preserve\">{text}</text>"
        );
    }
}

/// Text as XML's character data. Characters that XML does not have are replaced.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // XML 1.0 section 2.2, production 2.
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_text_in_xml_is_escaped_or_replaced() {
        assert_eq!(escape("a<b>&\"'"), "a&lt;b&gt;&amp;&quot;&#39;");
        assert_eq!(escape("\0\u{1b}\u{ffff}é"), "\u{fffd}\u{fffd}\u{fffd}é");
    }
}
