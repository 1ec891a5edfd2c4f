//! The layers between a listener and the providers.
//!
//! [`app`](crate::app) puts them together, one stack for each kind of path:
//!
//! | module | in the stack |
//! |---|---|
//! | `observe` | outermost: the span and the count of a request |
//! | `intake`, `memory`, `apart`, `fair` | read, bound and check the body, by client in turns |
//! | `sessions`, `routing`, `routed` | the store and the router of the affinity layer |
//! | `shadow`, `turns` | what is learnt about pins and answers |
//! | `switching` | whether a session stays or moves where a turn of the user begins |
//! | `session_table` | what is remembered of sessions, within bounds |
//! | `condition`, `router_state` | what `/readyz` tells beside the store |
//! | `heal` | what is left out for a vendor that cannot read it |
//! | `unrouted` | what no session decides: uploads, embeddings, responses that are fetched |
//! | `holdings`, `tenants` | which provider has what, and whose it is |
//! | `decision`, `answers` | what is answered here and sent to no provider |
//! | `layers` | each of these as the configuration wants it |
//!
//! A layer here knows requests and models, and neither sockets nor providers' addresses.

pub(crate) mod answers;
mod apart;
pub(crate) mod condition;
pub(crate) mod decision;
mod fair;
pub(crate) mod heal;
pub(crate) mod holdings;
pub(crate) mod intake;
pub(crate) mod layers;
pub(crate) mod memory;
pub(crate) mod observe;
pub(crate) mod routed;
pub(crate) mod router_state;
pub(crate) mod routing;
pub(crate) mod session_table;
pub(crate) mod sessions;
pub(crate) mod shadow;
pub(crate) mod switching;
pub(crate) mod tenants;
pub(crate) mod turns;
pub(crate) mod unnamed;
pub(crate) mod unrouted;
