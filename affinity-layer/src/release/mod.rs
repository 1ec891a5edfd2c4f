//! Optional middleware below the affinity layer: it sees a response to its end.
//!
//! With it, the pin of a request that was sent with `x-plano-affinity: final` is released when the
//! response has ended, be it a stream of minutes. Without it, the affinity layer releases the pin as
//! soon as the head of the response is there.
//!
//! With [`ReleaseLayer::final_answer`], a pin is also released when the model says that it is done:
//! by a finish reason other than a tool call, in Chat Completions, Messages and Responses, plain and
//! streamed. An answer with a call in it goes on whatever its finish reason says. The next request of
//! the session is then routed anew.
//!
//! - A response has ended when its answer says so: a stream with `data: [DONE]`, `message_stop` or
//!   `response.completed`, `.incomplete` or `.failed`, a plain answer with the end of its JSON. What
//!   does not say so, or cannot be read, ends with its body.
//! - The release begins before the piece with the end is handed on, and that piece waits for the store
//!   (and, over near copies, [until other replicas know](crate::AffinityStore::coherence)), 50 ms at
//!   most. A release that takes longer goes on beside the response, for 1 s in all; a turn that is sent
//!   meanwhile may still get the old pin. A response without a body does not wait.
//! - A body that fails, or that the client stops reading before the model was done, is no end: the
//!   pin stays.
//! - Only the pin that the request was served by is released, not one that was made since.
//! - The body passes through frame by frame; no piece but the last is held. What is read of it takes a
//!   few hundred bytes.
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
