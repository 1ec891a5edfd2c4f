//! How a routing model is asked.

use std::borrow::Cow;

use serde::Serialize;

use crate::conversation::{Message, ends};
use crate::{Preference, Preferences};

/// Tokens are not counted but estimated, as one for four bytes.
const BYTES_PER_TOKEN: usize = 4;

/// The most routes that are looked at; more do not fit.
const MOST_ROUTES: usize = 256;

/// How long a description may be where all of them together are too long, in bytes: the first of
/// these with which they fit.
const SHORTER: [usize; 5] = [512, 256, 128, 64, 0];

/// However long the routes are, this part of the budget, in bytes, is left to the conversation.
const LEAST_CONVERSATION: usize = 1024;

const ARCH_TASK: &str = "\
Find the route that fits the newest user message, read in the light of the messages before it. \
If none of the routes fits, or nothing is left to be done for the user, the route is \"other\".

Answer with one JSON object and nothing else:
{\"route\": \"the name of the route\"}";

const ORCHESTRATOR_TASK: &str = "\
Find every route that is needed for the newest user message, read in the light of the messages \
before it, and put them in the order of their importance. If no route is needed, the list is empty.

Answer with one JSON object and nothing else:
{\"route\": [\"name of a route\", \"name of another route\"]}";

/// How a model is asked for a route.
///
/// The prompt is one user message:
///
/// ```text
/// You choose who serves a conversation. …
///
/// <routes>
/// [{"name":"code","description":"writing functions and tests"}]
/// </routes>
///
/// This is the conversation, the oldest message first.
///
/// <conversation>
/// [{"role":"user","content":"Write a sort function"}]
/// </conversation>
///
/// Find the route that fits the newest user message, …
/// Answer with one JSON object and nothing else:
/// {"route": "the name of the route"}
/// ```
///
/// - The routes take up at most 4 KiB, or 8 KiB for the [`Orchestrator`](Self::Orchestrator). Where
///   they are longer, descriptions are shortened, then the last routes are left out.
/// - The conversation is made of the texts of user and assistant. The newest messages that fit are
///   kept in their order; of the newest alone, should it not fit, the beginning and the end.
/// - The budget is for the whole prompt, at an estimated four bytes for a token.
///
/// ```
/// use router_client::PromptFormat;
///
/// assert_eq!(PromptFormat::for_model("Plano-Orchestrator"), PromptFormat::Orchestrator);
/// assert_eq!(PromptFormat::for_model("gpt-5-mini"), PromptFormat::ArchRouter);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PromptFormat {
    /// Routes as one JSON array of `{"name", "description"}`, one route as the answer, 2,048
    /// tokens. For Arch-Router, and for any chat model.
    ArchRouter,
    /// One route as JSON per line, a list of routes as the answer, 8,192 tokens. For
    /// Plano-Orchestrator.
    Orchestrator,
}

#[derive(Serialize)]
struct Route<'a> {
    name: &'a str,
    description: &'a str,
}

impl PromptFormat {
    /// [`Orchestrator`](Self::Orchestrator) for a model whose name contains that word in any case,
    /// [`ArchRouter`](Self::ArchRouter) for all others.
    #[must_use]
    pub fn for_model(model: &str) -> Self {
        if model.to_ascii_lowercase().contains("orchestrator") {
            Self::Orchestrator
        } else {
            Self::ArchRouter
        }
    }

    fn tokens(self) -> usize {
        match self {
            Self::ArchRouter => 2048,
            Self::Orchestrator => 8192,
        }
    }

    fn task(self) -> &'static str {
        match self {
            Self::ArchRouter => ARCH_TASK,
            Self::Orchestrator => ORCHESTRATOR_TASK,
        }
    }

    /// What the budget leaves to the conversation, in bytes.
    pub(crate) fn conversation_budget(self, routes: &str) -> usize {
        let frame = self.prompt(routes, &[]).len();
        (self.tokens() * BYTES_PER_TOKEN).saturating_sub(frame).max(LEAST_CONVERSATION)
    }

    /// What the routes may take of the prompt, in bytes. Clients may bring preferences of their
    /// own, and a routing model is paid by the token.
    fn routes_limit(self) -> usize {
        match self {
            Self::ArchRouter => 4 * 1024,
            Self::Orchestrator => 8 * 1024,
        }
    }

    /// The routes as written in the prompt. Descriptions are shortened until all routes fit; if even their
    /// names do not fit, the last ones are left out.
    pub(crate) fn routes(self, preferences: &Preferences) -> String {
        let limit = self.routes_limit();
        let with = |description| -> Vec<String> {
            preferences.iter().take(MOST_ROUTES).map(|route| entry(route, description)).collect()
        };
        let len =
            |entries: &[String]| entries.iter().map(|entry| entry.len() + 1).sum::<usize>() + 1;
        let mut entries = with(limit);
        for description in SHORTER {
            if len(&entries) > limit {
                entries = with(description);
            }
        }
        let mut kept = entries.as_slice();
        while let (true, Some((_, fewer))) = (len(kept) > limit, kept.split_last()) {
            kept = fewer;
        }
        if kept.len() < preferences.iter().len() {
            tracing::debug!(kept = kept.len(), "the routing model does not get all routes");
        }
        match self {
            Self::ArchRouter => format!("[{}]", kept.join(",")),
            Self::Orchestrator => kept.join("\n"),
        }
    }

    /// The prompt about `messages`, the oldest first.
    pub(crate) fn prompt(self, routes: &str, messages: &[Message]) -> String {
        let conversation = json(&messages);
        let task = self.task();
        format!(
            "You choose who serves a conversation. Each route has a name, and a description of \
             what it is for.\n\n\
             <routes>\n{routes}\n</routes>\n\n\
             This is the conversation, the oldest message first.\n\n\
             <conversation>\n{conversation}\n</conversation>\n\n\
             {task}"
        )
    }
}

/// A route as JSON, its description cut to `limit` bytes.
fn entry(route: &Preference, limit: usize) -> String {
    let description = match limit {
        0 => Cow::Borrowed(""),
        _ => ends(&route.description, limit),
    };
    json(&Route { name: route.name.as_str(), description: &description })
}

/// Structs of strings: there is nothing in them that JSON cannot hold.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use affinity_layer::{ModelName, RouteName};

    use super::*;
    use crate::conversation::{Role, within};

    fn preferences() -> Preferences {
        Preferences::new([("it's \"code\"", "write\ncode"), ("für dich", "d")].map(
            |(name, description)| Preference {
                name: RouteName::new(name).unwrap(),
                description: description.into(),
                models: vec![ModelName::new("a/b").unwrap()],
            },
        ))
    }

    #[test]
    fn the_name_of_the_model_tells_the_format() {
        for (model, format) in [
            ("Arch-Router", PromptFormat::ArchRouter),
            ("gpt-4o-mini", PromptFormat::ArchRouter),
            ("Plano-Orchestrator", PromptFormat::Orchestrator),
            ("katanemo/plano-ORCHESTRATOR-4b", PromptFormat::Orchestrator),
        ] {
            assert_eq!(PromptFormat::for_model(model), format, "{model}");
        }
    }

    #[test]
    fn routes_are_an_array_or_one_per_line() {
        let arch = PromptFormat::ArchRouter.routes(&preferences());
        let first = r#"{"name":"it's \"code\"","description":"write\ncode"}"#;
        let second = r#"{"name":"für dich","description":"d"}"#;
        assert_eq!(arch, format!("[{first},{second}]"));
        let lines = PromptFormat::Orchestrator.routes(&preferences());
        assert_eq!(lines, format!("{first}\n{second}"));
    }

    #[test]
    fn the_whole_prompt_stays_within_the_budget() {
        for (format, bytes) in
            [(PromptFormat::ArchRouter, 8192), (PromptFormat::Orchestrator, 32768)]
        {
            let routes = format.routes(&preferences());
            let message =
                |n: usize| Message { role: Role::User, content: format!("{n} {}", "x".repeat(90)) };
            let budget = format.conversation_budget(&routes);
            let messages = within((0..1000).map(message), budget);
            let prompt = format.prompt(&routes, &messages);
            assert!(prompt.len() <= bytes, "{format:?}: {}", prompt.len());
            assert!(prompt.len() > bytes * 9 / 10, "{format:?}: {}", prompt.len());
        }
    }

    #[test]
    fn long_routes_leave_room_for_the_conversation() {
        let format = PromptFormat::ArchRouter;
        assert_eq!(format.conversation_budget(&"x".repeat(10_000)), LEAST_CONVERSATION);
    }

    #[test]
    fn however_many_and_long_the_routes_are_a_few_kilobytes_of_them_are_sent() {
        let route = |n: usize, description: &str| Preference {
            name: RouteName::new(&format!("route-{n}")).unwrap(),
            description: description.to_owned(),
            models: vec![ModelName::new("a/b").unwrap()],
        };
        for (format, limit) in
            [(PromptFormat::ArchRouter, 4096), (PromptFormat::Orchestrator, 8192)]
        {
            for (count, description, all) in [
                (3, "short".to_owned(), true),
                (1, "é".repeat(1_000_000), true),
                (20, "x".repeat(5000), true),
                (20, "\u{1}".repeat(5000), true),
                (60, "\"".repeat(700), true),
                (100_000, "d".to_owned(), false),
            ] {
                let routes = Preferences::new((0..count).map(|n| route(n, &description)));
                let sent = format.routes(&routes);
                assert!(sent.len() <= limit, "{format:?} {count}: {}", sent.len());
                assert!(sent.contains("route-0"), "{format:?} {count}");
                let last = format!("route-{}\"", count - 1);
                assert_eq!(sent.contains(&last), all, "{format:?} {count}");
                if format == PromptFormat::ArchRouter {
                    serde_json::from_str::<Vec<serde_json::Value>>(&sent).unwrap();
                }
            }
        }
    }

    #[test]
    fn a_description_keeps_its_beginning_and_its_end() {
        let description = format!("start {} end", "x".repeat(10_000));
        let routes = Preferences::new([Preference {
            name: RouteName::new("r").unwrap(),
            description,
            models: vec![ModelName::new("a/b").unwrap()],
        }]);
        let sent = PromptFormat::ArchRouter.routes(&routes);
        assert!(sent.contains("start ") && sent.contains(" end"), "{sent}");
    }
}
