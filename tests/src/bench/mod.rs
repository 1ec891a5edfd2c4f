//! The end-to-end benchmark: the gateway compared with a floor, nginx and HAProxy, with one load
//! generator and one provider stand-in, all on loopback.
//!
//! 1. Every figure that is judged is a ratio of two servers that were measured in turns, back and
//!    forth, and the median of at least five such pairs. Absolute figures are shown too.
//! 2. The floor is a proxy that reads and forwards bodies and does nothing else; *whole* is one that
//!    does what a gateway must do with a body, and nothing else.
//! 3. Load generator and stand-in run on one thread each and share the machine with the server, as
//!    they do for every server.
//! 4. Each connection is a session of its own. Its first request is not counted, so the turns that
//!    are counted are pinned ones.
//! 5. Processor time is that of the server's threads, so it does not depend on who else runs.
//!
//! The command is `bench`; `tests/bench.sh` builds and calls it.

mod beside;
mod body;
mod cold;
mod connection;
pub mod floor;
mod foreign;
mod load;
mod machine;
mod plan;
mod plot;
pub(crate) mod process;
mod redis;
mod report;
mod run;
pub mod stand_in;
pub(crate) mod stats;
mod subject;
mod verdict;

pub use beside::beside;
pub use plan::Plan;
pub use plot::plot;
pub use report::{insert, section};
pub use run::{Outcome, Setup, run};
