//! What is refused before it is understood: bodies of another type, too large, too late.
//!
//! The head is checked before a byte of the body is read, and a declared length before it is taken. A type
//! other than JSON is refused not only for its form: a web page may send plain text to any address without
//! asking, and JSON it may not.

use std::pin::{Pin, pin};

use affinity_layer::body::check_media;
use axum::BoxError;
use bytes::Bytes;
use futures_util::FutureExt;
use http::HeaderMap;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Limited};

use super::coding::{self, Coding};
use crate::config::Limits;
use crate::error::ApiError;
use crate::stack::memory::{Held, SMALL};

/// How the body is compressed. Refuses what is not JSON in UTF-8, or what two readers would take for two
/// things.
pub(super) fn check_type(headers: &HeaderMap, has_body: bool) -> Result<Option<Coding>, ApiError> {
    let coding = check_media(headers, has_body)
        .map_err(|error| ApiError::new(error.status(), error.code(), error.to_string()))?;
    coding.map_or(Ok(None), Coding::of)
}

/// Reads a body whole and inflated. The limit of size holds for what is sent as for what comes out.
pub(super) async fn collect_inflated<B>(
    coding: Option<Coding>,
    body: B,
    limits: &Limits,
    held: Held,
) -> Result<Bytes, ApiError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let Some(coding) = coding else { return collect(body, limits, Some(held)).await };
    check_length(&body, limits)?;
    let inflated = coding.inflate(Limited::new(body, limits.body_bytes));
    let told = |error: ApiError| match error.code() {
        "invalid_body" => coding::broken(),
        _ => error,
    };
    collect(inflated, limits, Some(held)).await.map_err(told)
}

/// Refuses a declared length before anything is read.
fn check_length<B: Body>(body: &B, limits: &Limits) -> Result<(), ApiError> {
    let is_long = body.size_hint().lower() > limits.body_bytes as u64;
    if is_long { Err(too_large(limits)) } else { Ok(()) }
}

fn too_large(limits: &Limits) -> ApiError {
    let text = format!("the body is larger than {} bytes", limits.body_bytes);
    ApiError::too_large(text)
}

/// Reads a body whole, within the limits of size and time, and of the memory that is `held` for it.
pub(crate) async fn collect<B>(
    body: B,
    limits: &Limits,
    mut held: Option<Held>,
) -> Result<Bytes, ApiError>
where
    B: Body<Data = Bytes>,
{
    check_length(&body, limits)?;
    let read = {
        let mut whole = pin!(whole(body, limits.body_bytes, held.as_mut()));
        // The body usually arrives with its head, and no timer is needed.
        match whole.as_mut().now_or_never() {
            Some(read) => Ok(read),
            None => tokio::time::timeout(limits.body_timeout, whole).await,
        }
    };
    match read {
        Ok(Ok(whole)) => Ok(match held {
            Some(held) => held.attach(whole),
            None => whole,
        }),
        Ok(Err(Stopped::TooLarge)) => Err(too_large(limits)),
        Ok(Err(Stopped::Broken)) => {
            Err(ApiError::invalid("invalid_body", "the body could not be read to its end"))
        }
        Ok(Err(Stopped::NoMemory(error))) => Err(error),
        Err(_) => {
            let text = format!("the body did not arrive within {:?}", limits.body_timeout);
            Err(ApiError::too_slow(text))
        }
    }
}

/// Why a body was not read to its end.
enum Stopped {
    TooLarge,
    Broken,
    NoMemory(ApiError),
}

/// All of `body`, of at most `limit` bytes.
async fn whole<B>(body: B, limit: usize, mut held: Option<&mut Held>) -> Result<Bytes, Stopped>
where
    B: Body<Data = Bytes>,
{
    let mut body = pin!(body);
    let mut whole = Vec::new();
    while let Some(frame) = next(body.as_mut(), held.as_deref()).await? {
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > limit.saturating_sub(whole.len()) {
            return Err(Stopped::TooLarge);
        }
        if whole.is_empty() && body.is_end_stream() {
            if let Some(held) = &mut held {
                held.grow(data.len()).await.map_err(Stopped::NoMemory)?;
            }
            return Ok(data);
        }
        let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let capacity = set_aside(whole.len() + data.len(), declared).min(limit);
        if capacity > whole.capacity() {
            if let Some(held) = &mut held {
                held.grow(capacity - whole.capacity()).await.map_err(Stopped::NoMemory)?;
            }
            whole.reserve_exact(capacity - whole.len());
        }
        // Copied at once, so that the server reads on into the memory that it has.
        whole.extend_from_slice(&data);
    }
    if let Some(held) = held {
        whole.shrink_to_fit();
        held.shrink_to(whole.len());
    }
    Ok(whole.into())
}

/// How much is set aside for a body of which `come` bytes are there, and `rest` more are declared. What has
/// come is a pledge for as much again, so that a length that is only declared sets little aside, and a long
/// body is moved a few times and not at every step. All of it counts as held.
fn set_aside(come: usize, rest: usize) -> usize {
    match rest {
        // None is declared: more may come or not.
        0 => come + come / 4,
        rest => come.saturating_add(rest.min(SMALL.max(come))),
    }
}

/// The next part of a body, unless it has to make room for that of a faster client.
async fn next<B: Body>(
    mut body: Pin<&mut B>,
    held: Option<&Held>,
) -> Result<Option<Frame<B::Data>>, Stopped> {
    let frame = match held {
        Some(held) => tokio::select! {
            biased;
            frame = body.frame() => frame,
            error = held.refused() => return Err(Stopped::NoMemory(error)),
        },
        None => body.frame().await,
    };
    frame.transpose().map_err(|_| Stopped::Broken)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::Extensions;
    use http_body_util::StreamBody;
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::stack::memory::BodyMemory;

    #[test]
    fn what_is_set_aside_for_a_body_is_at_most_as_much_as_has_come_and_counts() {
        const MIB: usize = 1 << 20;
        assert_eq!(set_aside(1, MIB), 1 + SMALL);
        assert_eq!(set_aside(MIB, 32 * MIB), 2 * MIB);
        assert_eq!(set_aside(31 * MIB, MIB), 32 * MIB);
        assert_eq!(set_aside(100, 0), 125);
        // Of a body with a length, no byte is set aside that does not come.
        assert_eq!(set_aside(10, 20), 30);
    }

    #[tokio::test]
    async fn a_body_in_pieces_holds_what_it_takes_and_in_the_end_its_length() {
        let memory = BodyMemory::new(16 << 20);
        let (sender, mut receiver) = unbounded_channel::<Bytes>();
        let frames = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
        let frames =
            futures_util::StreamExt::map(frames, |data| Ok::<_, Infallible>(Frame::data(data)));
        let mut held = memory.hold(&Extensions::new());
        let mut whole = Box::pin(whole(StreamBody::new(frames), 4 << 20, Some(&mut held)));
        for _ in 0..20 {
            sender.send(vec![b' '; 99_999].into()).unwrap();
        }
        assert!(whole.as_mut().now_or_never().is_none());
        drop(sender);
        let Ok(bytes) = whole.await else { panic!("it is whole") };
        assert_eq!((bytes.len(), held.bytes()), (1_999_980, 1_999_980));
    }
}
