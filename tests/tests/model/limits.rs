//! What cannot be promised: weaker choices and worlds for which the checker must find a run that
//! breaks a promise. `docs/protocol.md` tells the story of each.

use crate::counterexample;
use crate::properties::{FORWARD, KEPT, ONE_MODEL};
use crate::variant::{Epochs, Faults, Variant, Wait};

const CANCEL: Faults = Faults { cancel: true, ..Faults::NONE };
const CRASH: Faults = Faults { crash: true, ..Faults::NONE };
const FAILOVER: Faults = Faults { failover: true, ..Faults::NONE };

fn sequential() -> Variant<2, 1> {
    Variant::sequential(4, 2)
}

/// B moves the pin and answers before A has heard of it; A then serves its copy.
#[test]
fn epochs_go_back_where_nobody_waits() {
    let world = sequential().with_wait(Wait::Nobody);
    counterexample("nobody waits", world, FORWARD);
}

/// The changer waits, but its client does not, and reads the change elsewhere.
#[test]
fn epochs_go_back_where_only_the_changer_waits_and_a_request_ends_early() {
    let world = sequential().with_wait(Wait::Changer);
    counterexample("cancelled changer", world.with_faults(CANCEL, 1), FORWARD);
    counterexample("crashed changer", world.with_faults(CRASH, 1), FORWARD);
}

/// The same with a second request of the session in the place of the impatient client.
#[test]
fn epochs_go_back_where_only_the_changer_waits_and_requests_overlap() {
    let world = Variant::<3, 1>::overlapping([2, 3], 1).with_wait(Wait::Changer);
    counterexample("overlapping reader", world, FORWARD);
}

/// A claim with an old epoch arrives after a younger pin was claimed, told and released.
#[test]
fn epochs_go_back_where_the_sender_chooses_them_and_requests_overlap() {
    let world = Variant::<2, 1>::overlapping([1, 3], 1).with_epochs(Epochs::AtSender);
    counterexample("epochs of the sender", world, FORWARD);
}

#[test]
fn epochs_mean_nothing_where_each_replica_counts_for_itself() {
    let world = sequential().with_epochs(Epochs::PerReplica);
    counterexample("epochs per replica", world, FORWARD);
    counterexample("epochs per replica", world, ONE_MODEL);
}

#[test]
fn epochs_mean_nothing_where_they_restart_after_a_release() {
    let world = sequential().with_epochs(Epochs::Restarting);
    counterexample("restarting epochs", world, FORWARD);
    counterexample("restarting epochs", world, ONE_MODEL);
}

/// An acknowledged claim, and an acknowledged repin, that the standby had not received.
#[test]
fn a_failover_moves_sessions_where_nobody_waits_for_the_standby() {
    let world = sequential().with_wait(Wait::Nobody).without_near_copies();
    counterexample("lost claim", world.with_faults(FAILOVER, 1), KEPT);
    counterexample("lost repin", world.with_faults(FAILOVER, 1), FORWARD);
}

/// The claim waits for the standby; another request reads it before and tells it at once.
#[test]
fn a_failover_moves_sessions_where_only_the_changer_waits_for_the_standby() {
    let world = Variant::<2, 1>::overlapping([1, 3], 0).with_wait(Wait::Changer);
    let world = world.without_near_copies();
    counterexample("read before replicated", world.with_faults(FAILOVER, 1), KEPT);
}
