//! What a file can hardly mean.

use super::*;

fn advice(text: &str) -> Vec<String> {
    crate::config::advice(&read(text).unwrap())
}

const KEYED: &str = "model_providers:
  - {model: openai/gpt-4o, access_key: $OPENAI_API_KEY}
  - {model: anthropic/*, access_key: $ANTHROPIC_API_KEY}
";

#[test]
fn a_route_that_some_protocol_cannot_use_is_told() {
    for (models, expected) in [
        ("openai/gpt-4o, anthropic/claude-x", &[][..]),
        (
            "openai/gpt-4o",
            &["route r: none of its models speaks messages; requests in it go to other models"],
        ),
        (
            "anthropic/claude-x",
            &["route r: none of its models speaks responses; requests in it go to other models"],
        ),
    ] {
        let text = format!("{KEYED}routing_preferences: [{{name: r, models: [{models}]}}]\n");
        assert_eq!(advice(&text), expected, "{models}");
    }
    let text = "model_providers: [{model: gemini/g, access_key: $TEAM_KEY}]
routing_preferences: [{name: r, models: [g]}]\n";
    let refused = |protocol| {
        format!("route r: none of its models speaks {protocol}; requests in it are refused")
    };
    assert_eq!(advice(text), [refused("messages"), refused("responses")]);
}

#[test]
fn a_vendor_that_gets_no_key_is_told() {
    let missing = "config.yaml:1: model_providers[0]: openai/a has neither access_key nor passthrough_auth: \
                   api.openai.com will refuse it";
    for (rest, expected) in [
        ("", &[missing][..]),
        (", access_key: $OPENAI_API_KEY", &[]),
        (", passthrough_auth: true", &[]),
        (", headers: {Authorization: 'Bearer $TEAM_KEY'}", &[]),
        (", headers: {x-team: a}", &[missing]),
        // It may be a proxy that has the key.
        (", base_url: 'http://localhost:4000'", &[]),
    ] {
        assert_eq!(
            advice(&format!("model_providers: [{{model: openai/a{rest}}}]\n")),
            expected,
            "{rest}"
        );
    }
    assert_eq!(advice("model_providers: [{model: ollama/a}]\n"), [""; 0]);
}

#[test]
fn one_upstream_for_all_needs_no_advice() {
    let mut config = Config::embedded();
    config.replace_upstreams(&Uri::from_static("http://127.0.0.1:9"));
    assert_eq!(crate::config::advice(&config), [""; 0]);
}
