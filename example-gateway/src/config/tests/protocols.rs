//! What providers speak, and which wildcard a bare id means.

use super::*;

/// What each provider of `text` speaks.
fn spoken(text: &str) -> Vec<String> {
    let config = read(text).unwrap_or_else(|errors| panic!("{text}: {errors}"));
    let names = |provider: &Provider| {
        let spoken = provider.protocols.named().into_iter().filter(|(_, spoken)| *spoken);
        spoken.map(|(name, _)| name).collect::<Vec<_>>().join(" ")
    };
    config.providers.iter().map(names).collect()
}

#[test]
fn a_known_vendor_speaks_what_it_documents() {
    for (provider, expected) in [
        ("{model: openai/gpt-4o}", "chat responses"),
        ("{model: openai/*}", "chat responses"),
        ("{model: anthropic/claude-x}", "chat messages"),
        ("{model: anthropic/*}", "chat messages"),
        ("{model: gemini/gemini-x}", "chat"),
        ("{model: groq/x}", "chat responses"),
        ("{model: ollama/llama}", "chat messages responses"),
        ("{model: openrouter/a/b}", "chat messages responses"),
        ("{model: mine/x, base_url: 'http://h'}", "chat messages responses"),
        ("{model: openai/gpt-4o, protocols: [messages]}", "messages"),
        ("{model: openai/gpt-4o, base_url: 'https://api.openai.com/v1'}", "chat responses"),
    ] {
        assert_eq!(spoken(&format!("model_providers: [{provider}]\n")), [expected], "{provider}");
    }
}

/// At an address of the user's own: what nobody at another address speaks as well.
#[test]
fn an_address_of_ones_own_may_speak_more_than_the_vendor() {
    let (openai, anthropic) = ("chat responses", "chat messages");
    let all = "chat messages responses";
    for (providers, expected) in [
        // A proxy for everything.
        (
            "{model: openai/a, base_url: 'http://p'}, {model: anthropic/b, base_url: 'http://p'}",
            [all, all],
        ),
        (
            "{model: openai/a, base_url: 'http://p'}, {model: openai/b, base_url: 'http://p'}",
            [all, all],
        ),
        // Each vendor behind a proxy of its own.
        (
            "{model: openai/*, base_url: 'http://p'}, {model: anthropic/*, base_url: 'http://q'}",
            [openai, anthropic],
        ),
        ("{model: openai/a, base_url: 'http://p'}, {model: anthropic/b}", [openai, anthropic]),
        ("{model: openai/a}, {model: anthropic/b, base_url: 'http://p'}", [openai, anthropic]),
        // Somebody else speaks no Messages.
        (
            "{model: openai/a, base_url: 'http://p'}, {model: groq/b}",
            ["chat messages responses", openai],
        ),
        // What is declared is the whole truth.
        (
            "{model: openai/a, base_url: 'http://p', protocols: [chat]}, {model: groq/b}",
            ["chat", openai],
        ),
    ] {
        let text = format!("model_providers: [{providers}]\n");
        assert_eq!(spoken(&text), expected, "{providers}");
    }
}

#[test]
fn one_upstream_for_all_speaks_everything() {
    let text =
        "model_providers: [{model: openai/a}, {model: anthropic/b, protocols: [messages]}]\n";
    let mut config = Config::parse(text, "f", &env, Mode::UpstreamOverride).unwrap();
    config.replace_upstreams(&Uri::from_static("http://127.0.0.1:9"));
    assert_eq!(config.providers[0].protocols, Protocols::default());
    let declared = Protocols { chat: false, messages: true, responses: false };
    assert_eq!(config.providers[1].protocols, declared);
}

#[test]
fn a_bare_id_means_the_wildcard_of_its_vendor() {
    let both = "{model: openai/*}, {model: anthropic/*}";
    for (providers, id, expected) in [
        (both, "claude-opus-4-8", Some("anthropic/claude-opus-4-8")),
        (both, "gpt-5.2", Some("openai/gpt-5.2")),
        (both, "llama-4", None),
        (both, "grok-5", None),
        ("{model: groq/*}", "llama-4", Some("groq/llama-4")),
        ("{model: groq/*}", "claude-opus-4-8", None),
        ("{model: groq/*}", "meta/llama-4", None),
        ("{model: groq/x}", "llama-4", None),
        ("{model: groq/*}", "*", None),
    ] {
        let config = read(&format!("model_providers: [{providers}]\n")).unwrap();
        let found = of_wildcard(&config.providers, id);
        assert_eq!(found.as_ref().map(ModelName::as_str), expected, "{providers}: {id}");
    }
    let config = read(&format!(
        "model_providers: [{both}]\nmodel_aliases: {{smart: {{target: claude-opus-4-8}}}}\n"
    ));
    assert_eq!(config.unwrap().aliases["smart"].as_str(), "anthropic/claude-opus-4-8");
}
