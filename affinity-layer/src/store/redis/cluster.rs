//! Which server holds the pin of a name: the only one there is, or the one that a cluster names.

mod redirection;
mod refresh;
mod routing;
mod topology;
mod view;

pub(super) use self::refresh::keep_topology;
pub(crate) use self::routing::Servers;
pub(crate) use self::topology::Topology;
