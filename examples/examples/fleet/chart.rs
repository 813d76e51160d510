//! The chart: one strip per policy, attempts per second over time.

use std::fmt::Write;

use fulmar_tests::fleet::{Policy, Report, Scenario};

use crate::parallel::simulate_all;
use crate::policies;

const WIDTH: f64 = 960.0;
/// Columns: the policy's name, the strip, the verdict.
const LEFT: f64 = 190.0;
const RIGHT: f64 = 800.0;
const TOP: f64 = 100.0;
const STRIP: f64 = 66.0;
const GAP: f64 = 12.0;
/// Attempts per second at the top of a strip.
const MOST: f64 = 5_500.0;
/// The first second that is shown.
const FROM: usize = 50;

const BLUE: &str = "#2a6fb0";
const RED: &str = "#d1495b";
const GREEN: &str = "#3a9d5d";

/// The chart of the default scenario as SVG.
pub(crate) fn draw(seed: u64) -> String {
    let (scenario, policies) = (Scenario::default(), policies::shown());
    let runs: Vec<_> = policies
        .iter()
        .map(|policy| (scenario, policy.clone(), seed))
        .collect();
    let reports = simulate_all(&runs);
    let bottom = TOP + policies.len() as f64 * (STRIP + GAP);
    let mut svg = Svg::new(bottom + 40.0);
    let first = &reports[0];
    let fault = first.fault();
    let x = |second: usize| {
        LEFT + (second - FROM) as f64 / (first.seconds.len() - FROM) as f64 * (RIGHT - LEFT)
    };
    svg.band(x(fault.start), x(fault.end), TOP - 8.0, bottom - GAP);
    for (index, (policy, report)) in policies.iter().zip(&reports).enumerate() {
        let base = TOP + index as f64 * (STRIP + GAP) + STRIP;
        svg.strip(policy, report, base, &scenario, &x);
    }
    svg.text(16.0, bottom + 6.0, "start", "#666", "since the fault began");
    for second in (fault.start..=first.seconds.len()).step_by(30) {
        let since = format!("{} s", second - fault.start);
        svg.text(x(second), bottom + 6.0, "middle", "#666", &since);
    }
    svg.end()
}

struct Svg(String);

impl Svg {
    fn new(height: f64) -> Self {
        let mut svg = Self(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
             font-family=\"Helvetica, Arial, DejaVu Sans, sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
        ));
        svg.0 += "<text x=\"16\" y=\"28\" font-size=\"18\" font-weight=\"bold\">\
                  Who gets up again after 30 seconds at a tenth of the capacity?</text>\n";
        svg.0 += "<text x=\"16\" y=\"48\" fill=\"#555\">1,000 clients of 1 request/s, a server that \
                  can do 1,250/s, clients wait 1 s, 3 attempts unless named otherwise</text>\n";
        svg.key(LEFT, RED, "attempts per second");
        svg.key(LEFT + 160.0, GREEN, "of them: requests that succeed");
        svg
    }

    fn key(&mut self, x: f64, color: &str, what: &str) {
        let _ = writeln!(
            self.0,
            "<rect x=\"{x}\" y=\"58\" width=\"10\" height=\"10\" fill=\"{color}\"/>"
        );
        self.text(x + 15.0, 67.0, "start", "#333", what);
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, color: &str, text: &str) {
        let _ = writeln!(
            self.0,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{color}\">{text}</text>"
        );
    }

    /// The seconds of the fault.
    fn band(&mut self, from: f64, to: f64, top: f64, bottom: f64) {
        let _ = writeln!(
            self.0,
            "<rect x=\"{from:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#f3ecd2\"/>",
            to - from,
            bottom - top
        );
        self.text(
            f64::midpoint(from, to),
            top + 10.0,
            "middle",
            "#8a7a3a",
            "fault",
        );
    }

    fn strip(
        &mut self,
        policy: &Policy,
        report: &Report,
        base: f64,
        scenario: &Scenario,
        x: &impl Fn(usize) -> f64,
    ) {
        let y = |count: f64| base - count.min(MOST) / MOST * STRIP;
        self.area(report, RED, x, |second| y(f64::from(second.attempts)));
        self.area(report, GREEN, x, |second| y(f64::from(second.succeeded)));
        let capacity = y(scenario.workers as f64 / scenario.service.as_secs_f64());
        let _ = writeln!(
            self.0,
            "<path d=\"M{LEFT} {base:.1}H{RIGHT}\" stroke=\"#999\"/>\n\
             <path d=\"M{LEFT} {capacity:.1}H{RIGHT}\" stroke=\"#333\" stroke-dasharray=\"2 4\" \
             stroke-width=\"0.7\"/>"
        );
        self.text(LEFT - 6.0, capacity + 4.0, "end", "#888", "capacity");
        self.name(policy, base);
        self.verdict(report, base);
    }

    fn area(
        &mut self,
        report: &Report,
        color: &str,
        x: &impl Fn(usize) -> f64,
        y: impl Fn(&fulmar_tests::fleet::Second) -> f64,
    ) {
        let zero = y(&fulmar_tests::fleet::Second::default());
        let _ = write!(self.0, "<path fill=\"{color}\" d=\"M{LEFT} {zero:.1}");
        for (at, second) in report.seconds.iter().enumerate().skip(FROM) {
            let _ = write!(self.0, "V{:.1}H{:.1}", y(second), x(at + 1));
        }
        let _ = writeln!(self.0, "V{zero:.1}Z\"/>");
    }

    fn name(&mut self, policy: &Policy, base: f64) {
        let is_ours = policy.name == Policy::ours().name;
        let (color, weight) = if is_ours {
            (BLUE, "bold")
        } else {
            ("#111", "normal")
        };
        let _ = writeln!(
            self.0,
            "<text x=\"16\" y=\"{:.1}\" font-size=\"13\" font-weight=\"{weight}\" fill=\"{color}\">{}</text>",
            base - STRIP / 2.0 + 4.0,
            policy.name
        );
    }

    fn verdict(&mut self, report: &Report, base: f64) {
        let (color, words) = match report.recovery() {
            Some(after) => (GREEN, format!("back after {} s", after.as_secs())),
            None => (RED, "never recovers".into()),
        };
        let middle = base - STRIP / 2.0 + 6.0;
        let _ = writeln!(
            self.0,
            "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"14\" font-weight=\"bold\" fill=\"{color}\">{words}</text>",
            RIGHT + 12.0,
            middle - 4.0
        );
        let load = format!(
            "load x {:.2}, peak x {:.1}",
            report.amplification_during(),
            report.amplification_peak()
        );
        self.text(RIGHT + 12.0, middle + 13.0, "start", "#555", &load);
    }

    fn end(mut self) -> String {
        self.0 += "</svg>\n";
        self.0
    }
}
