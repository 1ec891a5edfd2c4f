//! Which models are too small for a request.
//!
//! A model has a window of tokens, and a request comes in bytes. How many bytes make a token is learned from
//! what providers report, for each model; and what a session's last request came to is known, so that only
//! what was added since has to be estimated. Nothing is exact: a request that is estimated too small fails at
//! the provider, which says so, and the next candidate gets it.
//!
//! - Of a request with images, sound or documents the bytes say nothing: it fits.
//! - One client's text of an unusual kind must not make the others' requests look large. So a token counts as
//!   3 bytes at least.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use affinity_layer::{AffinityKey, PinnedModel};
use http::Extensions;

use crate::config::{Inputs, Provider};
use crate::extensions::BodyBytes;

/// Thousandths of a byte for a token, before anything is known, and the least and most that are believed.
const USUAL: u64 = 4000;
const LEAST: u64 = 3000;
const MOST: u64 = 8000;

/// The fewest tokens that teach something: of a short request most bytes are structure.
const FEWEST_TOKENS: u64 = 256;

/// The most sessions whose last size is known.
const MOST_SESSIONS: usize = 10_000;

/// The windows of the models, and what is known of their tokens.
#[derive(Debug)]
pub(crate) struct Windows {
    models: Vec<Option<Window>>,
    sessions: Mutex<HashMap<u64, Size>>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Window {
    tokens: u64,
    /// Thousandths of a byte for a token.
    ratio: AtomicU64,
}

/// What a request came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) bytes: u64,
    pub(super) tokens: u64,
}

impl Windows {
    /// In the order of `providers`.
    pub(crate) fn new(providers: &[Provider]) -> Self {
        let window = |provider: &Provider| {
            let tokens = provider.context_window?;
            Some(Window { tokens, ratio: AtomicU64::new(USUAL) })
        };
        let models = providers.iter().map(window).collect();
        Self { models, sessions: Mutex::default(), hasher: RandomState::new() }
    }

    /// Whether any model has one.
    pub(crate) fn any(&self) -> bool {
        self.models.iter().any(Option::is_some)
    }

    /// Whether the model at `place` can take a request, as far as can be told.
    pub(crate) fn fits(&self, place: usize, request: &Extensions) -> bool {
        let Some(window) = self.models.get(place).and_then(Option::as_ref) else { return true };
        let Some(bytes) = text_bytes(request) else { return true };
        let ratio = window.ratio.load(Ordering::Relaxed);
        let known = request.get::<PinnedModel>().and_then(PinnedModel::key);
        let known = known.and_then(|key| self.sessions().get(&self.hasher.hash_one(key)).copied());
        estimated(bytes, known, ratio) <= window.tokens
    }

    /// Notes that a request came to so many tokens at the model of `place`.
    pub(super) fn learn(&self, place: usize, key: Option<&AffinityKey>, size: Size) {
        if let Some(key) = key {
            let mut sessions = self.sessions();
            if sessions.len() >= MOST_SESSIONS {
                // Those that go on are known again after their next answer.
                sessions.clear();
            }
            sessions.insert(self.hasher.hash_one(key), size);
        }
        if let Some(window) = self.models.get(place).and_then(Option::as_ref)
            && size.tokens >= FEWEST_TOKENS
        {
            let told = (size.bytes.saturating_mul(1000) / size.tokens).clamp(LEAST, MOST);
            // Lost updates of threads that meet here cost nothing.
            let ratio = window.ratio.load(Ordering::Relaxed);
            window.ratio.store((ratio * 7 + told) / 8, Ordering::Relaxed);
        }
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Size>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of a request whose bytes are text.
pub(super) fn text_bytes(request: &Extensions) -> Option<u64> {
    let inputs = request.get::<Inputs>().copied().unwrap_or_default();
    let BodyBytes(bytes) = request.get()?;
    (inputs == Inputs::default()).then_some(*bytes)
}

/// About how many tokens `bytes` are, if the session's last request was `known`.
fn estimated(bytes: u64, known: Option<Size>, ratio: u64) -> u64 {
    let tokens = |bytes: u64| bytes.saturating_mul(1000) / ratio.max(1);
    match known {
        Some(last) if bytes >= last.bytes => last.tokens.saturating_add(tokens(bytes - last.bytes)),
        // It was cut down: by as many tokens as bytes, in proportion.
        Some(last) => {
            let part = u128::from(last.tokens) * u128::from(bytes) / u128::from(last.bytes.max(1));
            u64::try_from(part).unwrap_or(u64::MAX)
        }
        None => tokens(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Mode};

    fn windows(tokens: u64) -> Windows {
        let text = format!(
            "model_providers:\n  - {{model: openai/a, access_key: k, context_window: {tokens}}}\n  \
             - {{model: openai/b, access_key: k}}\n"
        );
        let config = Config::parse(&text, "test", &|_| None, Mode::Full).unwrap();
        Windows::new(&config.providers)
    }

    fn request(bytes: u64, inputs: Inputs) -> Extensions {
        let mut request = Extensions::new();
        request.insert(BodyBytes(bytes));
        request.insert(inputs);
        request
    }

    #[test]
    fn a_request_fits_by_what_its_bytes_come_to() {
        let windows = windows(1000);
        assert!(windows.any());
        let fits = |place, bytes| windows.fits(place, &request(bytes, Inputs::default()));
        assert!(fits(0, 4000) && !fits(0, 4008));
        assert!(fits(1, u64::MAX), "a model without a window takes all");
        let mut image = Inputs::default();
        image.image = true;
        assert!(windows.fits(0, &request(1 << 20, image)), "its bytes say nothing");
        assert!(windows.fits(0, &Extensions::new()));
    }

    #[test]
    fn what_providers_report_corrects_the_estimate_within_bounds() {
        let windows = windows(1000);
        let fits = |bytes| windows.fits(0, &request(bytes, Inputs::default()));
        for _ in 0..100 {
            windows.learn(0, None, Size { bytes: 1000, tokens: 300 });
        }
        assert!(fits(3300) && !fits(3400));
        for _ in 0..100 {
            windows.learn(0, None, Size { bytes: 300, tokens: 300 });
        }
        assert!(fits(3000) && !fits(3100), "3 bytes at least");
        windows.learn(0, None, Size { bytes: 1000, tokens: 10 });
        assert!(!fits(3100), "too few tokens to teach anything");
    }

    #[test]
    fn a_session_is_judged_by_its_last_request() {
        let known = Some(Size { bytes: 1000, tokens: 900 });
        assert_eq!(estimated(1000, known, USUAL), 900);
        assert_eq!(estimated(1400, known, USUAL), 1000);
        assert_eq!(estimated(500, known, USUAL), 450, "it was compacted");
        assert_eq!(estimated(u64::MAX, known, 1), u64::MAX);
        assert_eq!(estimated(0, Some(Size { bytes: 0, tokens: 0 }), 0), 0);
    }
}
