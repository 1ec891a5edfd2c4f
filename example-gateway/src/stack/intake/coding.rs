//! Compressed bodies, which Codex sends when it is signed in (zstd), and some SDKs on request.
//!
//! A body is inflated piece by piece as it arrives, so that its limit holds for what comes out and nothing
//! beyond it is ever made. The window of zstd is that of RFC 9659, 8 MiB; a body that asks for more is
//! refused before the memory is taken.

use std::pin::Pin;
use std::{io, iter};

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use axum::BoxError;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::StatusCode;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

use crate::error::ApiError;

/// What is inflated at once. Other clients of the thread have their turn after each: inflating such a
/// piece may take a tenth of a millisecond.
const PIECE: usize = 16 << 10;

/// What is taken at once of what is sent: thousands of members that are empty come out as nothing, and each
/// takes its time.
const SENT: usize = 4 << 10;

/// What it takes to inflate a body, apart from what comes out, in bytes: some 50 KiB were seen for gzip, and 20
/// for zstd and brotli, whose windows grow with what comes out.
pub(super) const STATE: usize = 48 << 10;

/// The window that any recipient of zstd must support (RFC 9659), as a power of two.
const ZSTD_WINDOW: u32 = 23;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    /// In the format of zlib, as HTTP means it (RFC 9110, section 8.4.1.2).
    Deflate,
    Brotli,
    Zstd,
}

impl Coding {
    /// The coding that a `content-encoding` declares. Names that stand for none compress nothing: an empty
    /// one, `identity`, and `utf-8`, which some clients put there for the charset.
    ///
    /// # Errors
    ///
    /// 415 for a coding that is not known, and for more than one.
    pub(super) fn of(declared: &str) -> Result<Option<Self>, ApiError> {
        let mut found = None;
        for name in declared.split(',') {
            let coding = match &*name.trim().to_ascii_lowercase() {
                "" | "identity" | "utf-8" | "utf8" => continue,
                "gzip" | "x-gzip" => Self::Gzip,
                "deflate" => Self::Deflate,
                "br" => Self::Brotli,
                "zstd" => Self::Zstd,
                _ => return Err(unsupported()),
            };
            if found.replace(coding).is_some() {
                return Err(unsupported());
            }
        }
        Ok(found)
    }

    /// `body` inflated. It breaks with an error where `body` does, or is not compressed as declared.
    pub(super) fn inflate<B>(self, body: B) -> impl Body<Data = Bytes, Error = io::Error> + Send
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let sent = body.into_data_stream().map_err(io::Error::other);
        let slices =
            sent.map_ok(|data| stream::iter(slices(data)).map(Ok::<_, io::Error>)).try_flatten();
        let sent = StreamReader::new(Box::pin(slices.then(async |slice| {
            tokio::task::yield_now().await;
            slice
        })));
        let reader: Pin<Box<dyn AsyncRead + Send>> = match self {
            Self::Gzip => {
                let mut decoder = GzipDecoder::new(sent);
                // One after the other is one body (RFC 1952, section 2.2).
                decoder.multiple_members(true);
                Box::pin(decoder)
            }
            Self::Deflate => Box::pin(ZlibDecoder::new(sent)),
            Self::Brotli => Box::pin(BrotliDecoder::new(sent)),
            Self::Zstd => {
                let window = DParameter::window_log_max(ZSTD_WINDOW);
                let mut decoder = ZstdDecoder::with_params(sent, &[window]);
                decoder.multiple_members(true);
                Box::pin(decoder)
            }
        };
        let pieces = ReaderStream::with_capacity(reader, PIECE).then(async |piece| {
            tokio::task::yield_now().await;
            piece.map(Frame::data)
        });
        StreamBody::new(pieces)
    }
}

fn slices(mut data: Bytes) -> impl Iterator<Item = Bytes> {
    iter::from_fn(move || (!data.is_empty()).then(|| data.split_to(data.len().min(SENT))))
}

fn unsupported() -> ApiError {
    let text = "the body may be compressed with one of gzip, deflate, br and zstd";
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", text)
}

/// The answer to a body that cannot be inflated.
pub(super) fn broken() -> ApiError {
    let text = "the body is not compressed as its content-encoding says, or broke off";
    ApiError::invalid("invalid_body", text)
}

#[cfg(test)]
mod tests {
    use async_compression::Level;
    use async_compression::tokio::write::{BrotliEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};
    use async_compression::zstd::CParameter;
    use futures_util::FutureExt;
    use http_body_util::Full;
    use tokio::io::{AsyncWrite, AsyncWriteExt};

    use super::*;

    async fn written<W: AsyncWrite + Unpin>(mut encoder: W, text: &[u8]) -> W {
        encoder.write_all(text).await.unwrap();
        encoder.shutdown().await.unwrap();
        encoder
    }

    async fn compressed(coding: Coding, text: &[u8]) -> Vec<u8> {
        match coding {
            Coding::Gzip => written(GzipEncoder::new(Vec::new()), text).await.into_inner(),
            Coding::Deflate => written(ZlibEncoder::new(Vec::new()), text).await.into_inner(),
            Coding::Brotli => written(BrotliEncoder::new(Vec::new()), text).await.into_inner(),
            Coding::Zstd => written(ZstdEncoder::new(Vec::new()), text).await.into_inner(),
        }
    }

    async fn inflated(coding: Coding, sent: Vec<u8>) -> io::Result<Bytes> {
        // In two frames, as it may arrive.
        let (head, tail) = sent.split_at(sent.len() / 2);
        let frames = [head.to_vec(), tail.to_vec()];
        let frames = frames.map(|part| Ok::<_, io::Error>(Frame::data(Bytes::from(part))));
        let body = StreamBody::new(stream::iter(frames));
        Ok(coding.inflate(body).collect().await?.to_bytes())
    }

    const ALL: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];

    #[tokio::test]
    async fn each_coding_is_inflated_to_what_was_compressed() {
        for text in [&b"{\"model\":\"m\"}"[..], &[b' '; 200_000], b""] {
            for coding in ALL {
                let sent = compressed(coding, text).await;
                assert_eq!(inflated(coding, sent).await.unwrap(), text, "{coding:?}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_cut_short_or_compressed_otherwise_is_an_error() {
        for coding in ALL {
            let mut sent = compressed(coding, &[b'x'; 9_999]).await;
            sent.truncate(sent.len() - 3);
            assert!(inflated(coding, sent).await.is_err(), "{coding:?}");
            let other = inflated(coding, b"{\"model\":\"m\"}".to_vec()).await;
            assert!(other.is_err(), "{coding:?}");
        }
    }

    #[tokio::test]
    async fn members_one_after_the_other_are_one_body() {
        for coding in [Coding::Gzip, Coding::Zstd] {
            let sent = [compressed(coding, b"{}").await, compressed(coding, b" ").await].concat();
            assert_eq!(inflated(coding, sent).await.unwrap(), "{} ", "{coding:?}");
        }
    }

    #[tokio::test]
    async fn a_window_of_more_than_8_mib_is_refused() {
        let window = |log| CParameter::window_log(log);
        for (log, is_taken) in [(23, true), (24, false), (27, false)] {
            let encoder = ZstdEncoder::with_quality_and_params(
                Vec::new(),
                Level::Default,
                &[window(log), CParameter::content_size_flag(false)],
            );
            let sent = written(encoder, &[b' '; 100]).await.into_inner();
            assert_eq!(inflated(Coding::Zstd, sent).await.is_ok(), is_taken, "{log}");
        }
    }

    #[tokio::test]
    async fn members_that_hold_nothing_are_taken_in_slices() {
        for coding in [Coding::Gzip, Coding::Zstd] {
            let member = compressed(coding, b"").await;
            let sent = member.repeat((128 << 10) / member.len());
            let slices = sent.len() / SENT;
            let mut body = std::pin::pin!(coding.inflate(Full::from(sent)));
            let mut pauses = 0;
            loop {
                match body.frame().now_or_never() {
                    None => pauses += 1,
                    Some(None) => break,
                    Some(Some(frame)) => assert!(frame.unwrap().into_data().unwrap().is_empty()),
                }
            }
            assert!(pauses >= slices, "{coding:?}: {pauses} of {slices}");
        }
    }

    #[tokio::test]
    async fn no_more_is_inflated_than_is_asked_for() {
        let bomb = compressed(Coding::Zstd, &vec![b' '; 64 << 20]).await;
        assert!(bomb.len() < 64 << 10);
        let mut body = std::pin::pin!(Coding::Zstd.inflate(Full::from(bomb)));
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(first.len() <= PIECE);
    }

    #[test]
    fn one_coding_is_taken_and_names_of_none_compress_nothing() {
        let of = |declared| Coding::of(declared).map_err(|error| error.code());
        for none in ["", "identity", "utf-8", "UTF8", " , identity"] {
            assert_eq!(of(none), Ok(None), "{none:?}");
        }
        for (name, coding) in [
            ("gzip", Coding::Gzip),
            ("X-Gzip", Coding::Gzip),
            ("deflate", Coding::Deflate),
            ("br", Coding::Brotli),
            ("zstd", Coding::Zstd),
            ("identity, zstd", Coding::Zstd),
        ] {
            assert_eq!(of(name), Ok(Some(coding)), "{name}");
        }
        for other in ["compress", "gzip, gzip", "gzip, br", "gzip;q=1", "?"] {
            assert_eq!(of(other), Err("unsupported_encoding"), "{other:?}");
        }
    }
}
