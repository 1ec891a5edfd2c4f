//! How a routing model is asked.

use serde::Serialize;

use crate::Preferences;
use crate::prompt::Message;

/// Tokens are not counted but estimated, as one for four bytes.
const BYTES_PER_TOKEN: usize = 4;

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
/// Both formats put the routes between `<routes>` and `</routes>` and the conversation, as a JSON
/// array of `{"role", "content"}`, between `<conversation>` and `</conversation>`. The conversation
/// is made of the texts of user and assistant; the newest messages that fit are kept in their
/// order, and of the newest the beginning and the end, should it not fit alone. The budget is for
/// the whole prompt, at an estimated four bytes for a token.
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

    /// The routes as they stand in the prompt.
    pub(crate) fn routes(self, preferences: &Preferences) -> String {
        let routes: Vec<_> = preferences
            .iter()
            .map(|preference| Route {
                name: preference.name.as_str(),
                description: &preference.description,
            })
            .collect();
        match self {
            Self::ArchRouter => json(&routes),
            Self::Orchestrator => routes.iter().map(json).collect::<Vec<_>>().join("\n"),
        }
    }

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

/// Structs of strings: there is nothing in them that JSON cannot hold.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use affinity_layer::{ModelName, RouteName};

    use super::*;
    use crate::Preference;
    use crate::prompt::{Role, within};

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
}
