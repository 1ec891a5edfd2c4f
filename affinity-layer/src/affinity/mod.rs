//! The middleware that pins.

mod budget;
mod core;
mod decide;
mod future;
mod health;
mod layer;
mod payload;
mod service;
mod settings;

pub use future::ResponseFuture;
pub use layer::AffinityLayer;
pub use service::Affinity;
