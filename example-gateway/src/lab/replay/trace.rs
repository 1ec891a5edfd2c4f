//! The format of a trace: one JSON object a line, for one request each.

use std::fmt;
use std::io::{BufRead, Read as _};
use std::time::Duration;

use affinity_layer::ModelName;
use serde::Serialize;
use serde_json::{Map, Value};

/// The longest line, in bytes.
const MAX_LINE: u64 = 16 * 1024;

/// The longest name of a session, in bytes.
const MAX_SESSION: usize = 256;

/// The most tokens of one request or answer.
const MAX_TOKENS: u64 = 1_000_000_000;

/// The latest time, ten years after the beginning.
const MAX_MILLIS: u64 = 10 * 365 * 24 * 3600 * 1000;

const FIELDS: [&str; 7] = [
    "at_ms",
    "session",
    "choice",
    "prompt_tokens",
    "output_tokens",
    "same_prefix_tokens",
    "user_turn",
];

/// One request of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// When it came in, since the beginning of the trace.
    pub at: Duration,
    /// Its session.
    pub session: String,
    /// The model that the router chose for it, or would have.
    pub choice: ModelName,
    /// Its tokens.
    pub prompt: u64,
    /// Those of the answer.
    pub output: u64,
    /// How many of its first tokens are those of the session's previous request; all of that request if it
    /// does not say.
    pub same_prefix: Option<u64>,
    /// Whether a turn of the user begins with it; only with the first of a session if it does not say.
    pub user_turn: Option<bool>,
}

/// A line that is no request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceError {
    line: u64,
    field: Option<&'static str>,
    why: String,
}

/// Reads a trace line by line.
pub(super) struct Trace<R> {
    input: R,
    line: u64,
    text: Vec<u8>,
    last: Duration,
}

impl<R: BufRead> Trace<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, line: 0, text: Vec::new(), last: Duration::ZERO }
    }

    /// The next request; `None` after the last one. Empty lines are passed over.
    pub(super) fn next_call(&mut self) -> Result<Option<Call>, TraceError> {
        loop {
            self.line += 1;
            self.text.clear();
            let mut line = (&mut self.input).take(MAX_LINE + 1);
            let read = line.read_until(b'\n', &mut self.text);
            let length = read.map_err(|error| self.broken(format!("cannot be read: {error}")))?;
            if length == 0 {
                return Ok(None);
            }
            if self.text.len() as u64 > MAX_LINE {
                return Err(self.broken(format!("has more than {MAX_LINE} bytes")));
            }
            if !self.text.trim_ascii().is_empty() {
                return self.call().map(Some);
            }
        }
    }

    /// What is wrong with a field of the current line.
    pub(super) fn fault(&self, field: &'static str, why: impl Into<String>) -> TraceError {
        TraceError { line: self.line, field: Some(field), why: why.into() }
    }

    fn broken(&self, why: impl Into<String>) -> TraceError {
        TraceError { line: self.line, field: None, why: why.into() }
    }

    fn call(&mut self) -> Result<Call, TraceError> {
        let object = serde_json::from_slice::<Map<String, Value>>(&self.text)
            .map_err(|error| self.broken(format!("is not a JSON object: {error}")))?;
        if let Some(name) = object.keys().find(|name| !FIELDS.contains(&name.as_str())) {
            return Err(self.broken(format!("has the unknown field {name:.64?}")));
        }
        let at = Duration::from_millis(self.number(&object, "at_ms", MAX_MILLIS)?);
        if at < self.last {
            return Err(self.fault("at_ms", "is before the line above"));
        }
        let prompt = self.number(&object, "prompt_tokens", MAX_TOKENS)?;
        let same_prefix = match object.get("same_prefix_tokens") {
            None | Some(Value::Null) => None,
            Some(_) => Some(self.number(&object, "same_prefix_tokens", prompt)?),
        };
        let user_turn = match object.get("user_turn") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(is)) => Some(*is),
            Some(_) => return Err(self.fault("user_turn", "must be true or false")),
        };
        let call = Call {
            at,
            session: self.session(&object)?,
            choice: self.choice(&object)?,
            prompt,
            output: self.number(&object, "output_tokens", MAX_TOKENS)?,
            same_prefix,
            user_turn,
        };
        self.last = at;
        Ok(call)
    }

    fn number(
        &self,
        object: &Map<String, Value>,
        field: &'static str,
        most: u64,
    ) -> Result<u64, TraceError> {
        let number = object.get(field).and_then(Value::as_u64).filter(|number| *number <= most);
        number.ok_or_else(|| self.fault(field, format!("must be a whole number, 0 to {most}")))
    }

    fn session(&self, object: &Map<String, Value>) -> Result<String, TraceError> {
        let session = object.get("session").and_then(Value::as_str);
        let session = session.filter(|id| (1..=MAX_SESSION).contains(&id.len()));
        let why = || self.fault("session", format!("must be text of 1 to {MAX_SESSION} bytes"));
        session.map(str::to_owned).ok_or_else(why)
    }

    fn choice(&self, object: &Map<String, Value>) -> Result<ModelName, TraceError> {
        let name = object.get("choice").and_then(Value::as_str);
        let why = "must be the name of a model, provider/id";
        let name =
            name.filter(|name| name.contains('/')).ok_or_else(|| self.fault("choice", why))?;
        ModelName::new(name).map_err(|error| self.fault("choice", error.to_string()))
    }
}

impl Call {
    /// The request as a line of a trace.
    #[must_use]
    pub fn line(&self) -> String {
        let line = Line {
            at_ms: u64::try_from(self.at.as_millis()).unwrap_or(u64::MAX),
            session: &self.session,
            choice: self.choice.as_str(),
            prompt_tokens: self.prompt,
            output_tokens: self.output,
            same_prefix_tokens: self.same_prefix,
            user_turn: self.user_turn,
        };
        // Numbers and text cannot fail.
        serde_json::to_string(&line).unwrap_or_default()
    }
}

/// A line, as it is written.
#[derive(Serialize)]
struct Line<'a> {
    at_ms: u64,
    session: &'a str,
    choice: &'a str,
    prompt_tokens: u64,
    output_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    same_prefix_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_turn: Option<bool>,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, field, why } = self;
        match field {
            Some(field) => write!(f, "line {line}: {field}: {why}"),
            None => write!(f, "line {line} {why}"),
        }
    }
}

impl std::error::Error for TraceError {}
