//! Optional middleware below the affinity layer: it learns the ids of responses.
//!
//! A client of the Responses API may go on with a conversation by the id of one of its responses,
//! `previous_response_id`, and send nothing else that tells the session. The ids are the provider's,
//! so somebody has to read them from the answers and keep to which conversation each belongs:
//! that is a **link**.
//!
//! - It acts on `/responses`, where the affinity layer reads
//!   [`BodyId::PreviousResponseId`](crate::BodyId::PreviousResponseId), and on conversations that
//!   began without an id of the client's.
//! - The id is `id` of a plain answer and `response.id` of the first event of a stream that has one.
//!   What is read of the answer takes a few hundred bytes.
//! - A link is in the store before the client can know the id: the piece that holds the id waits for
//!   it, 50 ms at most. A conversation whose link could not be stored begins anew with its next turn.
//! - A link lives as long as a pin may live, and counts as one in the store. It stands in the
//!   conversation's scope, so that no other tenant's id leads there.
//! - An answer that is compressed, or whose status is not 2xx, is not read: let no
//!   `accept-encoding` reach the provider.

mod body;
mod find;
mod layer;
mod service;
mod target;

pub use body::LinkBody;
pub use layer::LinkLayer;
pub use service::{Link, ResponseFuture};
pub(crate) use target::{lifetime, target};
