use std::sync::LazyLock;

use affinity_layer::{ModelName, RouteDecision, RouteName, Selection};
use router_client::fuzzing::{gateway, routing_model};
use router_client::{Preference, Preferences};
use serde_json::{Value, json};

static PREFERENCES: LazyLock<Preferences> = LazyLock::new(|| {
    let names = [("code", vec!["a/b", "c/d"]), ("it's", vec!["c/d"]), ("für dich", vec!["a/b"])];
    Preferences::new(names.map(|(name, models)| {
        Preference::new(
            RouteName::new(name).unwrap(),
            "",
            models.into_iter().map(|model| ModelName::new(model).unwrap()),
        )
    }))
});

/// Answers of routers: a routing model yields only a configured route, another gateway only models that
/// it names; and JSON with distinct keys yields exactly what it says.
pub fn answers(data: &[u8]) {
    of_a_routing_model(data);
    if let Ok(content) = std::str::from_utf8(data) {
        with_content(content);
    }
    of_a_gateway(data);
}

fn decided(completion: &[u8]) -> Option<RouteDecision> {
    let decision = routing_model(completion, &PREFERENCES).ok()?;
    match &decision.route {
        Some(route) => {
            let known = PREFERENCES.get(route.as_str()).expect("a configured route");
            assert_eq!(decision.models, known.models);
        }
        None => assert!(decision.models.is_empty(), "{decision:?}"),
    }
    Some(decision)
}

fn of_a_routing_model(data: &[u8]) {
    let decision = decided(data);
    let Some(whole) = crate::distinct::parse(data) else { return };
    match whole.pointer("/choices/0/message/content").filter(|_| whole["choices"].is_array()) {
        Some(Value::String(content)) => {
            let others = whole["choices"].as_array().into_iter().flatten();
            if others
                .into_iter()
                .all(|choice| choice.pointer("/message/content").is_some_and(Value::is_string))
            {
                assert_eq!(decision, with_content(content));
            }
        }
        Some(Value::Array(parts)) => {
            let texts = parts.iter().filter(|part| part["type"] == "text");
            let text: String = texts.filter_map(|part| part["text"].as_str()).collect();
            let others = whole["choices"].as_array().into_iter().flatten();
            if others.into_iter().all(|choice| choice["message"].is_object()) {
                assert_eq!(decision, with_content(&text));
            }
        }
        _ => assert_eq!(decision, None, "{whole}"),
    }
}

/// The decision of a completion with this content.
fn with_content(content: &str) -> Option<RouteDecision> {
    let completion = json!({"choices": [{"message": {"content": content}}]}).to_string();
    let decision = decided(completion.as_bytes());
    assert!(decision.is_none() || content.contains("route") || content.contains('\\'), "{content}");
    if let Some(answer) = crate::distinct::parse(content.as_bytes()) {
        let told = match &answer["route"] {
            Value::Null => answer.get("route").map(|_| ""),
            Value::String(name) => Some(&**name),
            Value::Array(names) if names.iter().all(Value::is_string) => {
                Some(names.first().and_then(Value::as_str).unwrap_or_default())
            }
            _ => None,
        };
        let route = |name: &str| PREFERENCES.get(name.trim()).map(|known| known.name.clone());
        let found = decision.as_ref().map(|decision| decision.route.clone());
        assert_eq!(found, told.map(route), "{content}");
    }
    decision
}

fn of_a_gateway(data: &[u8]) {
    let decision = gateway(data).ok();
    if let Some(decision) = &decision {
        assert!(decision.models.len() <= Selection::MAX_CANDIDATES);
        assert!(!decision.models.is_empty() || decision.route.is_none());
        assert!(decision.models.iter().all(|model| model.as_str() != "none"));
    }
    let Some(answer) = crate::distinct::parse(data) else { return };
    assert_eq!(decision, told(&answer), "{answer}");
}

/// What an answer of a gateway says.
fn told(answer: &Value) -> Option<RouteDecision> {
    let answer = answer.as_object()?;
    let is_text = |value: &Value| value.is_null() || value.is_string();
    let route = answer.get("route").filter(|route| !route.is_null());
    if !route.is_none_or(Value::is_string) {
        return None;
    }
    let ranked = answer.get("models").and_then(Value::as_array);
    let ranked = ranked.filter(|models| models.iter().all(is_text)).cloned();
    let single =
        || answer.get("model").filter(|model| is_text(model)).map(|model| vec![model.clone()]);
    let models = ranked.or_else(single)?;
    let named: Vec<_> = models.iter().filter_map(Value::as_str).collect();
    let named: Vec<_> = named.into_iter().filter(|name| !matches!(*name, "" | "none")).collect();
    if named.is_empty() {
        return Some(RouteDecision::none());
    }
    let models =
        named.iter().filter_map(|name| ModelName::new(name).ok()).take(Selection::MAX_CANDIDATES);
    let decision = RouteDecision::new(models);
    let route = route.and_then(Value::as_str).and_then(|name| RouteName::new(name).ok());
    (!decision.models.is_empty()).then(|| match route {
        Some(route) => decision.with_route(route),
        None => decision,
    })
}
