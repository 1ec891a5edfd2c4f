//! Reading the answer of a routing model.
//!
//! Models that reason write much around the JSON that they were asked for. Peers either cut out
//! `<think>…</think>` and parse what is left (LangChain's reasoning parsers), or take the text
//! between the first `{` and the last `}`. The former fails on a sentence before the JSON and on
//! special tokens after it, the latter finds an object that the model only weighed. Here the answer
//! is the object at the end of the text: anything may come before it, and nothing after it but a
//! closing fence and tags.

use std::borrow::Cow;

use affinity_layer::RouteDecision;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::object::Object;
use crate::preference;
use crate::{ErrorKind, Preferences, RouterError};

/// What models put around their thoughts. The opening mark may be missing: chat templates write it
/// into the prompt.
const THOUGHTS: [(&str, &str); 5] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
];

const FENCE: &str = "```";

/// The longest tag that is taken off the end of an answer, in bytes: `<｜end▁of▁sentence｜>` has 31.
const MAX_TAG_LEN: usize = 40;

/// Why an answer is not a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoDecision {
    /// What is wrong. It never quotes the answer, and with it perhaps the user.
    why: &'static str,
    /// Whether the limit on its tokens ended the answer.
    pub(super) cut_off: bool,
}

impl From<NoDecision> for RouterError {
    fn from(NoDecision { why, .. }: NoDecision) -> Self {
        Self::new(ErrorKind::Malformed).with_source(why)
    }
}

/// The decision in a chat completion.
pub(crate) fn decision(
    completion: &[u8],
    preferences: &Preferences,
) -> Result<RouteDecision, NoDecision> {
    let no_decision = |why| NoDecision { why, cut_off: false };
    let Object(completion): Object<Completion> = serde_json::from_slice(completion)
        .map_err(|_| no_decision("it is not a chat completion"))?;
    let choice = completion.choices.into_iter().next();
    let Object(choice) = choice.ok_or_else(|| no_decision("it has no choices"))?;
    let Object(message) = choice.message;
    let name = route_name(&text(&message.content)).ok_or_else(|| NoDecision {
        why: "its content does not end in JSON with a route",
        cut_off: choice.finish_reason == "length",
    })?;
    Ok(preference::decision(preferences.get(name.trim())))
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Object<Choice>>,
}

#[derive(Deserialize)]
struct Choice {
    message: Object<Message>,
    #[serde(default)]
    finish_reason: Value,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Value,
}

/// The text of a content. Reasoning models of Mistral answer in parts, some of them thoughts.
fn text(content: &Value) -> Cow<'_, str> {
    match content {
        Value::String(text) => Cow::Borrowed(text),
        Value::Array(parts) => {
            let texts = parts.iter().filter(|part| part["type"] == "text");
            texts.filter_map(|part| part["text"].as_str()).collect()
        }
        _ => Cow::Borrowed(""),
    }
}

#[derive(Deserialize)]
struct Answer {
    // A missing route is not the same as `null`.
    #[serde(deserialize_with = "Option::deserialize")]
    route: Option<Routes>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Routes {
    One(String),
    Ranked(Vec<String>),
}

impl Answer {
    /// The name of the first route, empty for none.
    fn first(self) -> String {
        match self.route {
            Some(Routes::One(name)) => name,
            Some(Routes::Ranked(names)) => names.into_iter().next().unwrap_or_default(),
            None => String::new(),
        }
    }
}

/// The name in the answer, empty for none; `None` if this is not an answer.
fn route_name(content: &str) -> Option<String> {
    if is_json(content) {
        return answer(content);
    }
    let content = without_tail(after_thoughts(content)?);
    // With one fence alone, the answer lost its beginning or its end.
    let is_whole = content.fences.is_multiple_of(2);
    content.text.match_indices('{').filter(|_| is_whole).find_map(|(start, _)| {
        let (_, object) = content.text.split_at_checked(start)?;
        // The first object that reaches the end decides, even if it names no route.
        if is_json(object) {
            return Some(answer(object));
        }
        single_quoted(object).map(|name| Some(name.to_owned()))
    })?
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn answer(json: &str) -> Option<String> {
    serde_json::from_str::<Object<Answer>>(json).ok().map(|Object(answer)| answer.first())
}

/// What follows the thoughts; `None` if they have no end.
fn after_thoughts(content: &str) -> Option<&str> {
    let ends = THOUGHTS.iter().filter_map(|(_, end)| Some(content.rfind(end)? + end.len()));
    let (_, answer) = content.split_at_checked(ends.max().unwrap_or_default())?;
    THOUGHTS.iter().all(|(start, _)| !answer.contains(start)).then_some(answer)
}

/// An answer without what models write behind it, and how many code fences it has in all.
struct Trimmed<'a> {
    text: &'a str,
    fences: usize,
}

/// Takes off closing fences and tags, such as `<|im_end|>` and `</s>`.
fn without_tail(content: &str) -> Trimmed<'_> {
    let mut text = content.trim();
    while let Some(shorter) = text.strip_suffix(FENCE).or_else(|| without_tag(text)) {
        text = shorter.trim_end();
    }
    Trimmed { text, fences: content.matches(FENCE).count() }
}

fn without_tag(text: &str) -> Option<&str> {
    let (before, tag) = text.strip_suffix('>')?.rsplit_once('<')?;
    let is_tag = tag.len() <= MAX_TAG_LEN
        && !tag.contains(|c: char| c.is_whitespace() || matches!(c, '{' | '}' | '"' | '\''));
    is_tag.then_some(before)
}

/// `{'route': 'name'}`, which small models write. The name may hold an apostrophe, but nothing
/// that looks like a second entry.
fn single_quoted(content: &str) -> Option<&str> {
    let entry = content.strip_prefix('{')?.strip_suffix('}')?.trim();
    let value = entry.strip_prefix("'route'")?.trim_start().strip_prefix(':')?.trim();
    let name = value.strip_prefix('\'')?.strip_suffix('\'')?;
    (!name.contains("',") && !name.contains("':")).then_some(name)
}

#[cfg(test)]
mod random;

#[cfg(test)]
mod tests {
    use affinity_layer::{ModelName, RouteName};
    use serde_json::json;

    use super::*;
    use crate::Preference;

    pub(super) fn preferences() -> Preferences {
        Preferences::new(["code", "it's", "für dich"].map(|name| Preference {
            name: RouteName::new(name).unwrap(),
            description: String::new(),
            models: vec![ModelName::new("a/b").unwrap(), ModelName::new("c/d").unwrap()],
        }))
    }

    pub(super) fn decide(content: &str) -> Result<RouteDecision, ErrorKind> {
        let completion = json!({"choices": [{"message": {"content": content}}]}).to_string();
        decision(completion.as_bytes(), &preferences()).map_err(|why| RouterError::from(why).kind())
    }

    #[test]
    fn a_known_name_is_a_decision() {
        for (content, name) in [
            (r#"{"route":"code"}"#, "code"),
            ("  {\"route\": \" code \"}\n", "code"),
            (r#"{"route":["code","it's"]}"#, "code"),
            (r#"{"route":"it's"}"#, "it's"),
            (r#"{"route":"f\u00fcr dich"}"#, "für dich"),
            (r#"{"reason":"r","route":"code"}"#, "code"),
            ("```json\n{\"route\": \"code\"}\n```", "code"),
            ("```\n{\"route\": \"code\"}```", "code"),
            ("{'route': 'code'}", "code"),
            ("{ 'route' : 'it's' }", "it's"),
            ("```json\n{'route': 'code'}\n```", "code"),
            // A sentence before the JSON.
            (r#"Sure: {"route":"code"}"#, "code"),
            ("The best {route} is:\n\n```json\n{\"route\": \"code\"}\n```\n", "code"),
            (r#"Not {"route":"it's"} but {"route":"code"}"#, "code"),
            ("I would say {'route': 'it's'}", "it's"),
            // Thoughts, with and without the mark that the chat template may have written.
            ("<think>\nIt is {\"route\":\"it's\"}?\n</think>\n\n{\"route\":\"code\"}", "code"),
            ("It may be {'route': 'it's'}.</think>{'route': 'code'}", "code"),
            ("<think></think>{\"route\":\"code\"}", "code"),
            ("<thinking>a</thinking><reasoning>b</reasoning>{\"route\":\"code\"}", "code"),
            ("[THINK]a[/THINK]{\"route\":\"code\"}", "code"),
            (r#"{"reason":"</think> {\"route\":\"it's\"}","route":"code"}"#, "code"),
            // Tokens that the server ought to have kept to itself.
            ("{\"route\":\"code\"}<|im_end|>", "code"),
            ("{\"route\":\"code\"}<|eot_id|>\n<|endoftext|>", "code"),
            ("{\"route\":\"code\"}</s>", "code"),
            ("{\"route\":\"code\"}<end_of_turn>\n", "code"),
            ("{\"route\":\"code\"}<｜end▁of▁sentence｜>", "code"),
            ("```json\n{\"route\":\"code\"}\n```<|im_end|>", "code"),
            ("<answer>{\"route\":\"code\"}</answer>", "code"),
            (
                "<|channel|>analysis<|message|>{\"route\":\"it's\"}?<|end|><|start|>assistant\
                 <|channel|>final<|message|>{\"route\":\"code\"}<|return|>",
                "code",
            ),
        ] {
            let decided = decide(content).unwrap();
            assert_eq!(decided.route.unwrap().as_str(), name, "{content}");
            assert_eq!(decided.models.len(), 2);
        }
    }

    #[test]
    fn no_or_an_unknown_name_matches_nothing() {
        for content in [
            r#"{"route":"other"}"#,
            r#"{"route":"none"}"#,
            r#"{"route":""}"#,
            r#"{"route":null}"#,
            r#"{"route":[]}"#,
            r#"{"route":["other","code"]}"#,
            r#"{"route":"Code"}"#,
            r#"{"route":"a\r\nb"}"#,
            "{'route': 'other'}",
            "{'route': ''}",
        ] {
            assert_eq!(decide(content), Ok(RouteDecision::none()), "{content}");
        }
    }

    #[test]
    fn anything_else_is_no_decision() {
        for content in [
            "",
            " \n",
            "code",
            "The best route is code.",
            r#"Sure: {"route":"code"} it is."#,
            r#"Sure: ["code"]"#,
            r#"Sure: {"routes":"code"}"#,
            r#"{"x":{"route":"code"}}"#,
            r#"Sure: {"x":{"route":"code"}}"#,
            "```json\n{\"route\": \"code\"}",
            r#"<think>{"route":"code"}</think>"#,
            r#"<think>The user wants {"route":"code"}"#,
            r#"<think>a</think><think>{"route":"code"}"#,
            r#"{"route":"code"}<think>or not"#,
            r#"{"route":"code"}<not a tag>"#,
            "<html></html>",
            "{}",
            "[]",
            "null",
            r#"["code"]"#,
            r#"[["code"]]"#,
            r#""code""#,
            r#"{"route":1}"#,
            r#"{"route":[1]}"#,
            r#"{"route":{"name":"code"}}"#,
            r#"{"name":"code"}"#,
            r#"{"route":"code""#,
            "{'route': 'code', 'x': 'y'}",
            "{'route': ['code']}",
            "{'route': code}",
            "{'route': '}",
            "```",
            "``````",
            "'",
        ] {
            assert_eq!(decide(content), Err(ErrorKind::Malformed), "{content}");
        }
    }

    #[test]
    fn an_answer_cut_off_anywhere_is_no_decision() {
        for content in ["```json\n{\"route\": \"für dich\"}\n```", "{'route': 'it's'}"] {
            for end in (0..content.len()).filter(|end| content.is_char_boundary(*end)) {
                assert_eq!(decide(&content[..end]), Err(ErrorKind::Malformed), "{content} {end}");
            }
        }
    }

    #[test]
    fn a_completion_without_content_is_no_decision() {
        for completion in [
            "",
            "<html></html>",
            "{}",
            "[]",
            r#"{"choices":[]}"#,
            r#"{"choices":[{}]}"#,
            r#"{"choices":[{"message":{"content":null}}]}"#,
            r#"{"choices":[{"text":"{\"route\":\"code\"}"}]}"#,
            r#"{"choices":[{"message":["{\"route\":\"code\"}"]}]}"#,
            r#"{"choices":[{"message":{"content":["{\"route\":\"code\"}"]}}]}"#,
            r#"{"choices":[{"message":{"content":[{"type":"thinking","text":"{\"route\":\"code\"}"}]}}]}"#,
            r#"{"choices":[{"message":{"content":null,"reasoning_content":"{\"route\":\"code\"}"}}]}"#,
            r#"{"choices":[[["{\"route\":\"code\"}"]]]}"#,
            r#"[[{"message":{"content":"{\"route\":\"code\"}"}}]]"#,
            r#"{"error":{"message":"busy"}}"#,
            r#"{"route":"code"}"#,
        ] {
            let error: RouterError =
                decision(completion.as_bytes(), &preferences()).unwrap_err().into();
            assert_eq!(error.kind(), ErrorKind::Malformed, "{completion}");
        }
    }

    #[test]
    fn the_text_parts_of_an_answer_count_and_its_thoughts_do_not() {
        let content = json!([
            {"type": "thinking", "thinking": [{"type": "text", "text": "{\"route\":\"it's\"}"}]},
            {"type": "text", "text": "{\"route\":"},
            {"type": "text", "text": "\"code\"}"},
        ]);
        let completion = json!({"choices": [{"message": {"content": content}}]}).to_string();
        let decided = decision(completion.as_bytes(), &preferences()).unwrap();
        assert_eq!(decided.route.unwrap().as_str(), "code");
    }

    #[test]
    fn an_answer_that_the_token_limit_ended_says_so() {
        for (finish_reason, content, cut_off) in [
            (json!("length"), json!("<think>well"), true),
            (json!("length"), json!(null), true),
            (json!("length"), json!(""), true),
            (json!("stop"), json!("well"), false),
            (json!(null), json!("well"), false),
            (json!(7), json!("well"), false),
        ] {
            let choice = json!({"message": {"content": content}, "finish_reason": finish_reason});
            let completion = json!({"choices": [choice]}).to_string();
            let why = decision(completion.as_bytes(), &preferences()).unwrap_err();
            assert_eq!(why.cut_off, cut_off, "{completion}");
        }
    }
}
