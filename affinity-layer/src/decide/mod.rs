//! The decision itself, for programs that have no HTTP request: a queue worker, a gRPC stream, the resolver
//! of a client library.
//!
//! [`Affinity`] has a store, a router and rules. [`Affinity::decide`] takes the key of a session and a
//! question for the router, and returns a [`Decision`]: the target to use, how it was found, and a guard
//! that keeps the session's pin alive while you use it. An [`AffinityLayer`](crate::AffinityLayer) decides in
//! the same way, and can [share](crate::AffinityLayer::over) an `Affinity`.
//!
//! A target is whatever your router names and you can reach by that name: a model, a shard, a backend, a
//! region. The question is a type of yours.
//!
//! ```
//! use affinity_layer::{
//!     Affinity, AffinityKey, BoxError, MemoryStore, Outcome, RouteDecision, TargetName,
//! };
//! use tower::service_fn;
//!
//! /// What the router judges: a type of your own.
//! #[derive(Clone)]
//! struct Job {
//!     account: String,
//!     rows: usize,
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let router = service_fn(|job: Job| async move {
//!     let ranked = if job.rows > 1000 { ["shard-large", "shard-a"] } else { ["shard-a", "shard-b"] };
//!     let ranked = ranked.into_iter().map(TargetName::new).collect::<Result<Vec<_>, _>>()?;
//!     Ok::<_, BoxError>(RouteDecision::new(ranked))
//! });
//! let affinity = Affinity::new(MemoryStore::default(), router);
//!
//! /// Stands for the work; shard-a is away.
//! async fn import(shard: &TargetName, _job: &Job) -> Result<usize, BoxError> {
//!     if shard.as_str() == "shard-a" { Err("connection refused".into()) } else { Ok(1) }
//! }
//!
//! let mut outcomes = Vec::new();
//! for rows in [10, 5000] {
//!     let job = Job { account: "acme".into(), rows };
//!     let key = AffinityKey::new(&job.account)?;
//!     let mut decision = affinity.decide(&key, job.clone()).await?;
//!     loop {
//!         match import(decision.target(), &job).await {
//!             Ok(_) => break,
//!             // The next candidate, if one is left.
//!             Err(_) if decision.failed().await => {}
//!             Err(error) => return Err(error),
//!         }
//!     }
//!     // The session stays with the target that did the work.
//!     outcomes.push((decision.served().await, decision.target().to_string()));
//! }
//! let expected = [(Outcome::Repinned, "shard-b"), (Outcome::Hit, "shard-b")];
//! assert_eq!(outcomes, expected.map(|(outcome, shard)| (outcome, shard.to_owned())));
//! # Ok(())
//! # }
//! ```
//!
//! # Rules
//!
//! 1. The first call of a session asks the router once, however many calls arrive together, and claims the
//!    session. All of them get the one target that won the claim, on every replica.
//! 2. Later calls get the pinned target. With a pin [at hand](crate::AffinityStore::peek) nothing is awaited.
//! 3. When the router fails, the call gets the target that its [`Turn`] asks for, else the default, and
//!    nothing is stored. When the store fails, the call goes on within
//!    [`store_budget`](Affinity::store_budget).
//! 4. A [`Decision`] is a use of the pin until it is dropped: the pin does not expire meanwhile.
//! 5. [`failed`](Decision::failed) goes on with the next candidate, and [`served`](Decision::served) moves
//!    the pin to it. When no candidate is left, a pin that this call made is withdrawn.
//!
//! # Limits
//!
//! - It needs a tokio runtime with time: the store has a time limit, and a running use is renewed by a task,
//!   which ends with the decision.
//! - The question is cloned when the router is asked, and only then.
//! - At most [`max_waiters`](Affinity::max_waiters) calls of one session wait for its first decision.

mod affinity;
mod ask;
mod budget;
mod decider;
mod decision;
mod health;
mod protocol;
mod refusal;
mod rules;
mod turn;
mod verdict;

pub use affinity::Affinity;
pub(crate) use ask::Ask;
pub(crate) use budget::Budget;
pub(crate) use decider::Decider;
pub use decision::Decision;
pub(crate) use protocol::Protocol;
pub use refusal::Undecided;
pub(crate) use rules::{Escalation, Rules};
pub use turn::Turn;
pub(crate) use verdict::{Agreement, Verdict};

/// The name of what a session is pinned to.
///
/// It is the same type as [`ModelName`](crate::ModelName), under a name that reads well where the target is
/// a shard, a backend or a region.
pub type TargetName = crate::ModelName;
