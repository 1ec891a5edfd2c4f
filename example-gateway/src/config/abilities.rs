//! What a provider and its model can take.
//!
//! What a provider speaks follows from its vendor where the file does not say it. Intake finds out what a
//! request needs, and a request that a model cannot take goes to another rather than to be refused.

use affinity_layer::body::Inputs;

use super::at::At;
use crate::protocol::Protocol;

/// The protocols that a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    /// `POST /v1/chat/completions`.
    pub chat: bool,
    /// `POST /v1/messages`.
    pub messages: bool,
    /// `POST /v1/responses`.
    pub responses: bool,
}

impl Default for Protocols {
    fn default() -> Self {
        Self { chat: true, messages: true, responses: true }
    }
}

impl Protocols {
    /// Each protocol by its name in the file, and whether it is spoken.
    #[must_use]
    pub fn named(self) -> [(&'static str, bool); 3] {
        [("chat", self.chat), ("messages", self.messages), ("responses", self.responses)]
    }

    /// Whether `protocol` is one of them.
    pub(crate) fn include(self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Chat => self.chat,
            Protocol::Messages => self.messages,
            Protocol::Responses => self.responses,
        }
    }

    /// What either of them speaks.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            chat: self.chat || other.chat,
            messages: self.messages || other.messages,
            responses: self.responses || other.responses,
        }
    }

    /// What is not spoken.
    #[must_use]
    pub fn missing(self) -> Self {
        Self { chat: !self.chat, messages: !self.messages, responses: !self.responses }
    }
}

pub(super) fn protocols(at: &At<'_>) -> Protocols {
    let mut spoken = Protocols { chat: false, messages: false, responses: false };
    for item in at.items() {
        match item.one_of(&[("chat", 0), ("messages", 1), ("responses", 2)]) {
            Some(0) => spoken.chat = true,
            Some(1) => spoken.messages = true,
            Some(_) => spoken.responses = true,
            None => {}
        }
    }
    if at.items().is_empty() {
        at.error("must name at least one of: chat, messages, responses");
    }
    spoken
}

/// Text may be named, and is always taken.
pub(super) fn inputs(at: &At<'_>) -> Inputs {
    let mut taken = Inputs::default();
    for item in at.items() {
        match item.one_of(&[("text", 0), ("image", 1), ("audio", 2), ("file", 3)]) {
            Some(1) => taken.image = true,
            Some(2) => taken.audio = true,
            Some(3) => taken.file = true,
            _ => {}
        }
    }
    taken
}
