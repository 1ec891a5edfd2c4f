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
        let first = self.ill.p99(false) - self.healthy.p99(false);
        self.failed() == 0
            && first <= FIRST
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
    /// its first second, 1.2 times the processor time, 1.1 times the memory, 200 bytes of log a request.
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

    fn half(took: f64, served: bool, cpu: f64, resident: u64, log: usize) -> Half {
        let began = Instant::now();
        let turns = vec![Turn { began, took, served }; 100];
        Half { began, turns, cpu, resident, log }
    }

    #[test]
    fn each_cost_counts() {
        let is_good = |ill: Half| {
            let healthy = half(2.0, true, 1.0, 1000, 0);
            Report::new(vec![Row { sick: Sick::Frozen, healthy, ill }]).is_good()
        };
        assert!(is_good(half(57.0, true, 1.2, 1100, 20_000)));
        assert!(!is_good(half(57.0, false, 1.2, 1100, 20_000)), "failed");
        assert!(!is_good(half(57.1, true, 1.2, 1100, 20_000)), "slow");
        assert!(!is_good(half(57.0, true, 1.3, 1100, 20_000)), "processor time");
        assert!(!is_good(half(57.0, true, 1.2, 1101, 20_000)), "memory");
        assert!(!is_good(half(57.0, true, 1.2, 1100, 20_100)), "log");
    }
}
