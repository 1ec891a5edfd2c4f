//! The paths of pins: one by its name in the store, by its session, or by its lane on the page.
//!
//! A script has the name from a listing, an operator has a session id, and the live page has neither. Each
//! handler here turns its path into the pin that is meant; what is done with it is the same for all.

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::response::IntoResponse;
use axum::routing::get;

use super::bulk;
use super::pins::{self, Session};
use super::state::{Admin, Caller};
use crate::extensions::Peer;

type Key = Result<Path<String>, PathRejection>;
type Named = Result<Query<Session>, QueryRejection>;

pub(super) fn pins() -> Router<Admin> {
    let by_key = get(show).delete(release).patch(repin).post(bulk::bulk);
    Router::new()
        .route("/admin/v1/pins", get(pins::list))
        // A key may hold names of models, and those may hold slashes.
        .route("/admin/v1/pins/{*key}", by_key)
        .route("/admin/v1/lanes/{session}", get(show_lane).delete(release_lane).patch(repin_lane))
        .route("/admin/v1/pin", get(show_named).delete(release_named).patch(repin_named))
}

async fn show(State(admin): State<Admin>, key: Key) -> impl IntoResponse {
    pins::show(&admin, &pins::by_key(key)?).await
}

async fn show_named(State(admin): State<Admin>, named: Named) -> impl IntoResponse {
    pins::show(&admin, &pins::by_session(&admin, named)?).await
}

async fn release(
    State(admin): State<Admin>,
    peer: Option<Extension<Peer>>,
    key: Key,
) -> impl IntoResponse {
    pins::release(&admin, Caller::of(peer), &pins::by_key(key)?).await
}

async fn release_named(
    State(admin): State<Admin>,
    peer: Option<Extension<Peer>>,
    named: Named,
) -> impl IntoResponse {
    pins::release(&admin, Caller::of(peer), &pins::by_session(&admin, named)?).await
}

async fn repin(
    State(admin): State<Admin>,
    peer: Option<Extension<Peer>>,
    key: Key,
    body: Body,
) -> impl IntoResponse {
    pins::repin(&admin, Caller::of(peer), &pins::by_key(key)?, body).await
}

async fn repin_named(
    State(admin): State<Admin>,
    peer: Option<Extension<Peer>>,
    named: Named,
    body: Body,
) -> impl IntoResponse {
    pins::repin(&admin, Caller::of(peer), &pins::by_session(&admin, named)?, body).await
}

async fn show_lane(State(admin): State<Admin>, lane: Key) -> impl IntoResponse {
    pins::show(&admin, &pins::by_lane(&admin, lane)?).await
}

async fn release_lane(
    State(admin): State<Admin>,
    peer: Option<Extension<Peer>>,
    lane: Key,
) -> impl IntoResponse {
    pins::release(&admin, Caller::of(peer), &pins::by_lane(&admin, lane)?).await
}

async fn repin_lane(
    State(admin): State<Admin>,
    peer: Option<Extension<Peer>>,
    lane: Key,
    body: Body,
) -> impl IntoResponse {
    pins::repin(&admin, Caller::of(peer), &pins::by_lane(&admin, lane)?, body).await
}
