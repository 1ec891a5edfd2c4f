//! The plot: bars for each case and server, as SVG.

use std::fmt::Write;

use super::report::kib;
use super::run::{Outcome, Table};

/// What is shown, each in a colour that most people can distinguish.
const SHOWN: [(&str, &str); 6] = [
    ("whole", "#999999"),
    ("memory", "#0072b2"),
    ("Redis, near copies", "#56b4e9"),
    ("Redis, none", "#cc79a7"),
    ("nginx", "#009e73"),
    ("HAProxy", "#e69f00"),
];

const LEFT: f64 = 150.0;
const TOP: f64 = 64.0;
const BAR: f64 = 11.0;
const GAP: f64 = 14.0;
/// Pixels for a ratio of one.
const UNIT: f64 = 300.0;
/// The longest ratio that is drawn.
const MOST: f64 = 1.6;
const WIDTH: f64 = LEFT + UNIT * MOST + 60.0;

/// Requests per second as ratios to the floor.
#[must_use]
pub fn plot(outcome: &Outcome) -> String {
    let height = TOP + outcome.plain.len() as f64 * group() + 20.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"12\" y=\"20\" font-size=\"14\">Requests per second, pass-through floor = 1</text>\n"
    );
    for (place, (name, colour)) in SHOWN.iter().enumerate() {
        let x = 12.0 + place as f64 * 112.0;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"34\" width=\"11\" height=\"11\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"44\">{name}</text>",
            x + 16.0
        );
    }
    for (place, table) in outcome.plain.iter().enumerate() {
        case(&mut svg, table, TOP + place as f64 * group());
    }
    for ratio in [0.5, 1.0, 1.5] {
        let x = LEFT + ratio * UNIT;
        let _ = writeln!(
            svg,
            "<line x1=\"{x}\" y1=\"{TOP}\" x2=\"{x}\" y2=\"{}\" stroke=\"#333\" \
             stroke-dasharray=\"3 3\"/><text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{ratio}</text>",
            height - 18.0,
            height - 5.0
        );
    }
    svg + "</svg>\n"
}

fn group() -> f64 {
    SHOWN.len() as f64 * BAR + GAP
}

fn case(svg: &mut String, table: &Table, top: f64) {
    let middle = top + (group() - GAP) / 2.0 + 4.0;
    let Table { bytes, connections, .. } = table;
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{}, {connections} conn.</text>",
        LEFT - 8.0,
        kib(*bytes)
    );
    for (place, (name, colour)) in SHOWN.iter().enumerate() {
        let ratio = table.ratio(name, "floor", |sample| sample.rate);
        let y = top + place as f64 * BAR;
        let width = ratio.min(MOST) * UNIT;
        let _ = writeln!(
            svg,
            "<rect x=\"{LEFT}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"{:.0}\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{:.0}\" font-size=\"9\">{ratio:.2}</text>",
            BAR - 1.0,
            LEFT + width + 4.0,
            y + 9.0
        );
    }
}
