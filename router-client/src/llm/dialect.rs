//! What a routing model takes of a question.
//!
//! Models differ in the parameters that they take: reasoning models refuse `max_tokens` and any
//! `temperature` but their own, and use up a small limit before they answer. Peers keep lists of
//! model names (LiteLLM, the AI SDK), which a model of tomorrow is not on, or leave it to the user.
//! Here the answer is taken at its word: a parameter that a 400 or 422 names is left out or
//! replaced, and the model is asked again.

use serde::Serialize;
use serde_json::Value;

/// Enough for the longest route name in JSON.
const ANSWER_TOKENS: u32 = 128;

/// The same with thoughts before it.
const THINKING_TOKENS: u32 = 4096;

/// How a question is put. It starts with what nearly every model takes, and only ever asks for less
/// or gives more room, so that it changes a few times at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dialect {
    limit: Limit,
    tokens: u32,
    temperature: bool,
}

/// The parameter that limits the tokens of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    MaxTokens,
    MaxCompletionTokens,
    /// None is taken.
    Unlimited,
}

impl Default for Dialect {
    fn default() -> Self {
        Self { limit: Limit::MaxTokens, tokens: ANSWER_TOKENS, temperature: true }
    }
}

impl Limit {
    fn name(self) -> Option<&'static str> {
        match self {
            Self::MaxTokens => Some("max_tokens"),
            Self::MaxCompletionTokens => Some("max_completion_tokens"),
            Self::Unlimited => None,
        }
    }
}

#[derive(Serialize)]
struct Question<'a> {
    model: &'a str,
    messages: [Message<'a>; 1],
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
}

impl Dialect {
    /// The body that puts `prompt` to `model`.
    pub(super) fn question(self, model: &str, prompt: &str) -> String {
        let limit = |name| (self.limit.name() == Some(name)).then_some(self.tokens);
        let question = Question {
            model,
            messages: [Message { role: "user", content: prompt }],
            stream: false,
            temperature: self.temperature.then_some(0.01),
            max_tokens: limit("max_tokens"),
            max_completion_tokens: limit("max_completion_tokens"),
        };
        // Strings and numbers: there is nothing in it that JSON cannot hold.
        serde_json::to_string(&question).unwrap_or_default()
    }

    /// How to ask after `refusal`, the body of a 400 or 422; `None` if it names no parameter that
    /// was sent.
    pub(super) fn after(self, refusal: &[u8]) -> Option<Self> {
        let named = Named::new(refusal);
        if self.limit.name().is_some_and(|limit| named.contains(limit)) {
            let limit = match self.limit {
                Limit::MaxTokens => Limit::MaxCompletionTokens,
                Limit::MaxCompletionTokens | Limit::Unlimited => Limit::Unlimited,
            };
            return Some(Self { limit, ..self });
        }
        (self.temperature && named.contains("temperature"))
            .then_some(Self { temperature: false, ..self })
    }

    /// How to ask a model whose thoughts used up the limit; `None` if it has the room already.
    pub(super) fn with_room_to_think(self) -> Option<Self> {
        let has_room = self.limit == Limit::Unlimited || self.tokens == THINKING_TOKENS;
        (!has_room).then_some(Self { tokens: THINKING_TOKENS, ..self })
    }
}

/// What a refusal names: its `error.param`, as OpenAI has it, else any word of its text.
struct Named(String);

impl Named {
    fn new(refusal: &[u8]) -> Self {
        let parsed: Option<Value> = serde_json::from_slice(refusal).ok();
        let param = parsed.as_ref().and_then(|body| body.pointer("/error/param")?.as_str());
        Self(match param {
            Some(param) => param.to_owned(),
            None => String::from_utf8_lossy(refusal).into_owned(),
        })
    }

    fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(dialect: Dialect) -> Value {
        serde_json::from_str(&dialect.question("m", "p")).unwrap()
    }

    /// The keys of a question, apart from the model, the messages and `stream`.
    fn parameters(dialect: Dialect) -> Vec<String> {
        let question = asked(dialect);
        assert_eq!((&question["model"], &question["stream"]), (&json!("m"), &json!(false)));
        let names = question.as_object().unwrap().iter();
        let beside = |name: &&str| !["model", "messages", "stream"].contains(name);
        names.map(|(name, _)| name.as_str()).filter(beside).map(ToOwned::to_owned).collect()
    }

    #[test]
    fn what_a_refusal_names_is_not_sent_again() {
        let max_tokens = "Unsupported parameter: 'max_tokens' is not supported with this model. \
                          Use 'max_completion_tokens' instead.";
        let temperature = "Unsupported value: 'temperature' does not support 0.01 with this model. \
                           Only the default (1) value is supported.";
        for (refusal, expected) in [
            (
                json!({"error": {"message": max_tokens, "param": "max_tokens"}}),
                &["max_completion_tokens", "temperature"][..],
            ),
            (json!({"error": {"message": max_tokens}}), &["max_completion_tokens", "temperature"]),
            (json!({"error": {"message": temperature, "param": "temperature"}}), &["max_tokens"]),
            (json!({"message": temperature}), &["max_tokens"]),
            (
                json!({"detail": [{"loc": ["body", "temperature"], "msg": "extra input"}]}),
                &["max_tokens"],
            ),
            // The message may speak of others than the one that is meant.
            (
                json!({"error": {"message": "temperature or max_tokens?", "param": "temperature"}}),
                &["max_tokens"],
            ),
        ] {
            let next = Dialect::default().after(refusal.to_string().as_bytes()).unwrap();
            let mut sent = parameters(next);
            sent.sort();
            assert_eq!(sent, expected, "{refusal}");
        }
    }

    #[test]
    fn a_refusal_that_names_nothing_that_was_sent_is_final() {
        for refusal in [
            r#"{"error":{"message":"no such model","param":"model"}}"#,
            r#"{"error":{"message":"the context is too long"}}"#,
            r#"{"error":{"message":"temperature","param":"messages"}}"#,
            "<html>bad request</html>",
            "",
        ] {
            assert_eq!(Dialect::default().after(refusal.as_bytes()), None, "{refusal}");
        }
    }

    #[test]
    fn a_model_that_refuses_everything_is_asked_a_few_times_only() {
        let mut dialect = Dialect::default();
        let mut asked = Vec::new();
        while let Some(next) = dialect.after(b"max_tokens, max_completion_tokens, temperature") {
            dialect = next;
            asked.push(parameters(dialect).len());
        }
        assert_eq!(asked, [2, 1, 0]);
        assert_eq!(dialect.with_room_to_think(), None);
    }

    #[test]
    fn room_to_think_is_given_once() {
        let roomy = Dialect::default().with_room_to_think().unwrap();
        assert_eq!(asked(roomy)["max_tokens"], THINKING_TOKENS);
        assert_eq!(roomy.with_room_to_think(), None);
    }
}
