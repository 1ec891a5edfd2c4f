//! One attempt with one candidate, and what its answer says.
//!
//! The status alone does not tell: a 400 may be about the request or about the one model, and a 401 may
//! be about the client's key or the operator's. So layers below can mark a response, and the rest follows
//! from who was asked. In this order:
//!
//! | the answer | finding |
//! |---|---|
//! | an error of the inner service | passing |
//! | marked [`LastingFailure`] | lasting |
//! | marked [`PassingFailure`] | passing |
//! | 429, or 5xx but 501 and 505 | passing |
//! | any other status from 400 on, by another candidate | refused |
//! | anything else | answered |

use std::time::Duration;

use http::{Response, StatusCode};

use crate::PinnedModel;
use crate::cooldown::{CooldownCause, Lesson, TargetKind};
use crate::ext::{
    LastingFailure, NotReached, PassingFailure, Replaced, SecondChance, TimedOut, retry_after,
};

/// The answer of one candidate.
pub(super) struct Attempt<B, E> {
    /// The request's own model, or a detour to another one.
    pub(super) candidate: PinnedModel,
    /// The response, its body unread.
    pub(super) result: Result<Response<B>, E>,
    pub(super) finding: Finding,
}

/// What an answer says of the candidate that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It is the answer to the request: the model served, or the session's own model says what is
    /// wrong with the request.
    Answered,
    /// The candidate failed, and may do better soon.
    Passing,
    /// The candidate failed, and will again.
    Lasting,
    /// Another candidate than the session's own model refuses the request, which may be no fault of
    /// the request: it may be too long for that model alone.
    Refused,
}

impl<B, E> Attempt<B, E> {
    /// `is_own` says whether the candidate is the model that the request was given.
    pub(super) fn new(
        candidate: PinnedModel,
        is_own: bool,
        result: Result<Response<B>, E>,
    ) -> Self {
        let finding = match &result {
            Err(_) => Finding::Passing,
            Ok(response) if response.extensions().get::<LastingFailure>().is_some() => {
                Finding::Lasting
            }
            Ok(response) if response.extensions().get::<PassingFailure>().is_some() => {
                Finding::Passing
            }
            Ok(response) => match response.status() {
                status if is_passing(status) => Finding::Passing,
                status if is_refusal(status) && !is_own => Finding::Refused,
                _ => Finding::Answered,
            },
        };
        Self { candidate, result, finding }
    }

    /// How long the candidate asks to wait before its second chance, if it gets one. An error of the
    /// inner service asks for nothing, and what fails for good would only fail again.
    pub(super) fn wait(&self, patience: Duration) -> Option<Duration> {
        let response = self.result.as_ref().ok().filter(|_| self.finding == Finding::Passing)?;
        if response.extensions().get::<SecondChance>().is_some() {
            return Some(Duration::ZERO);
        }
        retry_after(response.headers()).filter(|wait| *wait <= patience)
    }

    /// Whether the candidate failed by what is in the request, and may serve the session's next one.
    pub(super) fn is_about_the_request(&self) -> bool {
        let about_the_request = [
            StatusCode::BAD_REQUEST,
            StatusCode::PAYLOAD_TOO_LARGE,
            StatusCode::UNPROCESSABLE_ENTITY,
        ];
        let status = self.result.as_ref().map(Response::status);
        self.finding != Finding::Answered
            && status.is_ok_and(|status| about_the_request.contains(&status))
    }

    /// What the failure says of more requests than this one.
    pub(super) fn lesson(&self) -> Option<Lesson> {
        let has_failed = matches!(self.finding, Finding::Passing | Finding::Lasting);
        let response = self.result.as_ref().ok().filter(|_| has_failed)?;
        let marks = response.extensions();
        let lesson = |kind, cause, retry_after| Some(Lesson { kind, cause, retry_after });
        if let Some(missing) = marks.get() {
            let kind = match missing {
                NotReached::Address => TargetKind::Address,
                NotReached::Proxy => TargetKind::Proxy,
            };
            return lesson(kind, CooldownCause::Connect, None);
        }
        if let Some(TimedOut { is_silent }) = marks.get() {
            let kind = if *is_silent { TargetKind::Address } else { TargetKind::Model };
            return lesson(kind, CooldownCause::Timeout, None);
        }
        let replaced = marks.get().copied().unwrap_or_else(|| Replaced {
            status: response.status(),
            retry_after: retry_after(response.headers()),
        });
        let kind = match replaced.status {
            StatusCode::UNAUTHORIZED | StatusCode::PAYMENT_REQUIRED => TargetKind::Credential,
            StatusCode::FORBIDDEN | StatusCode::GONE | StatusCode::TOO_MANY_REQUESTS => {
                TargetKind::Model
            }
            // At another path the model may well be there.
            StatusCode::NOT_FOUND => TargetKind::Path,
            _ => return None,
        };
        lesson(kind, CooldownCause::Status(replaced.status), replaced.retry_after)
    }

    /// Whether the candidate has surely not begun to work on the request. An error of the inner service
    /// does not tell.
    pub(super) fn is_untouched(&self) -> bool {
        self.result.as_ref().is_ok_and(|response| {
            response.status() == StatusCode::TOO_MANY_REQUESTS
                || response.extensions().get::<NotReached>().is_some()
        })
    }

    /// Which of two failures the client gets: the first transient one, so that a candidate that would
    /// never serve does not keep the client from retrying; else the first.
    pub(super) fn or_better(self, later: Self) -> Self {
        let is_better = self.finding != Finding::Passing && later.finding == Finding::Passing;
        if is_better { later } else { self }
    }
}

/// Whether a status means a transient failure of the model or its provider. Of the 5xx, 501 and 505
/// concern the request.
fn is_passing(status: StatusCode) -> bool {
    let of_the_request =
        [StatusCode::NOT_IMPLEMENTED, StatusCode::HTTP_VERSION_NOT_SUPPORTED].contains(&status);
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() && !of_the_request
}

/// Whether a status says that the request is not served. Transient failures are told apart before.
fn is_refusal(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}
