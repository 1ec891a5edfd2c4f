//! For each rule a history that breaks it, the same with what excuses it, and a good one.

use std::time::Duration;

use affinity_tests::integrity::{
    Answer, Ask, Circumstances, Event, Excuse, How, LEASE, Rule, Told, check,
};

/// A request from `start` to `end`, in milliseconds, answered by model and epoch (0 for none).
fn event(start: u64, end: u64, how: How, model: &str, epoch: u64) -> Event {
    let epoch = (epoch > 0).then_some(epoch);
    let answer = Answer { model: model.into(), epoch, how, pinned: how == How::Hit };
    Event { told: Told::Answer(answer), ..silent(start, end) }
}

/// One that its client gave up.
fn silent(start: u64, end: u64) -> Event {
    let (start, end) = (Duration::from_millis(start), Duration::from_millis(end));
    Event { replica: 0, ask: Ask::Turn, start, end, told: Told::GaveUp }
}

fn asking(ask: Ask, event: Event) -> Event {
    Event { ask, ..event }
}

/// A fault from second 2 to second 5.
fn fault(parts: bool, loses: bool) -> Circumstances {
    let fault = (Duration::from_secs(2), Duration::from_secs(5));
    Circumstances { faults: vec![fault], cuts: parts, parts, loses, ..Circumstances::default() }
}

fn found(events: &[Event], circumstances: &Circumstances) -> Vec<(Rule, Option<Excuse>)> {
    check(events, circumstances).into_iter().map(|finding| (finding.rule, finding.excuse)).collect()
}

fn healthy(events: &[Event]) -> Vec<(Rule, Option<Excuse>)> {
    found(events, &Circumstances::default())
}

fn claimed() -> Event {
    event(0, 10, How::Claimed, "a", 1)
}

#[test]
fn a_good_history_breaks_no_rule() {
    let events = [
        claimed(),
        event(0, 11, How::Joined, "a", 1),
        event(20, 21, How::Hit, "a", 1),
        asking(Ask::Refresh, event(30, 35, How::Refreshed, "b", 2)),
        event(40, 41, How::Hit, "b", 2),
        asking(Ask::Final, event(50, 51, How::Hit, "b", 2)),
        event(60, 65, How::Claimed, "c", 3),
        event(9000, 9001, How::Hit, "c", 3),
    ];
    assert_eq!(healthy(&events), []);
    assert_eq!(found(&events, &fault(true, false)), []);
}

#[test]
fn two_models_in_one_epoch_are_a_split_whatever_happens() {
    let mut events = vec![claimed(), event(20, 21, How::Hit, "b", 1)];
    assert_eq!(healthy(&events), [(Rule::Split, None)]);
    events.push(silent(1, 2));
    events.push(event(3, 4, How::StoreUnavailable, "c", 0));
    let in_fault: Vec<_> = events
        .iter()
        .map(|event| {
            let later = Duration::from_secs(3);
            Event { start: event.start + later, end: event.end + later, ..event.clone() }
        })
        .collect();
    assert!(found(&in_fault, &fault(true, true)).contains(&(Rule::Split, None)));
}

fn stepping_back(late: Duration) -> Vec<Event> {
    let late = u64::try_from(late.as_millis()).unwrap();
    vec![
        claimed(),
        asking(Ask::Refresh, event(30, 40, How::Refreshed, "b", 2)),
        event(40 + late, 41 + late, How::Hit, "a", 1),
        event(50 + late, 51 + late, How::Hit, "a", 1),
    ]
}

#[test]
fn an_older_epoch_after_a_newer_one_is_a_step_back_once() {
    let late = stepping_back(LEASE + Duration::from_millis(1));
    assert_eq!(healthy(&late), [(Rule::StepBack, None)]);
    assert_eq!(found(&late, &fault(false, false)), [(Rule::StepBack, None)]);
}

#[test]
fn a_step_back_is_excused_by_the_lease_and_by_a_fault_that_parts() {
    assert_eq!(healthy(&stepping_back(LEASE)), [(Rule::StepBack, Some(Excuse::Lease))]);
    let late = stepping_back(Duration::from_millis(1500));
    assert_eq!(found(&late, &fault(true, false)), [(Rule::StepBack, Some(Excuse::Fault))]);
}

/// What was told before a fault from second 2 to second 3, and an older pin at `late` milliseconds after it.
fn behind(late: u64) -> Vec<Event> {
    vec![
        claimed(),
        asking(Ask::Refresh, event(30, 40, How::Refreshed, "b", 2)),
        event(3000 + late, 3001 + late, How::Hit, "a", 1),
    ]
}

#[test]
fn an_older_pin_is_behind_once_the_fault_has_been_over_for_long() {
    let rules = |late, circumstances: &Circumstances| -> Vec<_> {
        let found = found(&behind(late), circumstances);
        found.into_iter().filter(|(rule, _)| *rule == Rule::Behind).collect()
    };
    assert_eq!(rules(2001, &fault(true, false)), [(Rule::Behind, None)]);
    assert_eq!(rules(2001, &fault(true, true)), [(Rule::Behind, Some(Excuse::Loss))]);
    assert_eq!(rules(1999, &fault(true, false)), [(Rule::Behind, Some(Excuse::Fault))]);
    let twice = vec![(2000, 5000), (5500, 8000)].into_iter();
    let faults = twice.map(|(from, to)| (Duration::from_millis(from), Duration::from_millis(to)));
    let twice = Circumstances { faults: faults.collect(), ..fault(true, false) };
    assert_eq!(rules(2600, &twice), [], "the next one");
    assert_eq!(rules(5100, &twice), [(Rule::Behind, None)], "which is over, too");
}

#[test]
fn requests_at_the_same_time_have_no_order() {
    let events = [
        claimed(),
        asking(Ask::Refresh, event(30, 40, How::Refreshed, "b", 2)),
        event(35, 50, How::Hit, "a", 1),
    ];
    assert_eq!(healthy(&events), []);
}

#[test]
fn a_pin_that_nobody_made_is_unclaimed() {
    let events = [event(0, 10, How::Hit, "a", 1), event(20, 21, How::Joined, "a", 1)];
    assert_eq!(healthy(&events), [(Rule::Unclaimed, None)]);
}

#[test]
fn each_request_without_a_word_may_have_made_one_pin() {
    let seen = [event(5, 10, How::Hit, "a", 1), event(20, 21, How::Hit, "a", 1)];
    for unheard in [silent(0, 3), event(0, 3, How::StoreUnavailable, "a", 0)] {
        let events = [vec![unheard.clone()], seen.to_vec()].concat();
        assert_eq!(healthy(&events), [(Rule::Unclaimed, Some(Excuse::Provisional))]);
        let later = Event { start: Duration::from_millis(11), ..unheard };
        let events = [vec![later], seen.to_vec()].concat();
        assert_eq!(healthy(&events), [(Rule::Unclaimed, None)], "it began too late");
    }
    let two = [
        silent(0, 3),
        event(5, 10, How::Hit, "a", 1),
        asking(Ask::Refresh, event(20, 21, How::Hit, "b", 2)),
    ];
    let unclaimed = [(Rule::Unclaimed, Some(Excuse::Provisional)), (Rule::Unclaimed, None)];
    assert_eq!(healthy(&two), unclaimed);
}

#[test]
fn pins_of_several_makers_are_told_apart_by_when_they_were_seen() {
    let events = [
        event(0, 7, How::StoreUnavailable, "a", 0),
        event(0, 8, How::StoreUnavailable, "b", 0),
        event(8, 9, How::Hit, "b", 3),
        event(9, 10, How::StoreUnavailable, "c", 0),
        event(9, 11, How::Hit, "a", 1),
        event(11, 12, How::Hit, "c", 2),
    ];
    let unclaimed = |(rule, excuse): &(Rule, Option<Excuse>)| {
        *rule == Rule::Unclaimed && *excuse != Some(Excuse::Provisional)
    };
    assert!(!healthy(&events).iter().any(unclaimed));
}

#[test]
fn a_pin_served_after_its_end_is_stale() {
    let ended = [claimed(), asking(Ask::Final, event(20, 30, How::Hit, "a", 1))];
    let after = |start: u64| [ended.to_vec(), vec![event(start, start + 1, How::Hit, "a", 1)]];
    assert_eq!(healthy(&after(2000).concat()), [(Rule::StaleAfterFinal, None)]);
    let lease = [(Rule::StaleAfterFinal, Some(Excuse::Lease))];
    assert_eq!(healthy(&after(1280).concat()), lease);
    let parted = [(Rule::StaleAfterFinal, Some(Excuse::Fault))];
    assert_eq!(found(&after(2000).concat(), &fault(true, false)), parted);
}

#[test]
fn a_second_claim_without_an_end_of_the_first_is_unasked() {
    let race = [claimed(), event(1, 11, How::Claimed, "b", 2)];
    assert_eq!(healthy(&race), [(Rule::Unasked, None)]);
    assert_eq!(found(&race, &fault(true, true)), [(Rule::Unasked, None)], "long before the fault");
    let provisional = [race.to_vec(), vec![event(2, 12, How::StoreUnavailable, "c", 0)]].concat();
    assert_eq!(healthy(&provisional), [(Rule::Unasked, Some(Excuse::Provisional))]);
    let given_up = [race.to_vec(), vec![silent(2, 12)]].concat();
    assert_eq!(healthy(&given_up), [(Rule::Unasked, None)]);
    let faults = vec![(Duration::ZERO, Duration::from_secs(1))];
    let cut = Circumstances { faults, cuts: true, ..Circumstances::default() };
    assert_eq!(found(&given_up, &cut), [(Rule::Unasked, Some(Excuse::Provisional))]);
    let refreshed = [claimed(), asking(Ask::Refresh, event(20, 30, How::Refreshed, "b", 2))];
    assert_eq!(healthy(&refreshed), []);
}

#[test]
fn where_nothing_may_be_lost_no_fault_excuses_another_pin_or_model() {
    let replicated = Circumstances { replicated: true, ..fault(true, true) };
    let during = [event(2100, 2110, How::Claimed, "a", 1), event(2200, 2210, How::Claimed, "b", 2)];
    let changed = [claimed(), event(6000, 6001, How::Claimed, "b", 2)];
    for (events, rule) in [(&during, Rule::Unasked), (&changed, Rule::Changed)] {
        assert!(found(events, &replicated).contains(&(rule, None)), "{rule:?}");
        assert!(!found(events, &fault(true, true)).contains(&(rule, None)), "{rule:?}");
    }
}

#[test]
fn another_model_after_a_fault_is_a_change() {
    let events = [claimed(), event(6000, 6001, How::Claimed, "b", 2)];
    let kept = found(&events, &fault(true, false));
    assert!(kept.contains(&(Rule::Changed, None)), "{kept:?}");
    let lost = found(&events, &fault(true, true));
    assert!(lost.contains(&(Rule::Changed, Some(Excuse::Loss))), "{lost:?}");
    let asked =
        [claimed(), asking(Ask::Refresh, silent(3000, 3001)), event(6000, 6001, How::Hit, "b", 2)];
    let asked = found(&asked, &fault(true, false));
    assert!(!asked.iter().any(|(rule, _)| *rule == Rule::Changed), "{asked:?}");
}
