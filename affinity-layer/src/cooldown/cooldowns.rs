//! The shared part: the table behind its lock, and the observer of its changes.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::request::Parts;
use tokio::sync::watch;
use tokio::time::Instant;

use super::retries::{GiveUp, Retries};
use super::table::{Cooling, CoolingTarget, Failure, Standing, Table};
use super::target::{CooldownCause, Target, TargetKind};
use crate::{AffinityKey, ModelName, telemetry};

/// The targets of a model.
type Targets = dyn Fn(TargetKind, &ModelName, &Parts) -> Option<Target> + Send + Sync;

/// The observer of changes.
type Observer = dyn Fn(&CooldownChange) + Send + Sync;

/// What was learned of the targets that models are served by. Clones share it.
///
/// See the [module docs](super).
#[derive(Clone)]
pub struct Cooldowns {
    shared: Arc<Shared>,
    targets: Arc<Targets>,
    observer: Option<Arc<Observer>>,
}

#[derive(Debug)]
struct Shared {
    /// Whether the table has entries. Every request asks, so it is one read.
    any: AtomicBool,
    table: Mutex<Table>,
    /// The same of the sessions that nobody served.
    any_retries: AtomicBool,
    retries: Mutex<Retries>,
    /// Changes with each address that falls silent.
    silent: watch::Sender<u64>,
}

/// Something that an operator may want to know.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CooldownChange {
    /// A target begins to cool down, or does so again.
    Began(CoolingTarget),
    /// A target serves again.
    Ended(CoolingTarget),
}

/// What may be done with a model.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It gets the request.
    Open,
    /// It gets this one request, and no other until this one has ended.
    Trial(Trial),
    /// It is left alone.
    Cooling(Cooling),
}

/// A request that tries a target. Dropped before anything was learned, it leaves the trial to the next.
#[derive(Debug)]
pub(crate) struct Trial {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.shared.table().end_trial(self.number);
    }
}

/// What an attempt says of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lesson {
    pub(crate) kind: TargetKind,
    pub(crate) cause: CooldownCause,
    pub(crate) retry_after: Option<Duration>,
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn retries(&self) -> MutexGuard<'_, Retries> {
        self.retries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cooldowns {
    /// Nothing is known yet. The part of a model's name before its first slash stands for its address
    /// and for its credential; no model has a proxy.
    #[must_use]
    pub fn new() -> Self {
        let shared = Shared {
            any: AtomicBool::new(false),
            table: Mutex::default(),
            any_retries: AtomicBool::new(false),
            retries: Mutex::default(),
            silent: watch::Sender::new(0),
        };
        Self { shared: Arc::new(shared), targets: Arc::new(by_name), observer: None }
    }

    /// Which targets a model has; without one of a kind, failures of that kind cool nothing. Set it
    /// before the first clone is made.
    ///
    /// The function is asked while something cools, and when something fails. It gets the head of the
    /// request for targets of kind [`Path`](TargetKind::Path).
    ///
    /// ```
    /// use affinity_layer::ModelName;
    /// use affinity_layer::cooldown::{Cooldowns, Target, TargetKind};
    ///
    /// // All models are behind one proxy, which has the keys.
    /// let cooldowns = Cooldowns::new().targets(|kind, model, _| match kind {
    ///     TargetKind::Address => Some(Target::new(kind, "proxy.internal")),
    ///     TargetKind::Model => Some(Target::new(kind, model.as_str())),
    ///     _ => None,
    /// });
    /// # let _ = cooldowns;
    /// ```
    #[must_use]
    pub fn targets<F>(self, targets: F) -> Self
    where
        F: Fn(TargetKind, &ModelName, &Parts) -> Option<Target> + Send + Sync + 'static,
    {
        Self { targets: Arc::new(targets), ..self }
    }

    /// Sets what is called with each change, instead of writing to the log. Set it before the first clone is
    /// made. It is called on the way of a request and must not wait.
    #[must_use]
    pub fn on_change<F: Fn(&CooldownChange) + Send + Sync + 'static>(self, observer: F) -> Self {
        Self { observer: Some(Arc::new(observer)), ..self }
    }

    /// Every target that failed lately, in no order.
    #[must_use]
    pub fn list(&self) -> Vec<CoolingTarget> {
        let mut table = self.shared.table();
        let listed = table.list(Instant::now());
        self.noted(&table);
        listed
    }

    /// Forgets what is known of a target, so that the next request tries it. Says whether anything was
    /// known.
    pub fn clear(&self, target: &Target) -> bool {
        let mut table = self.shared.table();
        let cleared = table.clear(target, Instant::now());
        self.noted(&table);
        drop(table);
        let was_known = cleared.is_some();
        if let Some(cleared) = cleared {
            self.tell(&CooldownChange::Ended(cleared));
        }
        was_known
    }

    /// Whether anything failed lately.
    pub(crate) fn any(&self) -> bool {
        self.shared.any.load(Ordering::Relaxed)
    }

    /// Whether `model` may get `request`. It begins a trial where one is due.
    pub(crate) fn admit(&self, model: &ModelName, request: &Parts) -> Admission {
        if !self.any() {
            return Admission::Open;
        }
        let (targets, now) = (self.targets_of(model, request), Instant::now());
        let mut table = self.shared.table();
        match table.standing(targets.clone(), now) {
            Standing::Open => Admission::Open,
            Standing::Cooling(cooling) => Admission::Cooling(cooling),
            Standing::Due => {
                let (shared, number) = (self.shared.clone(), table.begin_trial(targets, now));
                Admission::Trial(Trial { shared, number })
            }
        }
    }

    /// Whether `model` is to be left alone. Begins no trial.
    pub(crate) fn cools(&self, model: &ModelName, request: &Parts) -> Option<Cooling> {
        if !self.any() {
            return None;
        }
        let targets = self.targets_of(model, request);
        match self.shared.table().standing(targets, Instant::now()) {
            Standing::Cooling(cooling) => Some(cooling),
            Standing::Open | Standing::Due => None,
        }
    }

    /// Notes what an attempt with `model` that was sent at `sent` has taught.
    pub(crate) fn failed(&self, model: &ModelName, request: &Parts, lesson: Lesson, sent: Instant) {
        let Lesson { kind, cause, retry_after } = lesson;
        let failure = Failure { cause, model, retry_after, sent };
        let now = Instant::now();
        let mut table = self.shared.table();
        let of_kind = |kind| (self.targets)(kind, model, request);
        let began = of_kind(kind).and_then(|target| table.cool(&target, &failure, now));
        let is_silent = kind == TargetKind::Address && cause == CooldownCause::Timeout;
        if let Some(target) = of_kind(TargetKind::Model).filter(|_| is_silent) {
            // Should its address answer for another model, this one is still the one that did not.
            table.cool(&target, &failure, now);
        }
        self.noted(&table);
        drop(table);
        if let Some(began) = began {
            telemetry::cooled(kind.as_str(), cause.as_str());
            if is_silent {
                self.shared.silent.send_modify(|times| *times = times.wrapping_add(1));
            }
            self.tell(&CooldownChange::Began(began));
        }
    }

    /// Notes that `model` has served a request that was sent at `sent`.
    pub(crate) fn served(&self, model: &ModelName, request: &Parts, sent: Instant) {
        if !self.any() {
            return;
        }
        let mut table = self.shared.table();
        let ended = table.served(self.targets_of(model, request), sent, Instant::now());
        self.noted(&table);
        drop(table);
        for target in ended {
            self.tell(&CooldownChange::Ended(target));
        }
    }

    /// Notes that none of the candidates in `failed` has served a request of `key`.
    pub(crate) fn gave_up(&self, key: &AffinityKey, failed: GiveUp) {
        self.shared.retries().gave_up(key, failed, Instant::now());
        self.shared.any_retries.store(true, Ordering::Relaxed);
    }

    /// What became of the last request of `key`, if none of its candidates served it a short while ago.
    pub(crate) fn last_give_up(&self, key: &AffinityKey) -> Option<GiveUp> {
        if !self.shared.any_retries.load(Ordering::Relaxed) {
            return None;
        }
        self.shared.retries().last(key, Instant::now()).cloned()
    }

    /// Notes that a request of `key` was served.
    pub(crate) fn served_session(&self, key: &AffinityKey) {
        if self.shared.any_retries.load(Ordering::Relaxed) {
            let mut retries = self.shared.retries();
            retries.served(key);
            self.shared.any_retries.store(!retries.is_empty(), Ordering::Relaxed);
        }
    }

    /// Hears of addresses that fall silent from now on.
    pub(crate) fn silence(&self) -> Silence {
        Silence(self.shared.silent.subscribe())
    }

    fn targets_of<'a>(
        &'a self,
        model: &'a ModelName,
        request: &'a Parts,
    ) -> impl Iterator<Item = Target> + Clone + use<'a> {
        TargetKind::ALL.into_iter().filter_map(|kind| (self.targets)(kind, model, request))
    }

    /// Keeps the flag in step with the table, whose lock is held.
    fn noted(&self, table: &Table) {
        self.shared.any.store(!table.is_empty(), Ordering::Relaxed);
    }

    fn tell(&self, change: &CooldownChange) {
        if let Some(observer) = &self.observer {
            return observer(change);
        }
        match change {
            CooldownChange::Began(CoolingTarget { target, cause, model, left, .. }) => {
                let (kind, cause) = (target.kind().as_str(), cause.as_str());
                tracing::warn!(kind, target = target.name(), %model, cause, ?left, "cooling down");
            }
            CooldownChange::Ended(CoolingTarget { target, .. }) => {
                tracing::info!(
                    kind = target.kind().as_str(),
                    target = target.name(),
                    "serves again"
                );
            }
        }
    }
}

/// Hears of addresses that fall silent.
pub(crate) struct Silence(watch::Receiver<u64>);

impl Silence {
    /// Ends when an address has fallen silent.
    pub(crate) async fn fell(&mut self) {
        if self.0.changed().await.is_err() {
            // The sender is in the table, which whoever waits here has too.
            std::future::pending::<()>().await;
        }
    }
}

/// The targets of a model by its name.
fn by_name(kind: TargetKind, model: &ModelName, request: &Parts) -> Option<Target> {
    let name = model.as_str();
    let provider = name.split_once('/').map_or(name, |(provider, _)| provider);
    Some(match kind {
        TargetKind::Address | TargetKind::Credential => Target::new(kind, provider),
        TargetKind::Model => Target::new(kind, name),
        TargetKind::Path => Target::new(kind, format!("{name} at {}", request.uri.path())),
        TargetKind::Proxy => return None,
    })
}

impl Default for Cooldowns {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Cooldowns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cooldowns").field("shared", &self.shared).finish_non_exhaustive()
    }
}
