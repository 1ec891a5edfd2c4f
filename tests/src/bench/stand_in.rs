//! The provider stand-in: a minimal hyper server that reads a body and answers a constant, or a
//! paced stream of events for `accept: text/event-stream`.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::time::{Interval, interval};

/// Events of one stream.
pub const EVENTS: u64 = 50;
/// From one event to the next.
pub const PACE: Duration = Duration::from_millis(2);

/// What a provider says, about half a kilobyte.
const ANSWER: &str = r#"{"id":"chatcmpl-0123456789abcdef","object":"chat.completion","created":1763000000,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"The orders table grows by two million rows a month, so the index on (customer_id, created_at) matters more than the engine. I would measure the three slowest queries first.","refusal":null},"logprobs":null,"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":812,"completion_tokens":64,"total_tokens":876},"system_fingerprint":"fp_0123456789"}"#;

/// Serves `listener` for ever.
///
/// # Errors
///
/// When no connection can be accepted.
pub async fn serve(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service_fn(answer));
        tokio::spawn(connection);
    }
}

type Answer = Response<Either<Full<Bytes>, Events>>;

async fn answer(request: Request<Incoming>) -> Result<Answer, hyper::Error> {
    let (head, mut body) = request.into_parts();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    let streamed =
        head.headers.get(header::ACCEPT).is_some_and(|value| value == "text/event-stream");
    let (kind, body) = if streamed {
        ("text/event-stream", Either::Right(Events { sent: 0, pace: interval(PACE) }))
    } else {
        ("application/json", Either::Left(Full::from(ANSWER)))
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

/// Events at a pace, each with the time at which it was made.
struct Events {
    sent: u64,
    pace: Interval,
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.sent > EVENTS {
            return Poll::Ready(None);
        }
        ready!(self.pace.poll_tick(cx));
        self.sent += 1;
        let text = match self.sent {
            ..EVENTS => event(r#"{"content":" measured"}"#, "null"),
            // The task goes on, so a scanner that looks for its end leaves the pin alone.
            EVENTS => event("{}", "\"tool_calls\""),
            _ => "data: [DONE]\n\n".to_owned(),
        };
        Poll::Ready(Some(Ok(Frame::data(text.into()))))
    }
}

fn event(delta: &str, reason: &str) -> String {
    format!(
        "data: {{\"t\":{},\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\
         \"chat.completion.chunk\",\"created\":1763000000,\"model\":\"gpt-4o\",\"choices\":\
         [{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{reason}}}]}}\n\n",
        now()
    )
}

/// Nanoseconds of the wall clock: processes of one machine agree on it.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    u64::try_from(since.as_nanos()).expect("a clock before 2500")
}
