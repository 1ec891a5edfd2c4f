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
use super::pieces::{Arrived, Pieces};
use crate::config::Limits;
use crate::error::ApiError;
use crate::stack::memory::Held;

/// What is taken of one body before other clients of the thread have their turn, in bytes.
const AT_ONCE: usize = 256 << 10;

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
    mut held: Held,
) -> Result<Arrived, ApiError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let Some(coding) = coding else { return collect(body, limits, Some(held)).await };
    check_length(&body, limits)?;
    // Given back when the body is whole. Thousands that send nothing would take it uncounted.
    held.grow(coding::STATE).await?;
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
) -> Result<Arrived, ApiError>
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
        Ok(Ok(Whole::AtOnce(bytes))) => Ok(Arrived::at_once(bytes, held)),
        Ok(Ok(Whole::InPieces(pieces))) => Ok(pieces.into_arrived(held)),
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

/// All of a body.
enum Whole {
    AtOnce(Bytes),
    InPieces(Pieces),
}

/// All of `body`, of at most `limit` bytes.
async fn whole<B>(body: B, limit: usize, mut held: Option<&mut Held>) -> Result<Whole, Stopped>
where
    B: Body<Data = Bytes>,
{
    let mut body = pin!(body);
    let mut pieces = Pieces::default();
    let mut at_once = 0;
    while let Some(frame) = next(body.as_mut(), held.as_deref()).await? {
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > limit.saturating_sub(pieces.len()) {
            return Err(Stopped::TooLarge);
        }
        if pieces.len() == 0 && body.is_end_stream() {
            if let Some(held) = &mut held {
                held.grow(data.len()).await.map_err(Stopped::NoMemory)?;
            }
            return Ok(Whole::AtOnce(data));
        }
        let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let rest = declared.min(limit - pieces.len() - data.len());
        let wanted = pieces.wanted(data.len(), rest);
        if let Some(held) = held.as_mut().filter(|_| wanted > 0) {
            held.grow(wanted).await.map_err(Stopped::NoMemory)?;
        }
        // Copied at once, so that the server reads on into the memory that it has.
        pieces.push(&data, wanted);
        at_once += data.len();
        if at_once >= AT_ONCE {
            at_once = 0;
            // A client that sends as fast as it is read would have the thread to itself.
            tokio::task::yield_now().await;
        }
    }
    Ok(Whole::InPieces(pieces))
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::StreamExt;
    use http::Extensions;
    use http_body_util::StreamBody;
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::stack::memory::BodyMemory;

    #[tokio::test]
    async fn a_body_in_pieces_holds_what_it_takes_and_in_the_end_its_length() {
        let memory = BodyMemory::new(16 << 20);
        let (sender, mut receiver) = unbounded_channel::<Bytes>();
        let frames = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
        let frames = frames.map(|data| Ok::<_, Infallible>(Frame::data(data)));
        let mut held = memory.hold(&Extensions::new());
        let mut whole = Box::pin(whole(StreamBody::new(frames), 4 << 20, Some(&mut held)));
        for _ in 0..20 {
            sender.send(vec![b' '; 99_999].into()).unwrap();
        }
        assert!(whole.as_mut().now_or_never().is_none());
        drop(sender);
        let Ok(Whole::InPieces(pieces)) = whole.await else { panic!("it is whole") };
        let aside = held.bytes() - pieces.len();
        assert!(aside <= 1 << 20, "{aside} bytes are set aside");
        let bytes = pieces.into_arrived(Some(held)).join();
        assert_eq!((bytes.len(), memory.used()), (1_999_980, 1_999_980));
        drop(bytes);
        assert_eq!(memory.used(), 0);
    }

    #[tokio::test]
    async fn what_inflates_a_body_counts_as_its_memory_until_the_body_is_whole() {
        let memory = BodyMemory::new(16 << 20);
        let limits = Limits::default();
        let coding = Coding::of("gzip").unwrap();
        let (sender, mut receiver) = unbounded_channel::<Bytes>();
        let frames = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
        let body = StreamBody::new(frames.map(|data| Ok::<_, BoxError>(Frame::data(data))));
        let held = memory.hold(&Extensions::new());
        let mut arriving = Box::pin(collect_inflated(coding, body, &limits, held));
        assert!(arriving.as_mut().now_or_never().is_none());
        assert_eq!(memory.used(), coding::STATE);
        // "{}", stored.
        let sent = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x01\x02\0\xfd\xff{}\x43\xbf\xa6\xa3\x02\0\0\0";
        sender.send(Bytes::from_static(sent)).unwrap();
        drop(sender);
        let Ok(arrived) = arriving.await else { panic!("it is whole") };
        let bytes = arrived.join();
        assert_eq!((&*bytes, memory.used()), (&b"{}"[..], 2));
    }

    #[tokio::test]
    async fn a_body_that_is_all_there_is_taken_in_slices() {
        let taken = AtomicUsize::new(0);
        let frames = futures_util::stream::iter(0..320).map(|_| {
            taken.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b' '; 100_000])))
        });
        let mut whole = pin!(whole(StreamBody::new(frames), 64 << 20, None));
        let mut slices = 0;
        loop {
            let before = taken.load(Ordering::Relaxed);
            let polled = whole.as_mut().now_or_never();
            assert!(taken.load(Ordering::Relaxed) - before <= 4, "more at once");
            slices += 1;
            if polled.is_some() {
                break;
            }
        }
        assert!(slices > 100, "{slices}");
    }
}
