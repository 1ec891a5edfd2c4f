//! The answer of a routing model.

use serde_json::{Value, json};

use super::conversation::Conversation;
use super::stats::Stats;

/// Answers a routing prompt with the next of the routes it offers, `None` for any other message.
///
/// A model whose name contains `orchestrator` answers with a list of one name.
pub(super) fn reply(conversation: &Conversation, stats: &Stats) -> Option<String> {
    let names = offered(&conversation.last_user)?;
    let name = names.get(stats.next_routing_call() % names.len())?;
    let orchestrator = conversation.model.to_ascii_lowercase().contains("orchestrator");
    let route = if orchestrator { json!([name]) } else { json!(name) };
    Some(json!({"route": route}).to_string())
}

/// The route names of the first `<routes>` block that holds any; a prompt may also mention the
/// tags in its explanation.
fn offered(prompt: &str) -> Option<Vec<String>> {
    let blocks = prompt.split("<routes>").skip(1).filter_map(|rest| rest.split("</routes>").next());
    blocks.map(names).find(|names| !names.is_empty())
}

/// Names out of a JSON array, or out of lines that are each a JSON object or a name.
fn names(block: &str) -> Vec<String> {
    if let Ok(Value::Array(routes)) = serde_json::from_str(block) {
        return routes.iter().filter_map(name).collect();
    }
    let lines = block.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .filter_map(|line| match serde_json::from_str(line) {
            Ok(route) => name(&route),
            Err(_) => Some(line.trim_start_matches("- ").to_owned()),
        })
        .collect()
}

fn name(route: &Value) -> Option<String> {
    route.as_str().or_else(|| route["name"].as_str()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn route_names_are_read_from_each_form() {
        let array = r#"given in <routes></routes> tags: <routes>
            [{"name":"it's","description":"x"},{"name":"b","description":"y"}]</routes>"#;
        assert_eq!(offered(array).unwrap(), ["it's", "b"]);
        let objects = "<routes>\n{\"name\":\"a\"}\n{\"name\":\"b\"}\n</routes>";
        assert_eq!(offered(objects).unwrap(), ["a", "b"]);
        assert_eq!(offered("<routes>\na b\n- c\n</routes>").unwrap(), ["a b", "c"]);
        assert_eq!(offered("what does <routes></routes> mean?"), None);
        assert_eq!(offered("hello"), None);
    }
}
