//! A body that was checked, and where our values are in it.
//!
//! The bytes are shared by all attempts and never copied: what a provider is sent are
//! [`Slices`] of them.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::content::Contents;
use super::error::BodyError;
use super::inputs::Inputs;
use super::members::Found;
use super::slices::Slices;
use super::{quick, scan};
use crate::key::BodyIds;

/// A body that is known to be one JSON object, and where our values are in it. A clone shares the bytes.
///
/// ```
/// use affinity_layer::body::{BodyError, JsonBody};
///
/// let body = JsonBody::parse(r#"{"model": "auto", "messages": []}"#.into())?;
/// assert_eq!(body.model().as_deref(), Some("auto"));
/// assert_eq!(body.for_model("gpt-4o").to_bytes(), r#"{"model": "gpt-4o", "messages": []}"#);
///
/// let twice = JsonBody::parse(r#"{"model": "a", "model": "b"}"#.into());
/// assert_eq!(twice.unwrap_err(), BodyError::Duplicate("model"));
/// # Ok::<(), BodyError>(())
/// ```
#[derive(Clone, Debug)]
pub struct JsonBody {
    bytes: Bytes,
    /// The value of the top-level `model`.
    model: Option<Range<usize>>,
    /// The member `routing_preferences`, with the comma that goes with it.
    preferences: Option<Preferences>,
    contents: Contents,
    is_background: bool,
    /// The values that may name the session, in the order of [`BodyIds::MEMBERS`].
    ids: [Option<Range<usize>>; BodyIds::MEMBERS.len()],
    /// What a provider is sent as `prompt_cache_key`.
    cache_key: Option<String>,
}

#[derive(Clone, Debug)]
struct Preferences {
    value: Range<usize>,
    member: Range<usize>,
}

impl JsonBody {
    /// Checks that `bytes` are one JSON object and finds our members in it.
    ///
    /// # Errors
    ///
    /// [`BodyError`] for anything else, for nesting beyond 128 levels, when one of our members occurs
    /// twice, since parsers disagree on which one counts, when a key reads like one of ours to some
    /// reader and is not written like it, and when `stream`, `messages` or the most
    /// tokens have a value of another kind than they can have.
    pub fn parse(bytes: Bytes) -> Result<Self, BodyError> {
        let closely = || scan::find(std::str::from_utf8(&bytes).map_err(|_| BodyError::Utf8)?);
        let found = quick::find(&bytes).map_or_else(closely, Ok)?;
        let preferences = found.preferences.map(|value| {
            let member = member(&bytes, &value);
            Preferences { value, member }
        });
        let Found { model, contents, is_background, ids, .. } = found;
        Ok(Self { model, preferences, contents, is_background, ids, cache_key: None, bytes })
    }

    /// The whole body.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The top-level `model` when it is a string that is not empty.
    #[must_use]
    pub fn model(&self) -> Option<Cow<'_, str>> {
        let text = std::str::from_utf8(self.bytes.get(self.model.clone()?)?).ok()?;
        let inner = text.strip_prefix('"')?.strip_suffix('"')?;
        let model = match inner.contains('\\') {
            true => Cow::Owned(serde_json::from_str(text).ok()?),
            false => Cow::Borrowed(inner),
        };
        (!model.is_empty()).then_some(model)
    }

    /// Whether there is a top-level `model`, of whatever type.
    #[must_use]
    pub fn has_model(&self) -> bool {
        self.model.is_some()
    }

    /// The JSON text of the top-level `routing_preferences`, `None` also when it is `null`.
    #[must_use]
    pub fn preferences(&self) -> Option<&[u8]> {
        let text = self.bytes.get(self.preferences.as_ref()?.value.clone())?;
        (text != b"null").then_some(text)
    }

    /// Kinds of input other than text in the messages.
    #[must_use]
    pub fn inputs(&self) -> Inputs {
        self.contents.inputs
    }

    /// Whether the body may hold what only one vendor can read, such as signed thinking.
    #[must_use]
    pub fn may_be_foreign(&self) -> bool {
        self.contents.may_be_foreign
    }

    /// Whether the body refers to what lives at one provider, such as a file or an earlier response.
    #[must_use]
    pub fn refers_to_its_provider(&self) -> bool {
        self.contents.refers
    }

    /// Whether the body starts a job that goes on without its client: `"background": true`.
    #[must_use]
    pub fn is_background(&self) -> bool {
        self.is_background
    }

    /// The id of the response that the body follows.
    #[must_use]
    pub fn follows(&self) -> Option<String> {
        let place = BodyIds::MEMBERS.iter().position(|member| *member == "previous_response_id")?;
        serde_json::from_slice(self.bytes.get(self.ids.get(place)?.clone()?)?).ok()
    }

    /// What the body says about its session.
    #[must_use]
    pub fn session_ids(&self) -> BodyIds {
        BodyIds::read(|name| {
            let place = BodyIds::MEMBERS.iter().position(|member| *member == name)?;
            self.bytes.get(self.ids.get(place)?.clone()?)
        })
    }

    /// The body for a provider: `model` replaced, `routing_preferences` cut out. Nothing is copied but the
    /// new name. A body without `model` stays without one.
    #[must_use]
    pub fn for_model(&self, model: &str) -> Slices {
        let preferences = self.preferences.as_ref().map(|preferences| preferences.member.clone());
        self.edited(model, preferences)
    }

    /// The body for a provider that gets it without `cuts`, ranges of its [`bytes`](Self::bytes) that leave an
    /// object with its `model`. They are cut instead of `routing_preferences`, so that the commas of
    /// neighbours can be cut together. A range that overlaps another, or ends beyond the body, is passed over.
    #[must_use]
    pub fn for_model_without(&self, model: &str, cuts: &[Range<usize>]) -> Slices {
        self.edited(model, cuts.iter().cloned())
    }

    /// The same body, which [`for_model`](Self::for_model) and [`for_model_without`](Self::for_model_without)
    /// give `value` as its `prompt_cache_key`; as it is if it has one already, `null` too. The member stands
    /// behind the model, which is never cut out, so that there is a comma before it whatever else is.
    ///
    /// ```
    /// use affinity_layer::body::{BodyError, JsonBody};
    ///
    /// let body = JsonBody::parse(r#"{"model": "auto", "n": 1}"#.into())?;
    /// let sent = body.keyed("k").for_model("m").to_bytes();
    /// assert_eq!(sent, r#"{"model": "m","prompt_cache_key":"k", "n": 1}"#);
    /// # Ok::<(), BodyError>(())
    /// ```
    #[must_use]
    pub fn keyed(self, value: &str) -> Self {
        let cache_key = (!self.has_cache_key()).then(|| value.to_owned());
        Self { cache_key, ..self }
    }

    fn has_cache_key(&self) -> bool {
        let mut ids = BodyIds::MEMBERS.iter().zip(&self.ids);
        ids.any(|(name, id)| *name == "prompt_cache_key" && id.is_some())
    }

    /// The body with `value` as its `prompt_cache_key`, its first member; `None` if it has one already. Nothing
    /// else changes.
    ///
    /// ```
    /// use affinity_layer::body::{BodyError, JsonBody};
    ///
    /// let body = JsonBody::parse(r#" {"model": "m"}"#.into())?;
    /// let stamped = body.with_prompt_cache_key("k").map(|sent| sent.to_bytes());
    /// assert_eq!(stamped.unwrap(), r#" {"prompt_cache_key":"k","model": "m"}"#);
    /// # Ok::<(), BodyError>(())
    /// ```
    #[must_use]
    pub fn with_prompt_cache_key(&self, value: &str) -> Option<Slices> {
        if self.has_cache_key() {
            return None;
        }
        let inner = self.bytes.iter().position(|byte| *byte == b'{')? + 1;
        let rest = self.bytes.slice(inner..);
        let is_empty = rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'}');
        let comma = if is_empty { "" } else { "," };
        let member = format!("\"prompt_cache_key\":{}{comma}", serde_json::Value::from(value));
        let mut slices = Slices::from(self.bytes.slice(..inner));
        slices.push(member.into());
        slices.push(rest);
        Some(slices)
    }

    fn edited(&self, model: &str, cuts: impl IntoIterator<Item = Range<usize>>) -> Slices {
        let cuts = cuts.into_iter().map(|cut| (cut, Bytes::new()));
        let mut edits: Vec<(Range<usize>, Bytes)> = cuts.collect();
        if let Some(value) = &self.model {
            let mut text = serde_json::Value::from(model).to_string();
            if let Some(key) = &self.cache_key {
                text += ",\"prompt_cache_key\":";
                text += &serde_json::Value::from(key.as_str()).to_string();
            }
            edits.push((value.clone(), text.into()));
        }
        edits.sort_by_key(|(range, _)| range.start);
        let mut slices = Slices::default();
        let mut from = 0;
        for (range, replacement) in edits {
            if range.start < from || range.end < range.start || range.end > self.bytes.len() {
                continue;
            }
            slices.push(self.bytes.slice(from..range.start));
            slices.push(replacement);
            from = range.end;
        }
        slices.push(self.bytes.slice(from..));
        slices
    }
}

/// The range of the member of `value`, from its key on and with one comma, so that the object is valid
/// without it.
fn member(text: &[u8], value: &Range<usize>) -> Range<usize> {
    let before = |end: usize, wanted: &dyn Fn(u8) -> bool| {
        let head = text.get(..end).unwrap_or_default();
        head.iter().rposition(|byte| wanted(*byte)).unwrap_or_default()
    };
    // Our key holds no escape, so the nearest two quotes enclose it.
    let key_end = before(value.start, &|byte| byte == b'"');
    let key = before(key_end, &|byte| byte == b'"');
    let previous = before(key, &|byte| !byte.is_ascii_whitespace());
    if text.get(previous) == Some(&b',') {
        return previous..value.end;
    }
    let rest = text.get(value.end..).unwrap_or_default();
    let next = rest.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or_default();
    match rest.get(next) {
        Some(b',') => key..value.end + next + 1,
        _ => key..value.end,
    }
}

#[cfg(test)]
mod tests;
