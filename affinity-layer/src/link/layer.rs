use tower_layer::Layer;

use super::service::Link;

/// Layer that applies the [`Link`] middleware; it belongs below the affinity layer.
///
/// See the [module docs](super).
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct LinkLayer(());

impl LinkLayer {
    /// A layer that keeps the ids of responses where the affinity layer asks for it.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<S> Layer<S> for LinkLayer {
    type Service = Link<S>;

    fn layer(&self, inner: S) -> Link<S> {
        Link::new(inner)
    }
}
