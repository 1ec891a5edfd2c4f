//! The suite for stores against a store that keeps every promise but one.
//!
//! Each fault is one that a store of one's own may well have: a column that was left out, a part of the key
//! that was forgotten, a read followed by a write. A fault that the suite does not see would show only in
//! production, as sessions that split or meet.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use affinity_layer::store::{AnswerState, conformance};
use affinity_layer::{
    AffinityKey, AffinityStore, Claim, Epoch, Expiry, ModelName, Pin, PinRead, Selection,
    StoreError,
};
use tokio::task::yield_now;
use tokio::time::Instant;

use Fault::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    DropsRoute,
    DropsCandidates,
    TurnsCandidates,
    KeepsFewCandidates,
    DropsWarmUp,
    DropsForeign,
    CutsModel,
    IgnoresScope,
    IgnoresSession,
    IgnoresLane,
    IgnoresKind,
    IgnoresObservation,
    IgnoresCase,
    CutsNames,
    CountsInTheRow,
    CountsAnewAfterExpiry,
    MovesInOneEpoch,
    MovesWhateverEpoch,
    ReleasesWhateverEpoch,
    ReleasesByEpochOnly,
    ReleasesWhatIsNot,
    MovesWhatIsNot,
    ClaimsInTwoSteps,
    MovesInTwoSteps,
    OverwritesClaims,
    TellsTheLoserItsOwn,
    TellsTheMoverItsOwn,
    SaysWonAlways,
    NeverEnds,
    GivesTheExpired,
    PeeksTheExpired,
    MovesTheExpired,
    ReleasesTheExpired,
    BlocksByTheExpired,
    SlidesTheFixed,
    SlidesNothing,
    SlidesBeyondAge,
    SlidesByALook,
    RestartsAgeByAMove,
    RestartsNothingByAMove,
    PeeksThePrevious,
    PeeksTheReleased,
    NotesNothing,
    EndsNoAnswer,
    RenewsTheFixed,
}

/// The fault, and the check that sees it.
const FAULTS: [(Fault, &str); 45] = [
    (DropsRoute, "a_claim_is_found_whole"),
    (DropsCandidates, "a_claim_is_found_whole"),
    (TurnsCandidates, "a_claim_is_found_whole"),
    (KeepsFewCandidates, "a_claim_is_found_whole"),
    (DropsWarmUp, "a_claim_is_found_whole"),
    (DropsForeign, "a_claim_is_found_whole"),
    (CutsModel, "a_claim_is_found_whole"),
    (IgnoresScope, "keys_do_not_meet"),
    (IgnoresSession, "the_first_claim_wins"),
    (IgnoresLane, "keys_do_not_meet"),
    (IgnoresKind, "keys_do_not_meet"),
    (IgnoresObservation, "keys_do_not_meet"),
    (IgnoresCase, "keys_do_not_meet"),
    (CutsNames, "long_keys_do_not_meet"),
    (CountsInTheRow, "epochs_grow_across_releases"),
    (CountsAnewAfterExpiry, "expiry::an_expired_pin_can_be_claimed_anew"),
    (MovesInOneEpoch, "a_repin_needs_the_epoch"),
    (MovesWhateverEpoch, "a_repin_needs_the_epoch"),
    (ReleasesWhateverEpoch, "a_release_needs_the_epoch"),
    (ReleasesByEpochOnly, "a_claim_is_found_whole"),
    (ReleasesWhatIsNot, "absence_is_none"),
    (MovesWhatIsNot, "absence_is_none"),
    (ClaimsInTwoSteps, "concurrent_claims_agree"),
    (MovesInTwoSteps, "concurrent_repins_agree"),
    (OverwritesClaims, "the_first_claim_wins"),
    (TellsTheLoserItsOwn, "the_first_claim_wins"),
    (TellsTheMoverItsOwn, "a_repin_needs_the_epoch"),
    (SaysWonAlways, "the_first_claim_wins"),
    (NeverEnds, "expiry::a_fixed_pin_ends_though_used"),
    (GivesTheExpired, "expiry::a_fixed_pin_ends_though_used"),
    (PeeksTheExpired, "expiry::a_fixed_pin_ends_though_used"),
    (MovesTheExpired, "expiry::an_expired_pin_can_be_claimed_anew"),
    (ReleasesTheExpired, "expiry::a_fixed_pin_ends_though_used"),
    (BlocksByTheExpired, "expiry::an_expired_pin_can_be_claimed_anew"),
    (SlidesTheFixed, "expiry::a_fixed_pin_ends_though_used"),
    (SlidesNothing, "expiry::a_sliding_pin_lives_by_use_up_to_its_age"),
    (SlidesBeyondAge, "expiry::a_sliding_pin_lives_by_use_up_to_its_age"),
    (SlidesByALook, "expiry::a_sliding_pin_lives_by_use_up_to_its_age"),
    (RestartsAgeByAMove, "a_repin_needs_the_epoch"),
    (RestartsNothingByAMove, "expiry::a_late_move_does_not_outlive_the_age"),
    (PeeksThePrevious, "a_peek_shows_no_previous_pin"),
    (PeeksTheReleased, "a_peek_shows_no_previous_pin"),
    (NotesNothing, "expiry::a_running_answer_keeps_its_pin"),
    (EndsNoAnswer, "expiry::a_running_answer_keeps_its_pin"),
    (RenewsTheFixed, "expiry::a_fixed_pin_ends_though_used"),
];

#[derive(Clone)]
struct Row {
    selection: Arc<Selection>,
    epoch: u64,
    claimed_at: SystemTime,
    claimed: Instant,
    ends: Instant,
    /// What it was claimed with.
    expiry: Expiry,
}

impl Row {
    fn pin(&self) -> Pin {
        Pin::new(self.selection.clone(), Epoch(self.epoch), self.claimed_at)
    }
}

#[derive(Default)]
struct Rows {
    by_name: HashMap<String, Row>,
    /// What a peek finds, if it is wrong.
    near: HashMap<String, Row>,
    last_epoch: u64,
}

struct Store {
    rows: Mutex<Rows>,
    fault: Fault,
}

impl Store {
    fn new(fault: Fault) -> Self {
        Self { rows: Mutex::default(), fault }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn name(&self, key: &AffinityKey) -> String {
        let scope = key.scope().filter(|_| !self.has(IgnoresScope));
        let lane = key.lane().filter(|_| !self.has(IgnoresLane));
        let session = if self.has(IgnoresSession) { "" } else { key.session() };
        let name = match self.fault {
            IgnoresScope | IgnoresLane | IgnoresSession => {
                format!("{:?}/{scope:?}/{session:?}/{lane:?}", key.kind())
            }
            IgnoresKind => format!("{scope:?}/{session:?}/{lane:?}"),
            _ => key.encode(""),
        };
        match self.fault {
            IgnoresObservation => name.replace("%observed=", ""),
            IgnoresCase => name.to_lowercase(),
            CutsNames => name.chars().take(255).collect(),
            _ => name,
        }
    }

    fn kept(&self, selection: Arc<Selection>) -> Arc<Selection> {
        let (model, route) = (selection.model().clone(), selection.route().cloned());
        let candidates = selection.candidates().to_vec();
        let (warm_up, foreign) = (selection.warm_up(), selection.foreign());
        let made = |model, route, candidates: Vec<ModelName>| {
            Selection::new(model, route, candidates).with_warm_up(warm_up).with_foreign(foreign)
        };
        Arc::new(match self.fault {
            DropsRoute => made(model, None, candidates),
            DropsCandidates => made(model.clone(), route, vec![model]),
            TurnsCandidates => made(model, route, candidates.into_iter().rev().collect()),
            KeepsFewCandidates => made(model, route, candidates.into_iter().take(8).collect()),
            DropsWarmUp => made(model, route, candidates).with_warm_up(0),
            DropsForeign => made(model, route, candidates).with_foreign(None),
            CutsModel => {
                let cut: String = model.as_str().chars().take(64).collect();
                selection.with_model(ModelName::new(&cut).unwrap())
            }
            _ => return selection,
        })
    }

    fn lives(&self, row: &Row) -> bool {
        self.has(NeverEnds) || row.ends > Instant::now()
    }

    /// What is left after a use.
    fn touch(&self, row: &mut Row, expiry: &Expiry) {
        let age = match self.fault {
            SlidesBeyondAge => Duration::ZERO,
            _ => row.claimed.elapsed(),
        };
        let expiry = if self.has(SlidesByALook) { row.expiry } else { *expiry };
        let left = expiry.after_use(age).filter(|_| !self.has(SlidesNothing));
        let left = left.or_else(|| self.has(SlidesTheFixed).then(|| expiry.initial()));
        if let Some(left) = left {
            row.ends = Instant::now() + left;
        }
    }

    fn next_epoch(&self, rows: &mut Rows, before: Option<&Row>) -> u64 {
        match self.fault {
            CountsInTheRow => before.map_or(1, |row| row.epoch + 1),
            CountsAnewAfterExpiry if before.is_some_and(|row| !self.lives(row)) => 1,
            _ => {
                rows.last_epoch += 1;
                rows.last_epoch
            }
        }
    }

    fn claimed(&self, key: &AffinityKey, selection: Arc<Selection>, expiry: &Expiry) -> Claim {
        let mut rows = self.rows.lock().unwrap();
        let (name, selection) = (self.name(key), self.kept(selection));
        let before = rows.by_name.get(&name).cloned();
        let epoch = self.next_epoch(&mut rows, before.as_ref());
        let (claimed_at, claimed) = (SystemTime::now(), Instant::now());
        let ends = claimed + expiry.initial();
        let row = Row { selection, epoch, claimed_at, claimed, ends, expiry: *expiry };
        rows.near.insert(name.clone(), row.clone());
        rows.by_name.insert(name, row.clone());
        Claim::won(row.pin())
    }

    fn standing(&self, key: &AffinityKey) -> Option<Row> {
        self.rows.lock().unwrap().by_name.get(&self.name(key)).cloned()
    }
}

impl AffinityStore for Store {
    fn peek(&self, key: &AffinityKey, expiry: &Expiry) -> Option<Pin> {
        let mut rows = self.rows.lock().unwrap();
        let name = self.name(key);
        if self.has(PeeksThePrevious) || self.has(PeeksTheReleased) {
            return rows.near.get(&name).filter(|row| self.lives(row)).map(Row::pin);
        }
        let row = rows.by_name.get_mut(&name)?;
        if !self.lives(row) {
            return self.has(PeeksTheExpired).then(|| row.pin());
        }
        self.touch(row, expiry);
        Some(row.pin())
    }

    async fn get(&self, key: &AffinityKey, expiry: &Expiry) -> Result<PinRead, StoreError> {
        let mut rows = self.rows.lock().unwrap();
        let row = rows.by_name.get_mut(&self.name(key));
        let row = row.filter(|row| self.lives(row) || self.has(GivesTheExpired));
        Ok(PinRead::from(row.map(|row| {
            self.touch(row, expiry);
            row.pin()
        })))
    }

    fn renew(&self, key: &AffinityKey, expiry: &Expiry, answer: AnswerState) -> bool {
        let mut rows = self.rows.lock().unwrap();
        let Some(row) = rows.by_name.get_mut(&self.name(key)).filter(|row| self.lives(row)) else {
            return true;
        };
        let now = Instant::now();
        match (expiry.limits(), expiry.after_use(row.claimed.elapsed()), answer) {
            _ if self.has(NotesNothing) => {}
            (Some((idle, _)), _, AnswerState::Running) => row.ends = row.ends.max(now + idle),
            (_, Some(left), AnswerState::Ended) if !self.has(EndsNoAnswer) => row.ends = now + left,
            (None, ..) if self.has(RenewsTheFixed) => row.ends = now + expiry.initial(),
            _ => {}
        }
        true
    }

    async fn claim(
        &self,
        key: &AffinityKey,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Claim, StoreError> {
        let before = self.standing(key);
        if self.has(ClaimsInTwoSteps) {
            yield_now().await;
        }
        let before = before.filter(|row| self.lives(row) || self.has(BlocksByTheExpired));
        let Some(before) = before.filter(|_| !self.has(OverwritesClaims)) else {
            return Ok(self.claimed(key, selection, expiry));
        };
        let mut pin = before.pin();
        if self.has(TellsTheLoserItsOwn) {
            pin.selection = selection;
        }
        Ok(if self.has(SaysWonAlways) { Claim::won(pin) } else { Claim::lost(pin) })
    }

    async fn repin(
        &self,
        key: &AffinityKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Option<Claim>, StoreError> {
        let before = self.standing(key);
        if self.has(MovesInTwoSteps) {
            yield_now().await;
        }
        let Some(row) = before.filter(|row| self.lives(row) || self.has(MovesTheExpired)) else {
            return Ok(self.has(MovesWhatIsNot).then(|| self.claimed(key, selection, expiry)));
        };
        if row.epoch != from.0 && !self.has(MovesWhateverEpoch) {
            let mut pin = row.pin();
            if self.has(TellsTheMoverItsOwn) {
                pin.selection = selection;
            }
            return Ok(Some(Claim::lost(pin)));
        }
        let mut rows = self.rows.lock().unwrap();
        let mut moved = Row { selection: self.kept(selection), ..row.clone() };
        moved.epoch = match self.fault {
            MovesInOneEpoch => row.epoch,
            _ => self.next_epoch(&mut rows, Some(&row)),
        };
        if self.has(RestartsAgeByAMove) {
            (moved.claimed, moved.claimed_at) = (Instant::now(), SystemTime::UNIX_EPOCH);
        }
        if !self.has(RestartsNothingByAMove) {
            let left = expiry.after_use(moved.claimed.elapsed()).unwrap_or(expiry.initial());
            moved.ends = Instant::now() + left;
        }
        let name = self.name(key);
        if self.has(PeeksTheReleased) {
            rows.near.insert(name.clone(), moved.clone());
        }
        rows.by_name.insert(name, moved.clone());
        Ok(Some(Claim::won(moved.pin())))
    }

    async fn release(&self, key: &AffinityKey, epoch: Option<Epoch>) -> Result<bool, StoreError> {
        let mut rows = self.rows.lock().unwrap();
        let name = self.name(key);
        let Some(row) = rows.by_name.get(&name) else {
            return Ok(self.has(ReleasesWhatIsNot));
        };
        let is_meant = match epoch {
            None => !self.has(ReleasesByEpochOnly),
            Some(epoch) => row.epoch == epoch.0 || self.has(ReleasesWhateverEpoch),
        };
        if !is_meant || !(self.lives(row) || self.has(ReleasesTheExpired)) {
            return Ok(false);
        }
        rows.by_name.remove(&name);
        if self.has(PeeksThePrevious) {
            rows.near.remove(&name);
        }
        Ok(true)
    }
}

/// The message of the check that the store fails; `None` if it passes the suite.
async fn broken(fault: Fault) -> Option<String> {
    let store = Store::new(fault);
    let mut suite = Box::pin(conformance::run(&store, "mutant", conformance::wait));
    let ended = std::future::poll_fn(|cx| {
        match std::panic::catch_unwind(AssertUnwindSafe(|| suite.as_mut().poll(cx))) {
            Ok(poll) => poll.map(|()| None),
            Err(panic) => std::task::Poll::Ready(panic.downcast::<String>().ok()),
        }
    });
    ended.await.map(|message| *message)
}

#[tokio::test(start_paused = true)]
async fn a_store_without_a_fault_passes() {
    assert_eq!(broken(Nothing).await, None);
}

#[tokio::test(start_paused = true)]
async fn each_fault_is_seen_by_the_check_that_is_named_for_it() {
    let mut missed = Vec::new();
    for (fault, check) in FAULTS {
        let message = broken(fault).await.unwrap_or_else(|| "it passes".to_owned());
        let seen = message.split(": ").next().unwrap_or_default();
        if seen != check {
            missed.push(format!("{fault:?}: {check} expected, but {message}"));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}
