//! What a client knows of one session.

use std::sync::Arc;
use std::time::Duration;

/// One request of a session. Times count from the start of the run.
#[derive(Clone, Debug)]
pub struct Event {
    /// The gateway that was asked.
    pub replica: usize,
    /// What it was asked for.
    pub ask: Ask,
    /// Just before the request was sent.
    pub start: Duration,
    /// When the answer had come in whole, or the client gave up.
    pub end: Duration,
    /// What came of it.
    pub told: Told,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A turn like any other.
    Turn,
    /// A new decision (`x-plano-affinity: refresh`).
    Refresh,
    /// The end of the session (`x-plano-affinity: final`).
    Final,
}

/// What came of a request.
#[derive(Clone, Debug)]
pub enum Told {
    /// 200.
    Answer(Answer),
    /// Another status.
    Refused(u16),
    /// The client gave up on purpose.
    GaveUp,
    /// No answer: the connection broke, or nothing came within the time limit.
    Broken,
}

/// The headers of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `x-plano-model`.
    pub model: Arc<str>,
    /// `x-plano-epoch`; none if there is no pin behind the answer.
    pub epoch: Option<u64>,
    /// `x-plano-affinity`.
    pub how: How,
    /// `x-plano-pinned`.
    pub pinned: bool,
}

/// The values of `x-plano-affinity` that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// `hit`.
    Hit,
    /// `joined`.
    Joined,
    /// `claimed`.
    Claimed,
    /// `refreshed`.
    Refreshed,
    /// `repinned`.
    Repinned,
    /// `store-unavailable`.
    StoreUnavailable,
    /// Anything else.
    Other,
}

impl How {
    /// Reads the header's value.
    #[must_use]
    pub fn parse(value: &str) -> Self {
        match value {
            "hit" => Self::Hit,
            "joined" => Self::Joined,
            "claimed" => Self::Claimed,
            "refreshed" => Self::Refreshed,
            "repinned" => Self::Repinned,
            "store-unavailable" => Self::StoreUnavailable,
            _ => Self::Other,
        }
    }

    /// Whether this request says that it made the pin.
    pub(super) fn makes_a_pin(self) -> bool {
        matches!(self, Self::Claimed | Self::Refreshed | Self::Repinned)
    }
}

impl Event {
    /// The answer, if there is one.
    #[must_use]
    pub fn answer(&self) -> Option<&Answer> {
        match &self.told {
            Told::Answer(answer) => Some(answer),
            _ => None,
        }
    }

    /// Epoch and model of the pin behind the answer.
    #[must_use]
    pub fn pin(&self) -> Option<(u64, &str)> {
        let answer = self.answer()?;
        Some((answer.epoch?, &answer.model))
    }

    /// Whether it may have changed something that its client did not learn.
    #[must_use]
    pub fn is_unheard(&self) -> bool {
        self.answer().is_none_or(|answer| answer.how == How::StoreUnavailable)
    }

    /// Whether a new pin may follow from it.
    pub(super) fn asks_for_change(&self) -> bool {
        self.ask != Ask::Turn
    }

    /// Until when it may have an effect: a request without answer may have one at any later time.
    pub(super) fn effect_end(&self) -> Duration {
        if self.is_unheard() { Duration::MAX } else { self.end }
    }
}
