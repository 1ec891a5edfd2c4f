//! The middleware that pins.

mod budget;
mod core;
mod decide;
mod escalation;
mod future;
mod health;
mod identity;
mod layer;
mod moves;
mod payload;
mod service;
mod settings;
mod verdict;

pub use future::ResponseFuture;
pub use layer::AffinityLayer;
pub use service::Affinity;
