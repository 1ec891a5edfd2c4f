//! What a sick Redis costs: one gateway of the real binary under an even load, first over a healthy
//! Redis and then over one with a fault, once for each fault.
//!
//! Both halves are of one run on one machine, so the results are ratios and differences. Nine of ten
//! turns continue a session, the tenth begins one.

mod load;
mod report;
mod run;
mod sick;

pub use report::Report;
pub use run::{Plan, run};
pub use sick::Sick;
