//! Bars and axes: time as columns of characters.

use std::time::Duration;

use super::call::{Span, Stage};
use super::paint::{Ink, Paint};
use super::units;

/// Columns of a bar.
pub(super) const WIDTH: usize = 34;

/// What every character of a bar means, in the order in which a call meets them.
pub(super) const LEGEND: [(char, Ink, &str); 7] = [
    ('·', Ink::Dim, "queueing"),
    ('▓', Ink::Lookup, "name look-up"),
    ('▒', Ink::Connect, "connecting"),
    ('░', Ink::Wait, "waiting for an answer"),
    ('█', Ink::Body, "receiving"),
    ('✗', Ink::Bad, "failed"),
    ('╌', Ink::Dim, "resting"),
];

fn mark(stage: Stage) -> (char, Ink) {
    match stage {
        Stage::Ask | Stage::Queue => ('·', Ink::Dim),
        Stage::Lookup => ('▓', Ink::Lookup),
        Stage::Connect => ('▒', Ink::Connect),
        Stage::Send | Stage::FirstByte => ('░', Ink::Wait),
        Stage::Body => ('█', Ink::Body),
    }
}

/// An attempt as a bar, in a time that is `length` long.
pub(super) fn attempt(spans: &[Span], length: Duration, has_failed: bool, paint: Paint) -> String {
    let mut cells: Vec<_> = (0..WIDTH)
        .map(|cell| widest(spans, cell, length).map(mark))
        .collect();
    if has_failed && let Some(last) = cells.iter().rposition(Option::is_some) {
        cells[last] = Some(('✗', Ink::Bad));
    }
    paint_cells(&cells, paint)
}

/// A stretch of time as a line of one character.
pub(super) fn stretch(
    from: Duration,
    to: Duration,
    length: Duration,
    (mark, ink): (char, Ink),
    paint: Paint,
) -> String {
    let span = Span {
        stage: Stage::Queue,
        from,
        to,
    };
    let cells: Vec<_> = (0..WIDTH)
        .map(|cell| widest(&[span], cell, length).map(|_| (mark, ink)))
        .collect();
    paint_cells(&cells, paint)
}

/// The stage that has the most of one column.
fn widest(spans: &[Span], cell: usize, length: Duration) -> Option<Stage> {
    let column = length.as_secs_f64().max(1e-9) / WIDTH as f64;
    let (from, to) = (cell as f64 * column, (cell + 1) as f64 * column);
    let overlap = |span: &Span| span.to.as_secs_f64().min(to) - span.from.as_secs_f64().max(from);
    let most = spans
        .iter()
        .max_by(|a, b| overlap(a).total_cmp(&overlap(b)))?;
    let is_there = overlap(most) > 0.0;
    // What takes no time at all is still seen.
    let begins = spans.first().map_or(0.0, |span| span.from.as_secs_f64());
    let is_point = begins >= from && begins < to || cell + 1 == WIDTH && begins >= to;
    (is_there || is_point).then_some(most.stage)
}

/// Whether one column is of a stretch.
pub(super) fn widest_of(spans: &[Span], cell: usize, length: Duration) -> bool {
    spans
        .iter()
        .any(|span| widest(std::slice::from_ref(span), cell, length).is_some())
}

pub(super) fn paint_cells(cells: &[Option<(char, Ink)>], paint: Paint) -> String {
    let mut out = String::new();
    for run in cells.chunk_by(|a, b| a.map(|(_, ink)| ink) == b.map(|(_, ink)| ink)) {
        let text: String = run
            .iter()
            .map(|cell| cell.map_or(' ', |(c, _)| c))
            .collect();
        match run[0] {
            Some((_, ink)) => out.push_str(&paint.text(ink, text)),
            None => out.push_str(&text),
        }
    }
    out
}

/// The time below the bars: as many round numbers at their places as have room.
pub(super) fn axis(length: Duration) -> String {
    // The shortest of times has room for its beginning only.
    let whole = length.as_nanos();
    let mut steps = (2..=5).rev().map(|parts| round_step(whole.div_ceil(parts)));
    let line = steps.find_map(|step| ticked(whole, step));
    line.unwrap_or_else(|| "╵0".to_owned())
}

/// An axis with a number every `step`, unless they would touch.
fn ticked(whole: u128, step: usize) -> Option<String> {
    if whole == 0 {
        return None;
    }
    let mut line: Vec<char> = Vec::new();
    for at in (0..=whole).step_by(step) {
        let column = ((at * WIDTH as u128 + whole / 2) / whole) as usize;
        if at > 0 && column <= line.len() {
            return None;
        }
        line.resize(column, ' ');
        line.push('╵');
        line.extend(units::tick(Duration::from_nanos(at as u64)).chars());
    }
    Some(line.into_iter().collect())
}

/// Round times, four to seven of them mostly, from zero on.
pub(super) fn ticks(length: Duration) -> impl Iterator<Item = Duration> {
    let whole = length.as_nanos();
    let step = round_step(whole.div_ceil(6).max(1));
    let all = (0..=whole).step_by(step);
    all.map(|at| Duration::from_nanos(at as u64))
}

/// The least 1, 2 or 5 times a power of ten that is not below `wanted`.
fn round_step(wanted: u128) -> usize {
    let mut power = 1;
    loop {
        if let Some(factor) = [1, 2, 5].into_iter().find(|f| f * power >= wanted) {
            return usize::try_from(factor * power).unwrap_or(usize::MAX);
        }
        power *= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn span(stage: Stage, from: u64, to: u64) -> Span {
        Span {
            stage,
            from: ms(from),
            to: ms(to),
        }
    }

    #[test]
    fn a_bar_shows_each_stage_as_wide_as_it_was_long() {
        let spans = [
            span(Stage::Connect, 0, 100),
            span(Stage::FirstByte, 100, 300),
            span(Stage::Body, 300, 340),
        ];
        let expected = ["▒".repeat(10), "░".repeat(20), "█".repeat(4)].concat();
        assert_eq!(attempt(&spans, ms(340), false, Paint::plain()), expected);
        let failed = attempt(&spans, ms(340), true, Paint::plain());
        assert!(failed.ends_with("█✗"), "{failed}");
    }

    #[test]
    fn the_shortest_attempt_is_still_seen() {
        let spans = [span(Stage::Send, 1000, 1000)];
        let bar = attempt(&spans, ms(2000), false, Paint::plain());
        assert_eq!(bar, format!("{}░{}", " ".repeat(17), " ".repeat(16)));
        let last = attempt(
            &[span(Stage::Send, 2000, 2000)],
            ms(2000),
            false,
            Paint::plain(),
        );
        assert_eq!(last.trim_start(), "░");
    }

    #[test]
    fn an_axis_has_round_numbers_with_room_between_them() {
        let whole = ["╵0      ", "╵500 ms ", "╵1 s    ", "╵1.5 s  ", "╵2 s"];
        assert_eq!(axis(ms(2100)).split_whitespace().count(), 9);
        assert_eq!(
            axis(ms(2100)).replace(' ', ""),
            whole.concat().replace(' ', "")
        );
        assert_eq!(axis(Duration::from_micros(450)).matches('╵').count(), 3);
        assert_eq!(axis(Duration::ZERO), "╵0");
    }
}
