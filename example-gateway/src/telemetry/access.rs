//! The access log: one line for each request of a client, written when its answer is over.
//!
//! 1. The connection begins an [`AccessRecord`], and puts its [`AccessNote`] into the request.
//! 2. Whatever in the stack learns something of the request writes it on the note.
//! 3. The body of the answer carries the record to its end, and dropping it writes the line. So a request
//!    whose client hangs up, before or after the head, has its line too, which says `cut`.
//!
//! No line holds a query, a session id or a key. Without `--access-log` none of this is made.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use affinity_layer::answer::Usage;
use affinity_layer::headers::{AFFINITY_HEADER, MODEL_HEADER};
use axum::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Instant;

/// The target of the lines.
pub(crate) const TARGET: &str = "access";

/// What a line shows of a path that is not served, in bytes.
const PATH: usize = 128;

/// What the stack learns of a request. Set by `edge::connection`, written by the front, the stack and the
/// calls of providers. Clones are of the same request.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccessNote(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    path: Option<String>,
    client: Option<String>,
    session: Option<String>,
    provider: Option<String>,
    usage: Usage,
}

impl AccessNote {
    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The path as it is configured: the request's own may hold an id.
    pub(crate) fn path(&self, path: &str) {
        self.noted().path = Some(path.to_owned());
    }

    /// The name of the key that the client showed.
    pub(crate) fn client(&self, name: &str) {
        self.noted().client = Some(name.to_owned());
    }

    /// The session, by a name that leads to no id.
    pub(crate) fn session(&self, tag: impl fmt::Display) {
        self.noted().session = Some(tag.to_string());
    }

    /// Who was called; the last one counts.
    pub(crate) fn provider(&self, name: &str) {
        self.noted().provider = Some(name.to_owned());
    }

    /// The tokens, as far as the provider has counted them.
    pub(crate) fn usage(&self, usage: Usage) {
        self.noted().usage = usage;
    }
}

/// How an answer was over.
#[derive(Clone, Copy, Debug)]
enum End {
    /// It was sent to its end.
    Complete,
    /// The provider broke it off.
    Broken,
    /// The client was gone, or too slow, or the gateway stopped.
    Cut,
}

impl End {
    fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Broken => "broken",
            Self::Cut => "cut",
        }
    }
}

/// A request whose line is not written yet; dropping it writes the line.
#[derive(Debug)]
pub(crate) struct AccessRecord {
    method: Method,
    path: String,
    since: Instant,
    note: AccessNote,
    head: Option<Head>,
    first_byte: Option<Duration>,
    end: Option<(End, Duration)>,
}

/// What the head of the answer says.
#[derive(Debug)]
struct Head {
    status: StatusCode,
    outcome: Option<HeaderValue>,
    model: Option<HeaderValue>,
}

impl AccessRecord {
    /// Begins with a request, which carries the note from here on.
    pub(crate) fn begin(request: &mut Parts) -> Self {
        let note = AccessNote::default();
        request.extensions.insert(note.clone());
        let path = request.uri.path().chars().take(PATH).collect();
        let (method, since) = (request.method.clone(), Instant::now());
        Self { method, path, since, note, head: None, first_byte: None, end: None }
    }

    /// The answer, which ends the record when it is over.
    pub(crate) fn follow(mut self, answer: Response<Body>) -> Response<Body> {
        let (status, headers) = (answer.status(), answer.headers());
        let copy = |headers: &HeaderMap, name: HeaderName| headers.get(name).cloned();
        let (outcome, model) = (copy(headers, AFFINITY_HEADER), copy(headers, MODEL_HEADER));
        self.head = Some(Head { status, outcome, model });
        answer.map(|inner| {
            if inner.is_end_stream() {
                self.passed();
                self.ended(End::Complete);
            }
            Body::new(Followed { inner, record: self })
        })
    }

    fn passed(&mut self) {
        self.first_byte.get_or_insert_with(|| self.since.elapsed());
    }

    fn ended(&mut self, end: End) {
        self.end.get_or_insert_with(|| (end, self.since.elapsed()));
    }
}

impl Drop for AccessRecord {
    fn drop(&mut self) {
        let (end, total) = self.end.unwrap_or_else(|| (End::Cut, self.since.elapsed()));
        let Noted { path, client, session, provider, usage } = &*self.note.noted();
        let text = |value: &Option<HeaderValue>| {
            value.as_ref().and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let head = self.head.as_ref();
        tracing::info!(
            target: TARGET,
            method = self.method.as_str(),
            path = path.as_deref().unwrap_or(&self.path),
            status = head.map(|head| head.status.as_u16()),
            outcome = head.and_then(|head| text(&head.outcome)),
            model = head.and_then(|head| text(&head.model)),
            provider = provider.as_deref(),
            session = session.as_deref(),
            client = client.as_deref(),
            first_byte_ms = self.first_byte.map(millis),
            total_ms = millis(total),
            end = end.as_str(),
            prompt_tokens = usage.prompt_tokens,
            cached_tokens = usage.cached_tokens,
            output_tokens = usage.output_tokens,
        );
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The body of an answer, passed on as it is. The body is dropped before the record, and with it whatever
/// still writes on the note.
#[derive(Debug)]
struct Followed {
    inner: Body,
    record: AccessRecord,
}

impl http_body::Body for Followed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        match &frame {
            Some(Ok(_)) => this.record.passed(),
            Some(Err(_)) => this.record.ended(End::Broken),
            None => {}
        }
        if frame.is_none() || this.inner.is_end_stream() {
            this.record.ended(End::Complete);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::StreamExt;
    use http::Request;
    use http_body_util::BodyExt;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn listen() -> (Lines, tracing::subscriber::DefaultGuard) {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt().json().with_writer(lines.clone()).finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    fn one(lines: &Lines) -> serde_json::Value {
        let text = std::mem::take(&mut *lines.0.lock().unwrap());
        serde_json::from_slice::<serde_json::Value>(&text).unwrap()["fields"].take()
    }

    fn begin(uri: &str) -> (AccessRecord, AccessNote) {
        let (mut parts, ()) = Request::post(uri).body(()).unwrap().into_parts();
        let record = AccessRecord::begin(&mut parts);
        (record, parts.extensions.remove().unwrap())
    }

    fn streamed() -> Response<Body> {
        let pieces = ["one", "two"].map(|piece| Ok::<_, Infallible>(Bytes::from(piece)));
        let pieces = futures_util::stream::iter(pieces).then(async |piece| {
            tokio::time::sleep(Duration::from_millis(20)).await;
            piece
        });
        Response::new(Body::from_stream(Box::pin(pieces)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_is_written_at_the_end_of_the_answer_and_tells_what_the_stack_noted() {
        let (lines, _guard) = listen();
        let (record, note) = begin("/v1/messages?key=hush");
        note.session("0123456789ab");
        note.client("team");
        note.provider("openai");
        let mut answer = streamed();
        answer.headers_mut().insert(AFFINITY_HEADER, HeaderValue::from_static("hit"));
        let answer = record.follow(answer);
        assert!(lines.0.lock().unwrap().is_empty(), "nothing is over");
        let mut usage = Usage::default();
        usage.prompt_tokens = Some(7);
        note.usage(usage);
        answer.into_body().collect().await.unwrap();
        let line = one(&lines);
        assert_eq!(line["path"], "/v1/messages");
        assert_eq!((&line["status"], &line["outcome"]), (&200.into(), &"hit".into()));
        assert_eq!((&line["client"], &line["provider"]), (&"team".into(), &"openai".into()));
        assert_eq!((&line["first_byte_ms"], &line["total_ms"]), (&20.into(), &40.into()));
        assert_eq!((&line["end"], &line["prompt_tokens"]), (&"complete".into(), &7.into()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_taken_to_its_end_is_cut_and_one_without_a_head_too() {
        let (lines, _guard) = listen();
        let (record, _) = begin("/v1/messages");
        let mut body = record.follow(streamed()).into_body();
        body.frame().await.unwrap().unwrap();
        drop(body);
        let line = one(&lines);
        assert_eq!((&line["end"], &line["first_byte_ms"]), (&"cut".into(), &20.into()));
        drop(begin("/v1/messages").0);
        let line = one(&lines);
        assert_eq!((&line["end"], &line["status"]), (&"cut".into(), &serde_json::Value::Null));
    }

    #[tokio::test]
    async fn an_answer_that_breaks_is_broken_and_one_without_a_body_complete() {
        let (lines, _guard) = listen();
        let pieces = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("gone"))]);
        let answer = begin("/v1/messages").0.follow(Response::new(Body::from_stream(pieces)));
        assert!(answer.into_body().collect().await.is_err());
        assert_eq!(one(&lines)["end"], "broken");
        drop(begin("/v1/messages").0.follow(Response::new(Body::empty())));
        assert_eq!(one(&lines)["end"], "complete");
    }

    #[tokio::test]
    async fn a_path_is_shown_as_it_is_configured_and_an_unknown_one_only_to_a_limit() {
        let (lines, _guard) = listen();
        let (record, note) = begin("/v1/responses/resp_secret");
        note.path("/v1/responses/{id}");
        drop(record);
        assert_eq!(one(&lines)["path"], "/v1/responses/{id}");
        drop(begin(&format!("/{}", "x".repeat(60_000))));
        assert_eq!(one(&lines)["path"].as_str().unwrap().len(), PATH);
    }
}
