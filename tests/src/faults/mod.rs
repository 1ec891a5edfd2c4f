//! What a sick Redis costs: one gateway of the real binary under an even load, first over a healthy
//! Redis and then over one with a fault, for each fault anew.
//!
//! Both halves are of one run on one machine, so what is told is ratios and differences. Nine of ten
//! turns go on with a session, the tenth begins one.

mod load;
mod report;
mod run;
mod sick;

pub use report::Report;
pub use run::{Plan, run};
pub use sick::Sick;
