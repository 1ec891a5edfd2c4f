//! What a provider speaks, and what it calls its models.

use affinity_layer::ModelName;

use crate::config::Provider;
use crate::protocol::Protocol;

impl Provider {
    /// Whether the provider takes requests of `protocol`.
    pub(crate) fn speaks(&self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Chat => self.protocols.chat,
            Protocol::Messages => self.protocols.messages,
            Protocol::Responses => self.protocols.responses,
        }
    }

    /// What the provider itself calls `model`: the name without its first part.
    pub(crate) fn upstream_id<'a>(&self, model: &'a ModelName) -> &'a str {
        model.as_str().split_once('/').map_or(model.as_str(), |(_, id)| id)
    }
}
