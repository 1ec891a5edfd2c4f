//! The goals, and what was measured of each: the worst of all cases counts.

use super::load::Sample;
use super::run::{Outcome, Table};
use super::stats::{median, ratio};

/// A goal with what was reached.
pub(super) struct Goal {
    pub(super) what: &'static str,
    pub(super) limit: String,
    pub(super) reached: f64,
    pub(super) met: bool,
}

/// Which side of the limit is good.
#[derive(Clone, Copy)]
enum Side {
    AtLeast,
    AtMost,
}
use Side::{AtLeast, AtMost};

pub(super) fn goals(outcome: &Outcome) -> Vec<Goal> {
    let Outcome { plain, decisions, streams, .. } = outcome;
    let busiest = plain.iter().map(|table| table.connections).max().unwrap_or_default();
    let busy = || plain.iter().filter(|table| table.connections == busiest);
    let rate = |sample: &Sample| sample.rate;
    let cpu = |sample: &Sample| sample.cpu;
    let first = |sample: &Sample| sample.p50;
    let mut goals = vec![
        goal(
            "pinned, memory: requests per second / floor",
            AtLeast,
            0.95,
            plain.iter().map(|table| table.ratio("memory", "floor", rate)),
        ),
        goal(
            "pinned, memory: processor time per request / floor",
            AtMost,
            1.10,
            plain.iter().map(|table| table.ratio("memory", "floor", cpu)),
        ),
        goal(
            "pinned, Redis with near copies: requests per second / memory",
            AtLeast,
            0.97,
            plain.iter().map(|table| table.ratio("Redis, near copies", "memory", rate)),
        ),
        goal(
            "pinned, Redis without near copies, most connections: requests per second / memory",
            AtLeast,
            0.8,
            busy().map(|table| table.ratio("Redis, none", "memory", rate)),
        ),
        goal(
            "pinned, memory: requests per second / nginx",
            AtLeast,
            0.8,
            plain.iter().map(|table| table.ratio("memory", "nginx", rate)),
        ),
        goal(
            "decision API, pinned: requests per second / a server of a constant",
            AtLeast,
            0.9,
            decisions.iter().map(|table| table.ratio("memory", "constant", rate)),
        ),
        goal(
            "streams: time to first event / floor",
            AtMost,
            1.05,
            streams.iter().map(|table| table.ratio("memory", "floor", first)),
        ),
        goal(
            "streams: time to first event, added to a direct call / floor",
            AtMost,
            1.05,
            streams.iter().map(Table::added),
        ),
        goal(
            "streams: processor time per event / floor",
            AtMost,
            1.05,
            streams.iter().map(|table| table.ratio("memory", "floor", cpu)),
        ),
        goal(
            "streams with the scanner: processor time per event / floor",
            AtMost,
            1.15,
            streams.iter().map(|table| table.ratio("memory, scanner", "floor", cpu)),
        ),
    ];
    if let Some(reading) = outcome.readings.last() {
        let of_pairs = median(reading.pairs.iter().map(|(ours, serde)| ours / serde));
        goals.push(goal(
            "the longest body checked and its model replaced / parsed to a `Value`",
            AtMost,
            0.25,
            [of_pairs],
        ));
    }
    let turns = outcome.commands.sent as f64 / outcome.commands.turns;
    goals.push(goal("Redis commands on a pinned turn after the first", AtMost, 0.0, [turns]));
    goals.push(goal(
        "cold start to the first answer, milliseconds",
        AtMost,
        50.0,
        [median(outcome.cold.iter().copied())],
    ));
    goals
}

fn goal(what: &'static str, side: Side, limit: f64, cases: impl IntoIterator<Item = f64>) -> Goal {
    let cases = cases.into_iter();
    let (sign, reached) = match side {
        AtLeast => ('≥', cases.fold(f64::INFINITY, f64::min)),
        AtMost => ('≤', cases.fold(f64::NEG_INFINITY, f64::max)),
    };
    let met = match side {
        AtLeast => reached >= limit,
        AtMost => reached <= limit,
    };
    Goal { what, limit: format!("{sign} {limit}"), reached, met }
}

impl Table {
    pub(super) fn samples(&self, name: &str) -> &[Sample] {
        let row = self.rows.iter().find(|row| row.name == name);
        &row.expect("a server that was measured").samples
    }

    /// The median of the ratios of `value` between two servers.
    pub(super) fn ratio(&self, of: &str, to: &str, value: impl Fn(&Sample) -> f64) -> f64 {
        ratio(self.samples(of), self.samples(to), value)
    }

    /// What the gateway adds to the time to the first event, as a part of what the floor adds.
    fn added(&self) -> f64 {
        let over_direct = |name| {
            let direct = self.samples("direct").iter();
            median(self.samples(name).iter().zip(direct).map(|(one, direct)| one.p50 - direct.p50))
        };
        over_direct("memory") / over_direct("floor")
    }
}
