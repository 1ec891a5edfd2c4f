//! What requests came to in tokens, by what the answers report: it corrects the estimate of
//! [`windows`](super::windows).

use std::sync::Arc;

use affinity_layer::answer::{AnswerObserver, Usage};
use affinity_layer::{AffinityKey, ModelName, PinnedModel};
use http::Extensions;
use http::response::Parts;

use super::providers::Upstreams;
use super::windows::{Size, text_bytes};

/// Learns from one answer what its request came to.
pub(crate) struct SizeObserver {
    upstreams: Arc<Upstreams>,
    key: Option<AffinityKey>,
    model: ModelName,
    bytes: u64,
    prompt_tokens: Option<u64>,
}

impl SizeObserver {
    /// For a request whose bytes are text.
    pub(crate) fn begin(upstreams: &Arc<Upstreams>, request: &Extensions) -> Option<Self> {
        let model = request.get::<PinnedModel>()?;
        Some(Self {
            upstreams: upstreams.clone(),
            key: model.key().cloned(),
            model: model.model().clone(),
            bytes: text_bytes(request)?,
            prompt_tokens: None,
        })
    }
}

impl AnswerObserver for SizeObserver {
    fn on_head(&mut self, head: &Parts) {
        if let Some(served) = head.extensions.get::<PinnedModel>() {
            self.model = served.model().clone();
        }
    }

    fn on_data(&mut self, usage: Usage) {
        self.prompt_tokens = usage.prompt_tokens.or(self.prompt_tokens);
    }

    fn on_end(self: Box<Self>) {}
}

impl Drop for SizeObserver {
    fn drop(&mut self) {
        if let (Some(tokens), Some(place)) = (self.prompt_tokens, self.upstreams.place(&self.model))
        {
            let size = Size { bytes: self.bytes, tokens };
            self.upstreams.windows().learn(place, self.key.as_ref(), size);
        }
    }
}

/// Two observers of one answer.
pub(crate) struct Both(pub(crate) Box<dyn AnswerObserver>, pub(crate) Box<dyn AnswerObserver>);

impl AnswerObserver for Both {
    fn on_head(&mut self, head: &Parts) {
        self.0.on_head(head);
        self.1.on_head(head);
    }

    fn on_data(&mut self, usage: Usage) {
        self.0.on_data(usage);
        self.1.on_data(usage);
    }

    fn on_end(self: Box<Self>) {
        self.0.on_end();
        self.1.on_end();
    }
}
