//! What has happened lately: the stream behind the live page.
//!
//! - A reader gets a `snapshot` of what is kept, then `turns` as they end, some together, about ten
//!   messages a second.
//! - A reader that is too slow gets `lost`, and then a new snapshot.
//! - What is kept is bounded: the last 100 turns of the last 200 sessions.
//! - Readers are bounded, and end when the gateway stops.

pub(crate) mod feed;
mod history;
mod lane;
mod stream;

use axum::Router;
use axum::routing::get;

use self::feed::Live;

/// `GET /admin/v1/events`.
pub(crate) fn router(live: Live) -> Router {
    Router::new().route("/admin/v1/events", get(stream::events)).with_state(live)
}

#[cfg(test)]
mod tests;
