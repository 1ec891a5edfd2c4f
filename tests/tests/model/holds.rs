//! What holds, and under which assumptions: every state of each of these worlds is visited.

use crate::properties::{ALONE, FORWARD, HIT, KEPT, REPINNED};
use crate::variant::{Epochs, Faults, Variant, Wait};
use crate::{check, size};

/// What can go wrong beside a failover; a Redis that loses everything would hide what it did.
const WITH_FAILOVER: Faults =
    Faults { cut: true, crash: true, cancel: true, failover: true, ..Faults::NONE };

/// No request ends without an answer.
const ALL_ANSWERED: Faults = Faults { cut: true, restart: true, loss: true, ..Faults::NONE };

#[test]
fn one_request_at_a_time() {
    let world = Variant::<2, 1>::sequential(size(4, 5), 2);
    check("one at a time", world.with_faults(Faults::ALL, 1), &[]);
    let world = Variant::<2, 1>::sequential(3, 2);
    check("more faults", world.with_faults(Faults::ALL, size(2, 3)), &[]);
}

#[test]
fn two_requests_at_once() {
    let world = Variant::<2, 1>::overlapping(size([2, 2], [3, 2]), size(1, 2));
    check("two at once", world.with_faults(Faults::ALL, 1), &[]);
}

#[test]
fn two_sessions() {
    let world = size(Variant::<2, 2>::sequential(2, 2), Variant::sequential(3, 1));
    let unseen: &[&str] = size(&[REPINNED], &[]);
    check("two sessions", world.with_faults(Faults::ALL, 1), unseen);
}

#[test]
fn three_replicas() {
    let world = Variant::<3, 1>::sequential(3, 2);
    check("three replicas", world.with_faults(Faults::ALL, size(1, 2)), &[]);
    let world = Variant::<3, 2>::sequential(2, size(0, 1));
    check("three replicas, two sessions", world.with_faults(Faults::ALL, 1), &[REPINNED]);
}

#[test]
fn three_replicas_and_two_requests_at_once() {
    let world = Variant::<3, 1>::overlapping([2, 2], size(2, 1));
    let unseen: &[&str] = size(&[ALONE], &[]);
    check("three replicas, two at once", world.with_faults(Faults::ALL, size(0, 1)), unseen);
}

#[test]
fn without_waiting_only_the_order_of_epochs_is_lost() {
    let world = Variant::<2, 1>::sequential(4, 2).with_wait(Wait::Nobody);
    check("nobody waits", world.with_faults(Faults::ALL, 1), &[FORWARD]);
    let world = Variant::<2, 1>::overlapping([2, 2], 1).with_wait(Wait::Nobody);
    check("nobody waits, two at once", world.with_faults(Faults::ALL, 1), &[FORWARD]);
}

#[test]
fn the_changer_alone_may_wait_if_every_request_is_answered() {
    let world = Variant::<3, 1>::sequential(3, 2).with_wait(Wait::Changer);
    check("the changer waits", world.with_faults(ALL_ANSWERED, size(1, 2)), &[]);
}

#[test]
fn nobody_need_wait_without_near_copies() {
    let world = Variant::<2, 1>::sequential(4, 2).with_wait(Wait::Nobody).without_near_copies();
    check("no near copies", world.with_faults(Faults::ALL, size(1, 2)), &[HIT]);
    let world = Variant::<3, 1>::overlapping([2, 2], 1);
    let world = world.with_wait(Wait::Nobody).without_near_copies();
    check("no near copies, two at once", world.with_faults(Faults::ALL, 1), &[HIT]);
}

#[test]
fn epochs_may_be_chosen_by_the_sender_for_one_request_at_a_time() {
    let world = Variant::<2, 1>::sequential(4, 2).with_epochs(Epochs::AtSender);
    check("epochs of the sender", world.with_faults(Faults::ALL, size(1, 2)), &[]);
}

#[test]
fn a_failover_is_not_seen_where_everyone_waits_for_the_standby() {
    let world = Variant::<2, 1>::sequential(3, 2);
    check("replicated", world.with_faults(WITH_FAILOVER, size(2, 3)), &[]);
    let world = Variant::<2, 1>::overlapping([2, 2], 1);
    check("replicated, two at once", world.with_faults(WITH_FAILOVER, 1), &[REPINNED]);
}

/// As it is built: only what is marked waits, and what the standby does not get is undone.
#[test]
fn a_failover_is_not_seen_where_changes_are_marked_until_the_standby_has_them() {
    let world = Variant::<2, 1>::sequential(3, 2).with_marks();
    check("marked", world.with_faults(WITH_FAILOVER, size(1, 2)), &[]);
    let world = Variant::<2, 1>::overlapping(size([2, 1], [2, 2]), 1).with_marks();
    check("marked, two at once", world.with_faults(WITH_FAILOVER, 1), &[REPINNED]);
}

#[test]
fn a_failover_of_a_primary_moves_sessions_and_nothing_worse() {
    let world = Variant::<2, 1>::sequential(3, 2).with_wait(Wait::Nobody).without_near_copies();
    let world = world.with_faults(WITH_FAILOVER, size(2, 3));
    check("primary", world, &[FORWARD, KEPT, HIT]);
}
