//! Optional middleware below the affinity layer: it sees a response to its end.
//!
//! With it, the pin of a request that was sent with `x-plano-affinity: final` is released when the
//! body of the response has ended, be it a stream of minutes. Without it, the affinity layer
//! releases the pin as soon as the head of the response is there.
//!
//! - A body that fails, or that the client stops reading, is no end: the pin stays.
//! - The body passes through frame by frame; nothing is held or delayed. The release itself runs
//!   beside the response.

mod body;
mod layer;
mod service;

pub use body::ReleaseBody;
pub use layer::ReleaseLayer;
pub use service::{Release, ResponseFuture};

/// In the extensions of a response whose body releases the pin, for the affinity layer to see.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReleasedAtEnd;
