//! What came of a run, as a row of a table.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::fault::Fault;
use super::history::{Event, How, Told};
use super::oracle::{Excuse, Finding, Rule};

/// How many violations are reported in full.
const TOLD: usize = 20;

/// How often something was found, and how late at the latest.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    times: usize,
    latest: Duration,
}

/// The sums of one run.
#[derive(Debug)]
pub struct Report {
    fault: Fault,
    rounds: usize,
    took: Duration,
    pub(super) router_calls: usize,
    sessions: usize,
    requests: usize,
    given_up: usize,
    refused: usize,
    broken: usize,
    provisional: usize,
    findings: BTreeMap<(Rule, Option<Excuse>), Count>,
    told: Vec<String>,
    times: Vec<Duration>,
}

impl Report {
    pub(super) fn new(fault: Fault, rounds: usize, took: Duration) -> Self {
        Self {
            fault,
            rounds,
            took,
            router_calls: 0,
            sessions: 0,
            requests: 0,
            given_up: 0,
            refused: 0,
            broken: 0,
            provisional: 0,
            findings: BTreeMap::new(),
            told: Vec::new(),
            times: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, events: &[Event], findings: &[Finding]) {
        self.sessions += 1;
        self.requests += events.len();
        for event in events {
            match &event.told {
                Told::Answer(answer) => {
                    self.times.push(event.end - event.start);
                    self.provisional += usize::from(answer.how == How::StoreUnavailable);
                }
                Told::Refused(_) => self.refused += 1,
                Told::GaveUp => self.given_up += 1,
                Told::Broken => self.broken += 1,
            }
        }
        for finding in findings {
            let count = self.findings.entry((finding.rule, finding.excuse)).or_default();
            count.times += 1;
            count.latest = count.latest.max(finding.late);
        }
        if let Some(violation) = findings.iter().find(|finding| finding.excuse.is_none())
            && self.told.len() < TOLD
        {
            self.told.push(trace(violation, events));
        }
    }

    /// How many requests had no answer of 200, those given up by their client apart.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.refused + self.broken
    }

    /// How many sessions ran.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions
    }

    /// How often a rule was broken without excuse.
    #[must_use]
    pub fn violations(&self) -> usize {
        let violations = self.findings.iter().filter(|((_, excuse), _)| excuse.is_none());
        violations.map(|(_, count)| count.times).sum()
    }

    /// How often one epoch named two models.
    #[must_use]
    pub fn splits(&self) -> usize {
        self.found(Rule::Split, None).times
    }

    /// The first violations, each with the session's history.
    #[must_use]
    pub fn traces(&self) -> &[String] {
        &self.told
    }

    fn found(&self, rule: Rule, excuse: Option<Excuse>) -> Count {
        self.findings.get(&(rule, excuse)).copied().unwrap_or_default()
    }

    /// Violations, then what was excused, by reason, with the longest delay.
    fn cell(&self, rule: Rule) -> String {
        let mut cell = format!("**{}**", self.found(rule, None).times);
        for (excuse, name) in [
            (Excuse::Lease, "lease"),
            (Excuse::Provisional, "provisional"),
            (Excuse::Fault, "fault"),
            (Excuse::Loss, "loss"),
        ] {
            let Count { times, latest } = self.found(rule, Some(excuse));
            if times > 0 {
                let _ = write!(cell, ", {name} {times}");
            }
            if latest > Duration::ZERO {
                let _ = write!(cell, " (≤ {} ms)", latest.as_millis() + 1);
            }
        }
        cell
    }

    fn row(&self) -> String {
        let mut times = self.times.clone();
        times.sort_unstable();
        let at = |share: usize| {
            let index = (times.len() * share / 100).min(times.len().saturating_sub(1));
            times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
        };
        let calls = self.router_calls as f64 / self.sessions.max(1) as f64;
        let rules = [
            Rule::Split,
            Rule::StepBack,
            Rule::Behind,
            Rule::Unclaimed,
            Rule::StaleAfterFinal,
            Rule::Unasked,
            Rule::Changed,
        ];
        let cells = rules.map(|rule| self.cell(rule)).join(" | ");
        format!(
            "| {} | {} | {:.0} | {} | {} | {} | {} | {} | {} | {cells} | {calls:.2} | {:.1} | {:.1} |",
            self.fault.name(),
            self.rounds,
            self.took.as_secs_f64(),
            self.sessions,
            self.requests,
            self.given_up,
            self.refused,
            self.broken,
            self.provisional,
            at(50),
            at(99),
        )
    }
}

/// The reports as a table in Markdown, with a line of sums.
#[must_use]
pub fn table(reports: &[Report]) -> String {
    let head = [
        "fault",
        "rounds",
        "s",
        "sessions",
        "requests",
        "given up",
        "not 200",
        "broken",
        "store-unavailable",
        "split",
        "step back",
        "behind",
        "unclaimed",
        "stale after final",
        "unasked",
        "changed",
        "router calls per session",
        "p50 ms",
        "p99 ms",
    ];
    let mut table = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for report in reports {
        table.push_str(&report.row());
        table.push('\n');
    }
    let sum = |count: fn(&Report) -> usize| reports.iter().map(count).sum::<usize>();
    let _ = writeln!(
        table,
        "\n{} sessions, {} requests, {} violations.",
        sum(|report| report.sessions),
        sum(|report| report.requests),
        sum(Report::violations),
    );
    table
}

fn trace(violation: &Finding, events: &[Event]) -> String {
    let mut text = format!("{:?}: {}\n", violation.rule, violation.text);
    let mut events: Vec<_> = events.iter().collect();
    events.sort_by_key(|event| event.start);
    for Event { replica, ask, start, end, told } in events {
        let told = match told {
            Told::Answer(answer) => {
                format!("{} {:?} {}", answer.model, answer.how, answer.epoch.unwrap_or_default())
            }
            other => format!("{other:?}"),
        };
        let _ = writeln!(text, "  {start:>12.3?} {end:>12.3?} replica {replica} {ask:?}: {told}");
    }
    text
}
