//! What a routing model answered.

use affinity_layer::RouteDecision;
use serde::Deserialize;

use crate::object::Object;
use crate::preference;
use crate::{ErrorKind, Preferences, RouterError};

/// The decision in a chat completion.
pub(crate) fn decision(
    completion: &[u8],
    preferences: &Preferences,
) -> Result<RouteDecision, RouterError> {
    #[derive(Deserialize)]
    struct Completion {
        choices: Vec<Object<Choice>>,
    }
    #[derive(Deserialize)]
    struct Choice {
        message: Object<Content>,
    }
    #[derive(Deserialize)]
    struct Content {
        content: String,
    }

    let Object(completion): Object<Completion> =
        serde_json::from_slice(completion).map_err(|_| malformed("it is no chat completion"))?;
    let Object(choice) =
        completion.choices.first().ok_or_else(|| malformed("it has no choices"))?;
    let Object(message) = &choice.message;
    let name = route_name(&message.content)
        .ok_or_else(|| malformed("its content is not JSON with a route"))?;
    Ok(preference::decision(preferences.get(name.trim())))
}

fn malformed(why: &'static str) -> RouterError {
    // What serde_json says would quote the answer, and with it perhaps the user.
    RouterError::new(ErrorKind::Malformed).with_source(why)
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

/// The name that was answered, empty for none; `None` if this is no answer.
fn route_name(content: &str) -> Option<String> {
    let content = unfenced(content.trim());
    let Ok(Object(answer)) = serde_json::from_str::<Object<Answer>>(content) else {
        return single_quoted(content).map(ToOwned::to_owned);
    };
    Some(match answer.route {
        Some(Routes::One(name)) => name,
        Some(Routes::Ranked(names)) => names.into_iter().next().unwrap_or_default(),
        None => String::new(),
    })
}

/// What stands between code fences, if `content` begins and ends with one.
fn unfenced(content: &str) -> &str {
    let inner = content.strip_prefix("```").and_then(|inner| inner.strip_suffix("```"));
    inner
        .map_or(content, |inner| inner.trim_start_matches(|c: char| c.is_ascii_alphabetic()).trim())
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
        decision(completion.as_bytes(), &preferences()).map_err(|error| error.kind())
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
            r#"Sure: {"route":"code"}"#,
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
            r#"{"choices":[[["{\"route\":\"code\"}"]]]}"#,
            r#"[[{"message":{"content":"{\"route\":\"code\"}"}}]]"#,
            r#"{"error":{"message":"busy"}}"#,
            r#"{"route":"code"}"#,
        ] {
            let error = decision(completion.as_bytes(), &preferences()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed, "{completion}");
        }
    }
}
