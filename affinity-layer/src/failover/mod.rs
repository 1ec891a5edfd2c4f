//! Optional middleware below the affinity layer: the next candidate when a model fails.
//!
//! 1. An answer of status 429, 500, 502, 503, 504 or 529, or an error of the inner service, is tried
//!    again with the next candidate of the [`PinnedModel`](crate::PinnedModel), as long as there is
//!    one, and within [a number](FailoverLayer::attempts) and [a time](FailoverLayer::time_limit).
//! 2. With a `Retry-After` that is short, or a [`SecondChance`](crate::ext::SecondChance) in the response's extensions, the same
//!    model gets a second chance first.
//! 3. When another candidate serves the request, the session's pin moves to it, once: the requests that
//!    fail at the same time find it moved. The response says `x-plano-affinity: repinned`. A refusal
//!    (any other status from 400 on) is returned, and moves nothing.
//! 4. When none answers, the last answer is returned as it is, and a pin that this request had made
//!    is released: it never served.
//! 5. Once the head of an answer is accepted, it is final. A stream that breaks is not begun anew.
//!
//! The request is cloned for each attempt, so its body must be one that is held, such as
//! `http_body_util::Full`.

mod attempts;
mod layer;
mod service;

pub use layer::FailoverLayer;
pub use service::{Failover, ResponseFuture};
