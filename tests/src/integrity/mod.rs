//! The integrity checker: many sessions over several gateways and one Redis, and whether what the
//! clients saw is consistent.
//!
//! 1. Gateways are processes of the real binary, Redis is a real server, Sentinel set or cluster.
//!    The provider and the routing model are stand-ins in this process; the routing model names
//!    another model each time, so that every decision that should not have been made shows.
//! 2. A session begins with concurrent first turns on different replicas. Further turns, with
//!    refreshes and final ones among them, go to a random replica each. Some requests are given up.
//! 3. Every request is recorded as its client saw it. Afterwards the [`oracle`](check) goes through
//!    each session's history; it knows nothing of the store but what the contract promises.
//! 4. What cannot be promised is counted apart and never mixed with violations: see [`Excuse`].
//! 5. Choices follow from the seed. Time is real, so two runs of one seed differ in their timing.

mod client;
mod drive;
mod fault;
mod history;
mod oracle;
mod replicas;
mod report;
mod rng;
mod run;
mod stubs;

pub use fault::Fault;
pub use history::{Answer, Ask, Event, How, Told};
pub use oracle::{Circumstances, Excuse, Finding, LEASE, Rule, check};
pub use report::{Report, table};
pub(crate) use rng::Rng;
pub use run::{Plan, run};
