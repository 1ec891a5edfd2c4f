//! The rules that every history of a session is held against.

use std::collections::BTreeMap;
use std::time::Duration;

use super::history::{Ask, Event, How};

/// How long a replica may not know of a change by another one, as documented for near copies.
pub const LEASE: Duration = Duration::from_secs(1);

/// How long after the end of a final answer the release may be on its way to Redis.
const RELEASE: Duration = Duration::from_millis(250);

/// After the end of a fault, until no replica may serve an older pin than another one has told of.
pub(super) const RECOVERY: Duration = Duration::from_secs(2);

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// One epoch names one model.
    Split,
    /// A request sent after an answer does not get an older pin than that answer.
    StepBack,
    /// Once a fault is over, no replica goes on with a pin older than one that an answer has shown.
    Behind,
    /// Every pin that is hit or joined was made by a request of the session.
    Unclaimed,
    /// A pin is not served once its final answer has ended.
    StaleAfterFinal,
    /// A new pin comes only of a refresh or of a final answer, one of each.
    Unasked,
    /// The model after a fault is the one before it.
    Changed,
}

/// Why something that breaks a rule is not a violation. It is counted all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Excuse {
    /// It happened within the time that a near copy may be out of date.
    Lease,
    /// An earlier request got `store-unavailable`, or no answer: one replica keeps its decision until
    /// Redis confirms or overrules it.
    Provisional,
    /// The session was asked while Redis was cut off, or just after.
    Fault,
    /// Redis lost what it had acknowledged, as it may.
    Loss,
}

/// A rule that was broken.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Which one.
    pub rule: Rule,
    /// None for a violation.
    pub excuse: Option<Excuse>,
    /// How long after the last proof to the contrary something old was seen.
    pub late: Duration,
    /// What was seen.
    pub text: String,
}

impl Finding {
    fn new(rule: Rule, excuse: Option<Excuse>, text: String) -> Self {
        Self { rule, excuse, late: Duration::ZERO, text }
    }
}

/// What went on during the run.
#[derive(Clone, Debug, Default)]
pub struct Circumstances {
    /// From the start of each fault until everything should be as before.
    pub faults: Vec<(Duration, Duration)>,
    /// Whether a fault breaks calls to Redis.
    pub cuts: bool,
    /// Whether a fault keeps replicas from seeing the same Redis.
    pub parts: bool,
    /// Whether a fault may lose what Redis acknowledged.
    pub loses: bool,
    /// Whether nothing may be reported that could be lost: then no fault excuses a pin too many.
    pub replicated: bool,
}

impl Circumstances {
    /// Whether there is a fault at some time from `start` to `end`.
    fn any(&self, start: Duration, end: Duration) -> bool {
        self.faults.iter().any(|(from, to)| start < *to && *from < end + LEASE)
    }
}

/// Holds the history of one session, in any order, against every rule.
#[must_use]
pub fn check(events: &[Event], circumstances: &Circumstances) -> Vec<Finding> {
    let mut events: Vec<_> = events.iter().collect();
    events.sort_by_key(|event| event.start);
    let session = Session { events, circumstances };
    let mut findings = Vec::new();
    session.split(&mut findings);
    session.step_back(&mut findings);
    session.behind(&mut findings);
    session.unclaimed(&mut findings);
    session.stale_after_final(&mut findings);
    session.unasked(&mut findings);
    session.changed(&mut findings);
    findings
}

struct Session<'a> {
    /// In the order of their starts.
    events: Vec<&'a Event>,
    circumstances: &'a Circumstances,
}

impl Session<'_> {
    /// Never excused: an epoch is made once, whatever happens to Redis.
    fn split(&self, findings: &mut Vec<Finding>) {
        let mut models = BTreeMap::new();
        for (epoch, model) in self.events.iter().filter_map(|event| event.pin()) {
            let first = *models.entry(epoch).or_insert(model);
            if first != model {
                let text = format!("epoch {epoch} is {first} and {model}");
                findings.push(Finding::new(Rule::Split, None, text));
            }
        }
    }

    fn step_back(&self, findings: &mut Vec<Finding>) {
        let mut before: Vec<(&Event, u64)> = Vec::new();
        for event in &self.events {
            let Some((epoch, _)) = event.pin() else { continue };
            let newer = before
                .iter()
                .filter(|(earlier, known)| earlier.end < event.start && *known > epoch)
                .max_by_key(|(earlier, _)| event.start - earlier.end);
            if let Some((earlier, known)) = newer {
                let late = event.start - earlier.end;
                let text = format!("epoch {epoch} {late:?} after {known}");
                let excuse = if late <= LEASE {
                    Some(Excuse::Lease)
                } else {
                    self.excuse(earlier.start, event.end)
                };
                findings.push(Finding { late, ..Finding::new(Rule::StepBack, excuse, text) });
                // Each step is reported once.
                before.retain(|(_, known)| *known <= epoch);
            }
            before.push((event, epoch));
        }
    }

    /// Unlike a step back, it is excused by nothing that happened before the fault was over; only what
    /// Redis lost with it cannot be served. What is seen before the time to recover is over counts for
    /// how long that took.
    fn behind(&self, findings: &mut Vec<Finding>) {
        for event in &self.events {
            let Some((epoch, _)) = event.pin() else { continue };
            let ends = self.circumstances.faults.iter().map(|(_, to)| to.saturating_sub(RECOVERY));
            let Some(end) = ends.filter(|end| *end < event.start).max() else { continue };
            let next =
                self.circumstances.faults.iter().any(|(from, _)| end < *from && *from <= event.end);
            let is_older = |earlier: &&&Event| {
                earlier.end + LEASE < event.start
                    && earlier.pin().is_some_and(|(known, _)| known > epoch)
            };
            let Some(earlier) = self.events.iter().find(is_older).filter(|_| !next) else {
                continue;
            };
            let late = event.start - end;
            let known = earlier.pin().map_or(0, |(known, _)| known);
            let text =
                format!("epoch {epoch} {late:?} after the fault, and {known} was told before");
            let excuse = if late <= RECOVERY {
                Some(Excuse::Fault)
            } else {
                self.circumstances.loses.then_some(Excuse::Loss)
            };
            findings.push(Finding { late, ..Finding::new(Rule::Behind, excuse, text) });
        }
    }

    fn unclaimed(&self, findings: &mut Vec<Finding>) {
        let mut seen = BTreeMap::new();
        for event in &self.events {
            if let Some(answer) = event.answer()
                && let Some(epoch) = answer.epoch
            {
                let first_seen = seen.entry(epoch).or_insert((false, event.end));
                first_seen.0 |= answer.how.makes_a_pin();
                first_seen.1 = first_seen.1.min(event.end);
            }
        }
        // A request whose outcome its client never heard can have made one pin.
        let mut unheard = self.events.iter().filter(|event| event.is_unheard()).peekable();
        let mut unmade: Vec<_> = seen.into_iter().filter(|(_, (made, _))| !made).collect();
        unmade.sort_by_key(|(_, (_, end))| *end);
        for (epoch, (_, end)) in unmade {
            let maker = unheard.next_if(|event| event.start < end);
            let excuse = maker.map(|_| Excuse::Provisional);
            let text = format!("epoch {epoch} was made by nobody");
            findings.push(Finding::new(Rule::Unclaimed, excuse, text));
        }
    }

    fn stale_after_final(&self, findings: &mut Vec<Finding>) {
        for last in self.events.iter().filter(|event| event.ask == Ask::Final) {
            let Some((epoch, _)) = last.pin() else { continue };
            let late = self.events.iter().filter(|event| event.start > last.end);
            let stale = late.filter(|event| event.pin().is_some_and(|(known, _)| known == epoch));
            for event in stale {
                let after = event.start - last.end;
                let text = format!("epoch {epoch} {after:?} after its end");
                let excuse = if after <= LEASE + RELEASE {
                    Some(Excuse::Lease)
                } else {
                    self.excuse(last.start, event.end)
                };
                let finding = Finding::new(Rule::StaleAfterFinal, excuse, text);
                findings.push(Finding { late: after, ..finding });
            }
        }
    }

    fn unasked(&self, findings: &mut Vec<Finding>) {
        let mut seen = BTreeMap::new();
        for event in &self.events {
            if let Some((epoch, _)) = event.pin() {
                seen.entry(epoch).or_insert(event.end);
            }
        }
        let asked = self.events.iter().filter(|event| event.asks_for_change()).count();
        if let Some(excess) = seen.len().checked_sub(1 + asked).filter(|excess| *excess > 0) {
            let end = seen.values().max().copied().unwrap_or_default();
            let start = self.events.first().map_or(end, |event| event.start);
            let text = format!("{excess} pins that nobody asked for");
            let excuse = self.excuse(start, end).filter(|_| !self.circumstances.replicated);
            findings.push(Finding::new(Rule::Unasked, excuse, text));
        }
    }

    /// For each fault that the session lived through and in which no change was asked for.
    fn changed(&self, findings: &mut Vec<Finding>) {
        for (from, to) in &self.circumstances.faults {
            let pinned = || self.events.iter().filter(|event| event.pin().is_some());
            let before = pinned().rfind(|event| event.end + LEASE < *from);
            let after = pinned().find(|event| event.start > *to);
            let (Some(before), Some(after)) = (before, after) else { continue };
            let may_change = self.events.iter().any(|event| {
                event.asks_for_change()
                    && event.start < after.end
                    && before.start < event.effect_end()
            });
            let (Some((old, was)), Some((new, is))) = (before.pin(), after.pin()) else { continue };
            if may_change || was == is {
                continue;
            }
            let may_lose = self.circumstances.loses && !self.circumstances.replicated;
            let excuse = may_lose.then_some(Excuse::Loss);
            let text = format!("{was} ({old}) before the fault, {is} ({new}) after it");
            findings.push(Finding::new(Rule::Changed, excuse, text));
        }
    }

    /// What may have kept the replicas from agreeing between `start` and `end`.
    fn excuse(&self, start: Duration, end: Duration) -> Option<Excuse> {
        let fault = self.circumstances.any(start, end);
        let provisional = |event: &Event| {
            let unavailable =
                event.answer().is_some_and(|answer| answer.how == How::StoreUnavailable);
            // A decision whose client went away is kept, too, when Redis did not take it.
            let kept = unavailable || (event.is_unheard() && fault && self.circumstances.cuts);
            kept && event.start < end && start < event.end + LEASE
        };
        if fault && self.circumstances.parts {
            Some(Excuse::Fault)
        } else if self.events.iter().any(|event| provisional(event)) {
            Some(Excuse::Provisional)
        } else {
            None
        }
    }
}
