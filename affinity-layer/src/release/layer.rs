use tower_layer::Layer;

use super::service::Release;

/// Layer that applies the [`Release`] middleware; it belongs below the affinity layer.
///
/// See the [module docs](super).
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct ReleaseLayer {
    final_answer: bool,
}

impl ReleaseLayer {
    /// A layer that releases the pins of final requests.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the pin of any request is released when the model says that it is done. Default: no.
    pub fn final_answer(mut self, release: bool) -> Self {
        self.final_answer = release;
        self
    }
}

impl<S> Layer<S> for ReleaseLayer {
    type Service = Release<S>;

    fn layer(&self, inner: S) -> Release<S> {
        Release::new(inner, self.final_answer)
    }
}
