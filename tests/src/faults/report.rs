//! The table at the end.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::load::Turn;
use super::sick::Sick;
use crate::bench::stats::percentile;

/// By then the breaker is open, and a turn no longer waits for the store.
const OPENED: Duration = Duration::from_secs(1);

/// The budget of a turn for the store, by default, and 5 ms: what a fault may add at first.
const FIRST: f64 = 55.0;

/// What it may add later, when no turn tries a store that is silent.
const LATER: f64 = 1.0;

/// Half of a row's run.
#[derive(Debug)]
pub(super) struct Half {
    pub(super) began: Instant,
    pub(super) turns: Vec<Turn>,
    /// Seconds.
    pub(super) cpu: f64,
    /// KiB.
    pub(super) resident: u64,
    /// Bytes.
    pub(super) log: usize,
}

impl Half {
    fn count(&self) -> f64 {
        self.turns.len() as f64
    }

    fn failed(&self) -> usize {
        self.turns.iter().filter(|turn| !turn.served).count()
    }

    /// The 99th percentile of the turns that began after, or before, the breaker is open.
    fn p99(&self, opened: bool) -> f64 {
        let since = |turn: &&Turn| (turn.began - self.began >= OPENED) == opened;
        let mut took: Vec<_> = self.turns.iter().filter(since).map(|turn| turn.took).collect();
        took.sort_by(f64::total_cmp);
        percentile(&took, 990)
    }
}

/// A fault and what it cost.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) sick: Sick,
    pub(super) healthy: Half,
    pub(super) ill: Half,
}

impl Row {
    fn failed(&self) -> usize {
        self.healthy.failed() + self.ill.failed()
    }

    /// Processor time of a turn, to that over a healthy Redis.
    fn cpu(&self) -> f64 {
        (self.ill.cpu / self.ill.count()) / (self.healthy.cpu / self.healthy.count())
    }

    fn resident(&self) -> f64 {
        self.ill.resident as f64 / self.healthy.resident as f64
    }

    fn log(&self) -> f64 {
        self.ill.log as f64 / self.ill.count()
    }

    fn is_good(&self) -> bool {
        let added = |opened| self.ill.p99(opened) - self.healthy.p99(opened);
        let slow = added(false) > FIRST || added(true) > LATER;
        self.failed() == 0
            && !slow
            && self.cpu() <= 1.2
            && self.resident() <= 1.1
            && self.log() <= 200.0
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    rows: Vec<Row>,
}

impl Report {
    pub(super) fn new(rows: Vec<Row>) -> Self {
        Self { rows }
    }

    /// Whether no request failed, and no fault cost more than it may: 55 ms at the 99th percentile of
    /// its first second and 1 ms later, 1.2 times the processor time, 1.1 times the memory, 200 bytes of
    /// log a request.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.rows.iter().all(Row::is_good)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| Redis | turns | failed | p99 ms in the first second, healthy, ill \
             | p99 ms later, healthy, ill | CPU a turn | memory | log B a turn | |\n\
             |---|---:|---:|---:|---:|---:|---:|---:|---|"
        )?;
        for row in &self.rows {
            let Row { sick, healthy, ill } = row;
            writeln!(
                f,
                "| {sick:?} | {} | {} | {:.1}, {:.1} | {:.1}, {:.1} | × {:.2} | × {:.2} | {:.1} | {} |",
                ill.turns.len(),
                row.failed(),
                healthy.p99(false),
                ill.p99(false),
                healthy.p99(true),
                ill.p99(true),
                row.cpu(),
                row.resident(),
                row.log(),
                if row.is_good() { "" } else { "over" },
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hundred turns that took so long in the first second, and as many later.
    fn half(first: f64, later: f64) -> Half {
        let began = Instant::now();
        let turn = |began, took| vec![Turn { began, took, served: true }; 100];
        let turns = [turn(began, first), turn(began + OPENED, later)].concat();
        Half { began, turns, cpu: 1.0, resident: 1000, log: 0 }
    }

    #[test]
    fn each_cost_counts() {
        let is_good = |change: fn(&mut Half)| {
            let mut ill = half(57.0, 3.0);
            change(&mut ill);
            let row = Row { sick: Sick::Frozen, healthy: half(2.0, 2.0), ill };
            Report::new(vec![row]).is_good()
        };
        assert!(is_good(|_| {}));
        assert!(!is_good(|ill| ill.turns[0].served = false));
        assert!(!is_good(|ill| ill.turns[..100].iter_mut().for_each(|turn| turn.took = 57.1)));
        assert!(!is_good(|ill| ill.turns[100..].iter_mut().for_each(|turn| turn.took = 27.1)));
        assert!(!is_good(|ill| ill.cpu = 1.21));
        assert!(!is_good(|ill| ill.resident = 1101));
        assert!(!is_good(|ill| ill.log = 40_200));
    }
}
