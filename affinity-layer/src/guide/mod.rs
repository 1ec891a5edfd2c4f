//! Pages that belong to no single type. There is no code in them.
//!
//! - [Routers](routers): time limits, retries, and what happens when one fails.
//! - [Testing](testing): sessions of hours in tests of milliseconds.
//! - [Costs](costs): crates of each feature.

pub mod costs;
pub mod routers;
pub mod testing;
