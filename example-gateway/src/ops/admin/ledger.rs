//! The ledger on the admin listener.
//!
//! These paths only read; what they show is kept by [`ops::ledger`](crate::ops::ledger).

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::Uri;
use serde_json::json;

use super::state::Admin;
use crate::error::ApiError;
use crate::ops::ledger::pins::MAX_PINS;
use crate::ops::ledger::rows::LedgerReport;
use crate::ops::ledger::switches::MAX_DECISIONS;
use crate::protocol::Protocol;

/// Sessions in an answer, by default.
const DEFAULT_LIMIT: usize = 100;

/// `GET /admin/v1/ledger`
pub(super) async fn ledger(State(admin): State<Admin>) -> Json<LedgerReport> {
    Json(admin.turns.ledger().report())
}

/// `GET /admin/v1/ledger/sessions?limit=`
pub(super) async fn sessions(State(admin): State<Admin>, uri: Uri) -> Response {
    match limit(uri.query(), MAX_PINS) {
        Ok(limit) => {
            Json(json!({"sessions": admin.turns.ledger().sessions(limit)})).into_response()
        }
        Err(error) => error.response(Protocol::Chat),
    }
}

/// `GET /admin/v1/ledger/decisions?limit=`
pub(super) async fn decisions(State(admin): State<Admin>, uri: Uri) -> Response {
    match limit(uri.query(), MAX_DECISIONS) {
        Ok(limit) => {
            Json(json!({"decisions": admin.turns.ledger().decisions(limit)})).into_response()
        }
        Err(error) => error.response(Protocol::Chat),
    }
}

fn limit(query: Option<&str>, most: usize) -> Result<usize, ApiError> {
    let mut members = query.unwrap_or_default().split('&');
    let Some(limit) = members.find_map(|member| member.strip_prefix("limit=")) else {
        return Ok(DEFAULT_LIMIT);
    };
    let limit = limit.parse().ok().filter(|limit| (1..=most).contains(limit));
    limit.ok_or_else(|| {
        let text = format!("limit must be a whole number, 1 to {most}");
        ApiError::invalid("invalid_value", text).param("limit")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_within_bounds() {
        assert_eq!(limit(None, MAX_PINS).ok(), Some(DEFAULT_LIMIT));
        assert_eq!(limit(Some("limit=7"), MAX_PINS).ok(), Some(7));
        assert_eq!(limit(Some("x=1&limit=10000&y"), MAX_PINS).ok(), Some(10_000));
        for bad in ["limit=0", "limit=10001", "limit=", "limit=x", "limit=-1"] {
            assert!(limit(Some(bad), MAX_PINS).is_err(), "{bad}");
        }
    }
}
