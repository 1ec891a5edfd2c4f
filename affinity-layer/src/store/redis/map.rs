//! Which server has what, as far as is known.

use std::sync::Arc;

use fred::types::config::Server;

use super::node::Node;

/// Who serves what.
#[derive(Clone, Default)]
pub(crate) struct Map {
    pub(crate) nodes: Vec<Arc<Node>>,
    /// In order; none where one server has everything.
    pub(super) ranges: Vec<Range>,
}

/// A range of slots.
#[derive(Clone)]
pub(super) struct Range {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) node: Arc<Node>,
}

impl Map {
    pub(super) fn node(&self, name: &str) -> Option<&Arc<Node>> {
        if self.ranges.is_empty() {
            return self.nodes.first();
        }
        let slot = fred::util::redis_keyslot(name.as_bytes());
        let range = self.ranges.get(self.ranges.partition_point(|range| range.last < slot))?;
        (range.first <= slot).then_some(&range.node)
    }

    pub(super) fn at(&self, server: &Server) -> Option<&Arc<Node>> {
        self.nodes.iter().find(|node| node.server() == Some(server))
    }
}
