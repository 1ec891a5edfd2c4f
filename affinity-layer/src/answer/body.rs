//! The body that passes an answer on, and holds a piece of it where the store has to be waited for.
//!
//! ```text
//! Reading ──piece──▶ Reading      nothing waits for the store: the piece goes on at once
//!    │  ╲
//!    │   ╲─piece with the id, or with the end─▶ Holding ──▶ Reading, or Passing after the end
//!    │
//!    ╰──error, or the end with nothing to wait for──▶ Passing
//! ```
//!
//! - An error, and a body that is dropped, are no end: what was to be done at the end is not done. The
//!   exception is a stream whose model was done, because clients stop reading there.
//! - While a piece is held the body has not ended, and its length still counts the piece: a server that
//!   believed otherwise would not poll for it.
//! - An observer is told of a piece when it is passed on, not when it is read.
//! - The end is where the answer says so, and not the end of the body: clients go on when they have
//!   their answer, and providers may keep a stream open for longer. A release at the end of the body
//!   would race the next turn.
//! - Only the piece that tells waits. To hold all pieces until the store has answered would stall a
//!   stream at its first byte; to hold none would let the next turn find a pin that is about to go.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::continuation::Continuation;
use super::hold::{self, Hold, Linked, Noting};
use super::observer::AnswerObserver;
use super::reader::AnswerReader;
use crate::PinnedModel;
use crate::headers::HeaderNames;
use crate::in_use::InUse;
use crate::observed::ObservedPin;

pin_project! {
    /// Response body of [`Answer`](super::Answer).
    ///
    /// It passes the frames of the inner body on as they are, in their order, with at most one of them held
    /// at a time, for 50 ms at most. Only trailers under the affinity layer's own names are removed. Its errors are those of the inner body; a store
    /// that fails is logged and costs the answer nothing.
    pub struct AnswerBody<B> {
        #[pin]
        inner: B,
        state: State,
        names: HeaderNames,
    }

    impl<B> PinnedDrop for AnswerBody<B> {
        fn drop(this: Pin<&mut Self>) {
            // A client stops reading a stream at the event that announces its end.
            if let State::Reading(mut reading) = std::mem::take(this.project().state) {
                if reading.may_end_early() {
                    reading.release();
                }
                if reading.has_said_all() {
                    reading.lead();
                }
            }
        }
    }
}

#[derive(Default)]
enum State {
    /// There is nothing to do, or no more.
    #[default]
    Passing,
    /// Boxed, so that the body of an answer that is not read stays small.
    Reading(Box<Reading>),
    /// A piece, or the end, waits for the store.
    Holding {
        hold: Hold,
        /// The piece; `None` for the end of the body.
        frame: Option<Frame<Bytes>>,
        /// The answer ends with this piece.
        ended: bool,
        reading: Box<Reading>,
    },
}

/// An answer that passes, and what has to be done with it.
pub(super) struct Reading {
    /// What reads the answer; without one, its end is that of the body.
    pub(super) reader: Option<AnswerReader>,
    /// The pin to release when the answer has ended.
    pub(super) release: Option<Release>,
    /// The session that the response's id is to lead back to.
    pub(super) link: Option<Linked>,
    /// Where it is noted what lives at the provider.
    pub(super) noting: Option<Noting>,
    /// Whether the session is only observed: then no piece waits for what is stored of it.
    pub(super) is_observed: bool,
    /// Notified of each piece and of the end.
    pub(super) observer: Option<Box<dyn AnswerObserver>>,
    /// The conversation that will go on from this answer.
    pub(super) continuation: Option<Continuation>,
    /// The pin that must not expire meanwhile.
    pub(super) in_use: Option<InUse>,
}

/// A pin that ends with its answer.
pub(super) enum Release {
    /// Whatever the answer says.
    Always(PinnedModel),
    /// If the answer ends the task.
    WhenDone(PinnedModel),
    /// The claim of an observed session: at the end of the answer, or only if that ends the task.
    Observed { pin: ObservedPin, when_done: bool },
}

impl<B> AnswerBody<B> {
    /// A body that is not looked at.
    pub(super) fn untouched(inner: B, names: HeaderNames) -> Self {
        Self { inner, state: State::Passing, names }
    }
}

impl<B: Body> AnswerBody<B> {
    /// A body that is read as it passes. One without data ends here, because a server does not poll it;
    /// its release has nothing to hold back and continues by itself.
    pub(super) fn new(inner: B, mut reading: Reading, names: HeaderNames) -> Self {
        if is_over(&inner) {
            // No piece is left that could wait, and nothing polls for the end.
            reading.release();
            reading.lead();
            reading.hand_on(None, true);
        }
        let state =
            if reading.is_idle() { State::Passing } else { State::Reading(Box::new(reading)) };
        Self { inner, state, names }
    }
}

impl<B: Default> Default for AnswerBody<B> {
    fn default() -> Self {
        Self::untouched(B::default(), HeaderNames::none())
    }
}

/// So that an affinity layer right above can make the answer to a refused request.
impl<B: From<Bytes>> From<Bytes> for AnswerBody<B> {
    fn from(bytes: Bytes) -> Self {
        Self::untouched(B::from(bytes), HeaderNames::none())
    }
}

impl<B: fmt::Debug> fmt::Debug for AnswerBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerBody").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<B: Body<Data = Bytes>> Body for AnswerBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        loop {
            let (frame, ended) = match this.state {
                State::Passing => {
                    let frame = ready!(this.inner.poll_frame(cx));
                    return Poll::Ready(
                        frame.map(|frame| frame.map(|frame| without_ours(frame, this.names))),
                    );
                }
                State::Holding { hold, frame, ended, .. } => {
                    // Done in time or not, the answer goes on.
                    ready!(hold.as_mut().poll(cx));
                    (frame.take(), *ended)
                }
                State::Reading(reading) => {
                    let Poll::Ready(frame) = this.inner.as_mut().poll_frame(cx) else {
                        if let Some(in_use) = &mut reading.in_use {
                            in_use.wait(cx);
                        }
                        return Poll::Pending;
                    };
                    let frame = match frame.transpose() {
                        Err(error) => {
                            *this.state = State::Passing;
                            return Poll::Ready(Some(Err(error)));
                        }
                        Ok(frame) => frame,
                    };
                    // A server does not poll again once the body is over.
                    let ended = reading.feed(frame.as_ref()) || is_over(&*this.inner);
                    match reading.hold(ended) {
                        None => (frame, ended),
                        Some(hold) => {
                            if let State::Reading(reading) = std::mem::take(this.state) {
                                *this.state = State::Holding { hold, frame, ended, reading };
                            }
                            continue;
                        }
                    }
                }
            };
            if let State::Reading(mut reading) | State::Holding { mut reading, .. } =
                std::mem::take(this.state)
            {
                reading.hand_on(frame.as_ref(), ended);
                if !reading.is_idle() {
                    *this.state = State::Reading(reading);
                }
            }
            return Poll::Ready(frame.map(|frame| Ok(without_ours(frame, this.names))));
        }
    }

    fn is_end_stream(&self) -> bool {
        !matches!(self.state, State::Holding { .. }) && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.size_hint();
        let State::Holding { frame: Some(held), .. } = &self.state else {
            return inner;
        };
        let held = held.data_ref().map_or(0, Bytes::len);
        let held = u64::try_from(held).unwrap_or(u64::MAX);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(held));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint
    }
}

/// The frame without what an upstream says in our name: trailers come after the head that we have set.
fn without_ours(mut frame: Frame<Bytes>, names: &HeaderNames) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        names.remove_from(trailers);
    }
    frame
}

/// Whether all data is out. Over HTTP/2 the end of the stream may follow in a frame of its own, which
/// is not polled for once the declared length is reached.
fn is_over<B: Body>(body: &B) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}

impl Reading {
    /// Reads on. Returns whether the answer has ended.
    fn feed(&mut self, frame: Option<&Frame<Bytes>>) -> bool {
        let Some(frame) = frame else { return true };
        let (Some(reader), Some(data)) = (&mut self.reader, frame.data_ref()) else {
            return false;
        };
        reader.feed(data);
        reader.is_over()
    }

    /// What the piece that was read last has to wait for. A short answer may hold both its id and its end
    /// in one piece, which then waits for both at the same time.
    fn hold(&mut self, ended: bool) -> Option<Hold> {
        let noted = self.note();
        let id = self.reader.as_ref().and_then(AnswerReader::response_id);
        let link = id.and_then(|id| hold::link(self.link.take()?, id));
        let led = if ended { hold::both(self.release(), self.lead()) } else { None };
        let of_session = hold::both(link, led);
        if self.is_observed {
            hold::unheld(of_session);
            return noted;
        }
        hold::both(noted, of_session)
    }

    /// Stores, once, what leads from the answer, which has ended, to its session.
    fn lead(&mut self) -> Option<Hold> {
        let notes = self.reader.as_ref().and_then(AnswerReader::notes);
        self.continuation.take()?.ended(notes)
    }

    /// Notes the ids that the piece that was read last holds.
    fn note(&mut self) -> Option<Hold> {
        let (noting, reader) = (self.noting.as_mut()?, self.reader.as_mut()?);
        let mut ids = reader.take_held_ids();
        if let Some(id) = reader.response_id().filter(|_| noting.response) {
            noting.response = false;
            ids.push(id.to_owned());
        }
        noting.note(ids)
    }

    /// Releases the pin, once, if the answer, which has ended, is the last of its task.
    fn release(&mut self) -> Option<Hold> {
        match self.release.take()? {
            Release::Always(model) => hold::release(model),
            Release::WhenDone(model) => {
                if self.is_done() {
                    hold::release(model)
                } else {
                    None
                }
            }
            Release::Observed { pin, when_done } => {
                if !when_done || self.is_done() {
                    pin.release();
                }
                None
            }
        }
    }

    /// Whether the answer ends the task.
    fn is_done(&self) -> bool {
        self.reader.as_ref().is_some_and(AnswerReader::ends_task)
    }

    /// Tells the observer of a piece that is passed on, or of the end.
    fn hand_on(&mut self, frame: Option<&Frame<Bytes>>, ended: bool) {
        if let Some(observer) = &mut self.observer
            && frame.is_some_and(Frame::is_data)
        {
            observer.on_data(self.reader.as_ref().map(AnswerReader::usage).unwrap_or_default());
        }
        if ended {
            if let Some(observer) = self.observer.take() {
                observer.on_end();
            }
            (self.link, self.noting, self.in_use) = (None, None, None);
        }
    }

    /// Whether nothing is left to be done: then the rest of the body passes unread.
    fn is_idle(&self) -> bool {
        self.release.is_none()
            && self.link.is_none()
            && self.noting.is_none()
            && self.observer.is_none()
            && self.continuation.is_none()
            && self.in_use.is_none()
    }

    /// Whether a client that stops reading may have all that it wants. Only the last events of a stream
    /// are left out in this way; of a plain answer a part is of no use.
    fn may_end_early(&self) -> bool {
        matches!(
            self.release,
            Some(Release::WhenDone(_) | Release::Observed { when_done: true, .. })
        ) && self.reader.as_ref().is_some_and(AnswerReader::is_stream)
    }
    /// Whether a stream has told why the model stops, after which only its last events are missing.
    fn has_said_all(&self) -> bool {
        self.reader.as_ref().is_some_and(|reader| reader.is_stream() && reader.has_reason())
    }
}
