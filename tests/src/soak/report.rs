//! The table at the end.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::tally::Tally;

/// The gateway after a fault.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Duration,
    pub(super) fault: &'static str,
    /// KiB.
    pub(super) resident: u64,
    pub(super) sockets: usize,
    pub(super) sent: u64,
}

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    samples: Vec<Sample>,
    counts: Vec<(&'static str, u64)>,
    /// Lost, doubled, stuck, split or refused without a fault.
    wrong: u64,
}

impl Report {
    pub(super) fn new(tally: &Tally, samples: Vec<Sample>) -> Self {
        let wrong = [
            ("lost", &tally.lost),
            ("doubled", &tally.doubled),
            ("stuck", &tally.stuck),
            ("splits", &tally.splits),
            ("refused or broken without a fault", &tally.unexplained),
        ];
        let others = [
            ("sent", &tally.sent),
            ("answered", &tally.whole),
            ("refused", &tally.refused),
            ("broken", &tally.broken),
            ("given up", &tally.given_up),
            ("half-open connections", &tally.half_open),
        ];
        let read = |(name, count): &(&'static str, &std::sync::atomic::AtomicU64)| {
            (*name, count.load(Relaxed))
        };
        let counts = others.iter().chain(&wrong).map(read).collect();
        Self { samples, counts, wrong: wrong.iter().map(|row| read(row).1).sum() }
    }

    /// By how much the resident set grew from the second quarter of the run to the last, in percent;
    /// `None` when the run was too short to tell.
    #[must_use]
    pub fn growth(&self) -> Option<f64> {
        let quarter = self.samples.len() / 4;
        let median = |from: usize| {
            let mut part: Vec<u64> = self
                .samples
                .iter()
                .skip(from)
                .take(quarter)
                .map(|sample| sample.resident)
                .collect();
            part.sort_unstable();
            part.get(quarter / 2).copied()
        };
        let (warm, last) = (median(quarter)?, median(self.samples.len() - quarter)?);
        Some((last as f64 / warm as f64 - 1.0) * 100.0)
    }

    /// Whether nothing was lost, doubled, stuck, split or refused without a fault, and the resident
    /// set stayed within 5 %.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.wrong == 0 && self.growth().is_none_or(|growth| growth <= 5.0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| s | fault before | resident KiB | sockets | requests |\n|---|---|---|---|---|"
        )?;
        for Sample { at, fault, resident, sockets, sent } in &self.samples {
            writeln!(f, "| {} | {fault} | {resident} | {sockets} | {sent} |", at.as_secs())?;
        }
        writeln!(f)?;
        for (name, count) in &self.counts {
            writeln!(f, "- {name}: {count}")?;
        }
        match self.growth() {
            Some(growth) => {
                writeln!(f, "- resident set, last quarter to the second: {growth:+.1} %")
            }
            None => writeln!(f, "- resident set: too few samples to tell"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(resident: &[u64], wrong: u64) -> Report {
        let tally = Tally::default();
        tally.lost.store(wrong, Relaxed);
        let sample = |resident: &u64| {
            let at = Duration::ZERO;
            Sample { at, fault: "none", resident: *resident, sockets: 1, sent: 1 }
        };
        Report::new(&tally, resident.iter().map(sample).collect())
    }

    #[test]
    fn a_run_is_good_if_nothing_went_wrong_and_memory_stayed_flat() {
        let flat = [50, 100, 104, 104];
        assert!(report(&flat, 0).is_good(), "what it grows at first does not count");
        assert!(!report(&flat, 1).is_good());
        assert!(!report(&[50, 100, 104, 106], 0).is_good());
        assert_eq!(report(&[50, 100, 104], 0).growth(), None);
    }
}
