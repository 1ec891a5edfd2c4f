//! What is known of vendors by the first part of a model's name: their public address, what they
//! speak there, and what their models are called.
//!
//! It saves the operator from writing what never changes: an entry that names only a model and a key is
//! complete. What a file says of an entry goes before what is known here.

use http::Uri;

use super::abilities::Protocols;

/// A vendor, as its own documentation describes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vendor {
    /// The first part of the names of its models.
    pub(super) name: &'static str,
    /// Its public address.
    base: &'static str,
    /// What it speaks there.
    pub(super) protocols: Protocols,
    /// In which of them it takes a `prompt_cache_key`.
    pub(super) cache_key: Protocols,
    /// How the ids of its own models begin.
    families: &'static [&'static str],
}

const NONE: Protocols = Protocols { chat: false, messages: false, responses: false };
const RESPONSES: Protocols = Protocols { responses: true, ..NONE };
const CHAT: Protocols = Protocols { chat: true, messages: false, responses: false };
const CHAT_MESSAGES: Protocols = Protocols { messages: true, ..CHAT };
const CHAT_RESPONSES: Protocols = Protocols { responses: true, ..CHAT };
const ALL: Protocols = Protocols { chat: true, messages: true, responses: true };

/// Each as documented in November 2026. Where a vendor takes Messages at another address than the
/// rest (DeepSeek and Moonshot below `/anthropic`), an entry with that `base_url` says so itself. A layer that
/// its vendor calls deprecated (xAI's Messages) is left out.
const VENDORS: [Vendor; 14] = [
    // platform.claude.com/docs/en/api/messages and …/cli-sdks-libraries/libraries/openai-sdk
    vendor("anthropic", "https://api.anthropic.com/v1", CHAT_MESSAGES, &["claude-"]),
    // inference-docs.cerebras.ai/resources/openai
    vendor("cerebras", "https://api.cerebras.ai/v1", CHAT, &[]),
    // api-docs.deepseek.com and …/guides/anthropic_api
    vendor("deepseek", "https://api.deepseek.com/v1", CHAT, &["deepseek-"]),
    // docs.fireworks.ai/tools-sdks/anthropic-compatibility and …/guides/response-api
    vendor("fireworks_ai", "https://api.fireworks.ai/inference/v1", ALL, &[]),
    // ai.google.dev/gemini-api/docs/openai
    vendor("gemini", "https://generativelanguage.googleapis.com/v1beta/openai", CHAT, &["gemini-"]),
    // console.groq.com/docs/openai and …/docs/responses-api
    vendor("groq", "https://api.groq.com/openai/v1", CHAT_RESPONSES, &[]),
    // docs.mistral.ai/inference/conversations and …/advanced/prompt-caching
    keyed(
        vendor(
            "mistral",
            "https://api.mistral.ai/v1",
            CHAT_RESPONSES,
            &["mistral-", "ministral-", "magistral-", "codestral-", "devstral-", "pixtral-"],
        ),
        CHAT,
    ),
    // platform.kimi.ai/docs/api/overview
    vendor("moonshotai", "https://api.moonshot.ai/v1", CHAT_RESPONSES, &["kimi-", "moonshot-"]),
    // docs.ollama.com/api/openai-compatibility and …/api/anthropic-compatibility
    vendor("ollama", "http://localhost:11434/v1", ALL, &[]),
    // platform.openai.com/docs/api-reference and …/docs/guides/prompt-caching
    keyed(
        vendor(
            "openai",
            "https://api.openai.com/v1",
            CHAT_RESPONSES,
            &["gpt-", "chatgpt-", "codex-", "o1", "o3", "o4"],
        ),
        CHAT_RESPONSES,
    ),
    // openrouter.ai/docs/api-reference
    vendor("openrouter", "https://openrouter.ai/api/v1", ALL, &[]),
    // docs.together.ai/docs/inference/openai-compatibility
    vendor("together_ai", "https://api.together.ai/v1", CHAT, &[]),
    // vercel.com/docs/ai-gateway/sdks-and-apis and …/anthropic-compat
    vendor("vercel", "https://ai-gateway.vercel.sh/v1", ALL, &[]),
    // docs.x.ai/developers/rest-api-reference/inference and …/advanced-api-usage/prompt-caching
    keyed(vendor("xai", "https://api.x.ai/v1", CHAT_RESPONSES, &["grok-"]), RESPONSES),
];

const fn vendor(
    name: &'static str,
    base: &'static str,
    protocols: Protocols,
    families: &'static [&'static str],
) -> Vendor {
    Vendor { name, base, protocols, cache_key: NONE, families }
}

/// The same vendor, which takes a `prompt_cache_key`.
const fn keyed(vendor: Vendor, cache_key: Protocols) -> Vendor {
    Vendor { cache_key, ..vendor }
}

impl Vendor {
    /// The vendor of models whose names begin with `name` and a slash.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        VENDORS.iter().find(|vendor| vendor.name == name)
    }

    /// The vendor that calls one of its models `id`.
    pub(super) fn of_id(id: &str) -> Option<&'static Self> {
        VENDORS.iter().find(|vendor| vendor.families.iter().any(|family| id.starts_with(family)))
    }

    /// The names of all vendors, for people to read.
    pub(super) fn names() -> String {
        VENDORS.each_ref().map(|vendor| vendor.name).join(", ")
    }

    /// Its public address.
    pub(super) fn base(&self) -> Uri {
        Uri::from_static(self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vendor_is_found_by_its_name_and_has_an_address() {
        for vendor in &VENDORS {
            assert_eq!(Vendor::named(vendor.name).unwrap().base, vendor.base);
            assert!(vendor.base().host().is_some() && vendor.protocols.chat, "{}", vendor.name);
        }
        assert!(VENDORS.is_sorted_by_key(|vendor| vendor.name));
        assert!(Vendor::named("nobody").is_none());
    }

    #[test]
    fn the_id_of_a_model_tells_its_vendor() {
        for (id, expected) in [
            ("claude-opus-4-8", Some("anthropic")),
            ("gpt-5.2", Some("openai")),
            ("o3-mini", Some("openai")),
            ("gemini-3-pro", Some("gemini")),
            ("devstral-small", Some("mistral")),
            ("grok-5", Some("xai")),
            ("llama-4", None),
            ("", None),
        ] {
            assert_eq!(Vendor::of_id(id).map(|vendor| vendor.name), expected, "{id}");
        }
    }
}
