//! Who is called, as log lines name it: every WARN about a call says provider, model and host.

use std::sync::Arc;

use affinity_layer::ModelName;

use crate::config::Provider;

/// The provider and the model of a call.
#[derive(Clone, Debug)]
pub(crate) struct Callee {
    entry: Arc<Entry>,
    model: ModelName,
}

/// What all calls of a provider have in common.
#[derive(Debug)]
pub(crate) struct Entry {
    provider: String,
    host: String,
}

impl Entry {
    pub(crate) fn of(provider: &Provider) -> Self {
        let host = provider.base_url.host().unwrap_or_default().to_owned();
        Self { provider: provider.prefix().to_owned(), host }
    }
}

impl Callee {
    pub(crate) fn new(entry: Arc<Entry>, model: &ModelName) -> Self {
        Self { entry, model: model.clone() }
    }

    pub(crate) fn provider(&self) -> &str {
        &self.entry.provider
    }

    pub(crate) fn model(&self) -> &str {
        self.model.as_str()
    }

    pub(crate) fn host(&self) -> &str {
        &self.entry.host
    }

    /// Somebody.
    #[cfg(test)]
    pub(crate) fn anybody() -> Self {
        let entry = Entry { provider: "vendor".to_owned(), host: "vendor.example".to_owned() };
        Self::new(Arc::new(entry), &ModelName::new("vendor/model").unwrap())
    }
}

/// A WARN line about a call of this [`Callee`].
macro_rules! warn_of {
    ($callee:expr, $($rest:tt)+) => {
        tracing::warn!(
            provider = $callee.provider(),
            model = $callee.model(),
            host = $callee.host(),
            $($rest)+
        )
    };
}
pub(crate) use warn_of;
