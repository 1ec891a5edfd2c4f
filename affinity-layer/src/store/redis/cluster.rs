//! Which server holds the pin of a name: the only one there is, or the one that a cluster names.
//!
//! `routing.rs` sends commands and follows redirections, by the `topology.rs` of the moment.
//! `refresh.rs` asks the nodes for theirs (`view.rs`) and keeps it up to date; `redirection.rs`
//! reads an answer that leads elsewhere.
//!
//! A single server, and the primary that Sentinels name, is a topology of one node without slots,
//! so nothing above this wing knows a difference.

mod redirection;
mod refresh;
mod routing;
mod topology;
mod view;

pub(super) use self::refresh::keep_topology;
pub(crate) use self::routing::Servers;
pub(crate) use self::topology::Topology;
