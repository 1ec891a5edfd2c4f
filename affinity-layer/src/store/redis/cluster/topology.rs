//! The servers, and which slots each of them serves, as far as is known.
//!
//! Readers see it through a watch channel. A refresh replaces it as a whole, and a redirection to
//! an unknown node adds that node. What it says may be out of date at any time; a node that does
//! not serve a slot says so.

use std::sync::Arc;

use fred::types::config::Server;

use super::super::node::Node;

/// The servers of a store.
#[derive(Clone, Default)]
pub(crate) struct Topology {
    pub(crate) nodes: Vec<Arc<Node>>,
    /// In order; empty where one server serves everything.
    pub(super) ranges: Vec<Range>,
}

/// A range of slots, and the node that serves it.
#[derive(Clone)]
pub(super) struct Range {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) node: Arc<Node>,
}

impl Topology {
    /// The node that serves the slot of `name`.
    ///
    /// `None` for a slot without a node, such as that of a primary that was lost without a replica.
    pub(super) fn node(&self, name: &str) -> Option<&Arc<Node>> {
        if self.ranges.is_empty() {
            return self.nodes.first();
        }
        let slot = fred::util::redis_keyslot(name.as_bytes());
        let range = self.ranges.get(self.ranges.partition_point(|range| range.last < slot))?;
        (range.first <= slot).then_some(&range.node)
    }

    /// The node with this address.
    pub(super) fn at(&self, server: &Server) -> Option<&Arc<Node>> {
        self.nodes.iter().find(|node| node.server() == Some(server))
    }
}
