//! How long the head of an answer is waited for.

use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

use crate::body::{Outgoing, UploadFault, UploadWatch};
use crate::error::ApiError;

/// Waits for an answer: for `limit`, and again and again as long as an upload goes on meanwhile. `None` when
/// that is over.
pub(super) async fn awaited<T>(
    answer: impl Future<Output = T>,
    limit: Duration,
    upload: Option<&UploadWatch>,
) -> Option<T> {
    let mut answer = pin!(answer);
    loop {
        let before = upload.map(UploadWatch::pieces);
        match timeout(limit, &mut answer).await {
            Ok(answer) => return Some(answer),
            Err(_) if before != upload.map(UploadWatch::pieces) => {}
            Err(_) => return None,
        }
    }
}

/// What watches a body that passes.
pub(super) fn watch(body: &Outgoing) -> Option<UploadWatch> {
    match body {
        Outgoing::Whole(_) => None,
        Outgoing::Passing(upload) => Some(upload.watch()),
    }
}

/// What the client is told of its own upload, if that is why there is no answer.
pub(super) fn fault_of_client(upload: Option<&UploadWatch>) -> Option<ApiError> {
    Some(match upload?.fault()? {
        UploadFault::TooLarge => ApiError::too_large("the upload is larger than upload_bytes"),
        UploadFault::TooSlow => ApiError::too_slow("the upload came too slowly"),
        UploadFault::Broken => {
            ApiError::invalid("invalid_body", "the body could not be read to its end")
        }
    })
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use axum::body::Body as ClientBody;
    use http_body_util::BodyExt;
    use tokio::time::Instant;

    use super::*;
    use crate::body::{Bounds, Upload};

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_goes_on_is_waited_for_and_then_the_answer() {
        let limit = Duration::from_secs(10);
        let bounds = Bounds { bytes: 9, patience: limit };
        let mut upload = Upload::new(ClientBody::from("x"), bounds);
        let watch = upload.watch();
        let began = Instant::now();
        assert_eq!(awaited(pending::<()>(), limit, None).await, None);
        assert_eq!(began.elapsed(), limit);
        let began = Instant::now();
        let sent = async {
            tokio::time::sleep(Duration::from_secs(9)).await;
            upload.frame().await.unwrap().unwrap();
            pending::<()>().await;
        };
        assert_eq!(awaited(sent, limit, Some(&watch)).await, None);
        assert_eq!(began.elapsed(), 2 * limit);
    }
}
