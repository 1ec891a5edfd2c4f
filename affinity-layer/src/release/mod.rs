//! Optional middleware below the affinity layer: it sees a response to its end.
//!
//! With it, the pin of a request that was sent with `x-plano-affinity: final` is released when the
//! body of the response has ended, be it a stream of minutes. Without it, the affinity layer
//! releases the pin as soon as the head of the response is there.
//!
//! With [`ReleaseLayer::final_answer`], a pin is also released when the model says that it is done:
//! by a finish reason other than a tool call, in Chat Completions, Messages and Responses, plain and
//! streamed. The next request of the session is then routed anew.
//!
//! - A body that fails, or that the client stops reading before the model was done, is no end: the
//!   pin stays.
//! - Only the pin that the request was served by is released, not one that was made since.
//! - The body passes through frame by frame; nothing is held or delayed. What is read of it takes a
//!   few hundred bytes. The release itself runs beside the response.
//! - A compressed answer is not read, and keeps its pin: let no `accept-encoding` reach the
//!   provider. The first one of the process is told of in the log. Answers of a status other than 2xx
//!   keep their pin too.

mod body;
mod layer;
pub(crate) mod scan;
mod service;

pub use body::ReleaseBody;
pub use layer::ReleaseLayer;
pub(crate) use service::readable;
pub use service::{Release, ResponseFuture};

/// In the extensions of a response whose body releases the pin, for the affinity layer to see.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReleasedAtEnd;
