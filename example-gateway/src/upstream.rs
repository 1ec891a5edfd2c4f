//! The providers: which of them serves a model, and how requests get there.
//!
//! ```text
//! proxy      a request with its model → its provider, and the answer back
//!  ├ providers   which provider that is, and what a client may call a model
//!  ├ vendor      which models are of one vendor
//!  ├ drains      which models get no new sessions
//!  ├ targets     what of a provider can cool down
//!  ├ windows     which models are too small for a request
//!  ├ sizes       what requests came to, which corrects it
//!  ├ dial        a connection there, through a proxy if need be
//!  ├ watch       the span and the counts of the call
//!  ├ stall       an answer that stops halfway
//!  └ hop         headers that end at each hop
//! ```
//!
//! The affinity layer has chosen the model before the proxy is called. The proxy finds out where that is
//! served, and never chooses another.

mod callee;
pub(crate) mod dial;
pub(crate) mod drains;
pub(crate) mod hop;
pub(crate) mod providers;
pub(crate) mod proxy;
pub(crate) mod sizes;
mod stall;
pub(crate) mod targets;
pub(crate) mod vendor;
pub(crate) mod watch;
pub(crate) mod windows;
