//! Clients that name no session.
//!
//! Each of their requests is routed anew, which looks as if the gateway did not work. So the first request
//! of each kind of client is told in one log line, and every kind has a row on the live page: what it is, how
//! many requests it has sent, and the setting that would hold it.
//!
//! The kind is the product in the user agent, which a client chooses. So kinds are bounded, and with them
//! the lines: whoever makes up names fills a table of sixteen, and known clients have places of their own.
//! A request is looked at where the router is asked for it, so one with a session costs nothing here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use affinity_layer::{
    BodyId, BoxError, RouteRequest, RouterService, agents::AGENT_HEADERS, mode::Rollout,
};
use http::{HeaderMap, header};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use tower::{ServiceExt, service_fn};

use crate::config::Routing;

/// Kinds of unknown clients that are kept, and told.
const MOST: usize = 16;

/// The longest name of a kind, and of a header that is told, in bytes.
const LONGEST: usize = 40;

/// Products of clients that are known to name no session, or to name it where it is not looked for. Each has
/// a place of its own.
const KNOWN: [&str; 16] = [
    "Anthropic/Python",
    "AsyncAnthropic/Python",
    "AsyncOpenAI/Python",
    "OpenAI/JS",
    "OpenAI/Python",
    "QwenCode",
    "agent-framework-python",
    "ai",
    "ai-sdk",
    "claude-cli",
    "code-puppy",
    "copilot",
    "curl",
    "litellm",
    "openai-agents",
    "python-requests",
];

/// Parts of the names of headers that may hold a session.
const TELLING: [&str; 5] = ["session", "conversation", "thread-id", "task-id", "chat-id"];

/// What is known of clients that name no session. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unnamed(Arc<Mutex<Vec<UnnamedClient>>>);

/// The settings that would hold a client.
#[derive(Debug)]
struct Settings {
    agents: bool,
    fingerprint: bool,
    body_ids: Vec<BodyId>,
    /// Whether a request without a session is one that names none: sessions that are not pinned are routed as
    /// if they had none.
    are_all_pinned: bool,
}

/// One kind of client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct UnnamedClient {
    /// The product in the user agent.
    client: String,
    requests: u64,
    /// What would hold its sessions.
    advice: String,
}

impl Unnamed {
    /// `router`, whose requests without a session are noted; `routing` is what they might have had.
    pub(crate) fn noting<R: RouterService>(
        self,
        router: R,
        routing: &Routing,
    ) -> impl RouterService + use<R> {
        let settings = Arc::new(Settings {
            agents: routing.agents.is_some(),
            fingerprint: routing.fingerprint.is_some(),
            body_ids: routing.body_ids.clone(),
            are_all_pinned: routing.mode == Rollout::default(),
        });
        self.noting_under(router, settings)
    }

    fn noting_under<R: RouterService>(
        self,
        router: R,
        settings: Arc<Settings>,
    ) -> impl RouterService + use<R> {
        service_fn(move |request: RouteRequest| {
            if request.key.is_none() && settings.are_all_pinned {
                self.note(&request, &settings);
            }
            let router = router.clone();
            async move { router.oneshot(request).await.map_err(Into::<BoxError>::into) }
        })
    }

    /// The kinds, the one that came first, first.
    pub(crate) fn clients(&self) -> Vec<UnnamedClient> {
        self.lock().clone()
    }

    /// Forgets all of them: other settings may hold them.
    pub(crate) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<UnnamedClient>> {
        // Nothing in here panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, request: &RouteRequest, settings: &Settings) {
        let client = product(&request.parts.headers);
        let is_known = |client: &str| KNOWN.contains(&client);
        let mut kinds = self.lock();
        if let Some(kind) = kinds.iter_mut().find(|kind| kind.client == client) {
            kind.requests += 1;
            return;
        }
        let unknown = kinds.iter().filter(|kind| !is_known(&kind.client)).count();
        if !is_known(&client) && unknown >= MOST {
            return;
        }
        let advice = settings.advice(&request.parts.headers, &request.body);
        let told = UnnamedClient { client, requests: 1, advice };
        kinds.push(told.clone());
        drop(kinds);
        tracing::info!(
            client = told.client,
            advice = told.advice,
            "a client names no session: each of its requests is routed anew"
        );
    }
}

impl Settings {
    /// What would hold the client that sent this, the surest first.
    fn advice(&self, headers: &HeaderMap, body: &[u8]) -> String {
        if !self.agents
            && let Some(name) = AGENT_HEADERS.iter().find(|name| headers.contains_key(*name))
        {
            return format!("it sends {name}: set routing.agent_headers: true");
        }
        let telling =
            |name: &&str| name.len() <= LONGEST && TELLING.iter().any(|part| name.contains(part));
        if let Some(name) = headers.keys().map(|name| name.as_str()).find(telling) {
            return format!("if {name} names its session, set routing.session_headers: [{name}]");
        }
        if let Some(member) = self.member(body) {
            return format!("it sends {member}: set routing.body_ids: [{member}]");
        }
        let header = "let it send x-model-affinity, with a value of its own for each session";
        if self.fingerprint {
            return header.to_owned();
        }
        format!("set routing.fingerprint: {{}} to know its sessions by what is said, or {header}")
    }

    /// The member of a body that would name the session, were it looked at.
    fn member(&self, body: &[u8]) -> Option<&'static str> {
        #[derive(Deserialize)]
        struct Members {
            session_id: Option<IgnoredAny>,
            prompt_cache_key: Option<IgnoredAny>,
            conversation: Option<IgnoredAny>,
            previous_response_id: Option<IgnoredAny>,
        }

        let members: Members = serde_json::from_slice(body).ok()?;
        let found = [
            (members.session_id, BodyId::SessionId, "session_id"),
            (members.prompt_cache_key, BodyId::PromptCacheKey, "prompt_cache_key"),
            (members.conversation, BodyId::Conversation, "conversation"),
            (members.previous_response_id, BodyId::PreviousResponseId, "previous_response_id"),
        ];
        let unread = |id: &BodyId| !self.body_ids.contains(id);
        let found = found.into_iter().find(|(value, id, _)| value.is_some() && unread(id));
        found.map(|(_, _, name)| name)
    }
}

/// The product in the user agent, such as `curl` of `curl/8.5.0`, and `OpenAI/Python` of `OpenAI/Python
/// 2.1.0`. A byte that does not belong into a name ends it.
fn product(headers: &HeaderMap) -> String {
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    let mut parts = agent.unwrap_or_default().split(' ').next().unwrap_or_default().split('/');
    let name = |part: Option<&str>| {
        let is_name = |char: &char| char.is_ascii_alphanumeric() || "._-".contains(*char);
        part.unwrap_or_default().chars().take_while(is_name).take(LONGEST / 2).collect::<String>()
    };
    let (first, second) = (name(parts.next()), name(parts.next()));
    match (first.as_str(), second.as_str()) {
        ("", _) => "a client without a name".to_owned(),
        (_, second) if second.starts_with(|char: char| char.is_ascii_alphabetic()) => {
            format!("{first}/{second}")
        }
        _ => first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use affinity_layer::RouteDecision;
    use bytes::Bytes;
    use http::Request;

    fn settings() -> Settings {
        let body_ids = Vec::new();
        Settings { agents: true, fingerprint: false, body_ids, are_all_pinned: true }
    }

    fn request(fields: &[(&str, &str)], body: &str) -> RouteRequest {
        let mut request = Request::post("/v1/chat/completions");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        RouteRequest::new(parts, Bytes::copy_from_slice(body.as_bytes()))
    }

    fn advice(settings: &Settings, fields: &[(&str, &str)], body: &str) -> String {
        settings.advice(&request(fields, body).parts.headers, body.as_bytes())
    }

    #[test]
    fn a_kind_is_the_product_without_its_version() {
        for (agent, kind) in [
            ("curl/8.5.0", "curl"),
            ("OpenAI/Python 2.1.0", "OpenAI/Python"),
            ("claude-cli/2.0.1 (external, cli)", "claude-cli"),
            ("ai-sdk/openai/3.0", "ai-sdk/openai"),
            ("", "a client without a name"),
            ("<script>", "a client without a name"),
            ("a\tb", "a"),
            (&"x".repeat(500), &"x".repeat(20)),
        ] {
            assert_eq!(product(&request(&[("user-agent", agent)], "").parts.headers), kind);
        }
    }

    #[test]
    fn the_advice_is_the_setting_that_would_hold_it() {
        let with = |fields: &[(&str, &str)], body: &str| advice(&settings(), fields, body);
        assert!(with(&[("x-conversation-id", "c")], "{}").contains("[x-conversation-id]"));
        assert!(with(&[], r#"{"prompt_cache_key":"k"}"#).contains("body_ids: [prompt_cache_key]"));
        assert!(with(&[], r#"{"conversation":null}"#).contains("routing.fingerprint"));
        assert!(with(&[], "no json").contains("routing.fingerprint"));
        let known = Settings { fingerprint: true, ..settings() };
        assert!(advice(&known, &[], "{}").starts_with("let it send x-model-affinity"));
        let off = Settings { agents: false, ..settings() };
        let sent = [("x-claude-code-session-id", "s")];
        assert!(advice(&off, &sent, "{}").contains("routing.agent_headers: true"));
        let read = Settings { body_ids: vec![BodyId::PromptCacheKey], ..settings() };
        assert!(!advice(&read, &[], r#"{"prompt_cache_key":""}"#).contains("body_ids"));
    }

    #[tokio::test]
    async fn made_up_names_fill_a_bounded_table_and_take_no_place_of_known_clients() {
        let unnamed = Unnamed::default();
        let decide = |_: RouteRequest| async { Ok::<_, BoxError>(RouteDecision::none()) };
        let router = unnamed.clone().noting_under(service_fn(decide), Arc::new(settings()));
        let send = async |agent: &str| {
            let sent = router.clone().oneshot(request(&[("user-agent", agent)], "{}")).await;
            assert!(sent.is_ok());
        };
        for n in 0..1000 {
            send(&format!("made-up-{n}/1")).await;
        }
        for _ in 0..3 {
            send("OpenAI/Python 2.1.0").await;
        }
        let clients = unnamed.clients();
        assert_eq!(clients.len(), MOST + 1);
        let known = clients.last().unwrap();
        assert_eq!((known.client.as_str(), known.requests), ("OpenAI/Python", 3));
    }

    #[tokio::test]
    async fn a_request_with_a_session_is_not_noted() {
        let unnamed = Unnamed::default();
        let decide = |_: RouteRequest| async { Ok::<_, BoxError>(RouteDecision::none()) };
        let key = affinity_layer::AffinityKey::new("s").unwrap();
        let named = request(&[("user-agent", "curl/8")], "{}").with_key(Some(key));
        let router = unnamed.clone().noting_under(service_fn(decide), Arc::new(settings()));
        assert!(router.oneshot(named).await.is_ok());
        assert_eq!(unnamed.clients(), []);
    }

    #[tokio::test]
    async fn nothing_is_noted_while_some_sessions_are_routed_as_if_they_had_none() {
        let unnamed = Unnamed::default();
        let decide = |_: RouteRequest| async { Ok::<_, BoxError>(RouteDecision::none()) };
        let observing = Arc::new(Settings { are_all_pinned: false, ..settings() });
        let router = unnamed.clone().noting_under(service_fn(decide), observing);
        assert!(router.oneshot(request(&[("user-agent", "curl/8")], "{}")).await.is_ok());
        assert_eq!(unnamed.clients(), []);
    }
}
