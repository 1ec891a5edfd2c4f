//! Each mistake is caught: a property that could not fail would show nothing.

use crate::counterexample;
use crate::properties::{ANSWERED, CLAIMED, COHERENT, FORWARD, KEPT};
use crate::variant::{Faults, Mistake, Variant};

const CUT: Faults = Faults { cut: true, ..Faults::NONE };
const FAILOVER: Faults = Faults { failover: true, ..Faults::NONE };
const CANCEL: Faults = Faults { cancel: true, ..Faults::NONE };

fn sequential(mistake: Mistake) -> Variant<2, 1> {
    Variant::sequential(4, 2).with_mistake(mistake)
}

fn overlapping(mistake: Mistake) -> Variant<2, 1> {
    Variant::overlapping([3, 3], 2).with_mistake(mistake)
}

#[test]
fn claim_by_get_then_set() {
    counterexample("claim overwrites", overlapping(Mistake::ClaimOverwrites), KEPT);
}

#[test]
fn repin_without_epoch() {
    counterexample("blind repin", overlapping(Mistake::BlindRepin), KEPT);
}

#[test]
fn near_copies_without_invalidation() {
    counterexample("deaf", sequential(Mistake::Deaf), COHERENT);
    counterexample("deaf", sequential(Mistake::Deaf), FORWARD);
}

#[test]
fn near_copies_fresh_over_a_reconnect() {
    let world = sequential(Mistake::FreshOverReconnect).with_faults(CUT, 1);
    counterexample("fresh over a reconnect", world, COHERENT);
    counterexample("fresh over a reconnect", world, FORWARD);
}

#[test]
fn own_decisions_not_reconciled() {
    let world = sequential(Mistake::OwnAsPin).with_faults(CUT, 1);
    counterexample("own decision as pin", world, CLAIMED);
}

#[test]
fn near_copy_from_a_reply_that_an_invalidation_overtook() {
    let world = overlapping(Mistake::FillAfterInvalidation);
    counterexample("fill after invalidation", world, COHERENT);
    counterexample("fill after invalidation", world, FORWARD);
}

#[test]
fn near_copy_kept_while_the_replica_itself_changes_the_pin() {
    let world = sequential(Mistake::NoFence).with_faults(CANCEL, 1);
    counterexample("no fence", world, COHERENT);
    counterexample("no fence", world, FORWARD);
}

#[test]
fn knowledge_from_before_an_outage_told_as_pinned() {
    let world = sequential(Mistake::KnownAsPinned).with_faults(CUT, 1);
    counterexample("known as pinned", world, FORWARD);
}

#[test]
fn waiting_requests_handed_an_old_reply() {
    counterexample("stale handover", overlapping(Mistake::StaleHandover), FORWARD);
}

#[test]
fn waiting_requests_forgotten_by_a_cancelled_leader() {
    let world = overlapping(Mistake::OrphanedWaiters).with_faults(CANCEL, 1);
    counterexample("orphaned waiters", world, ANSWERED);
}

/// The standby has the claim after all and another request is told of it; then its maker undoes it.
#[test]
fn a_change_undone_although_it_was_confirmed() {
    let world = overlapping(Mistake::BlindUndo).with_marks().without_near_copies();
    counterexample("blind undo", world.with_faults(FAILOVER, 0), KEPT);
}
