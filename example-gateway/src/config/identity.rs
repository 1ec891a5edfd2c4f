//! What names the session of a request apart from the three headers.
//!
//! Headers that strangers share, or that hold a credential, are refused as names of a session: sessions would
//! be mixed, or a secret would become a key in the store.

use std::sync::LazyLock;

use affinity_layer::{BodyId, Fingerprint, agents::SubAgents, headers::SESSION_HEADERS};
use http::{HeaderName, header};
use secrecy::ExposeSecret;

use super::at::At;
use super::cache::SessionCache;

const BODY_IDS: [(&str, BodyId); 6] = [
    ("session_id", BodyId::SessionId),
    ("metadata.session_id", BodyId::MetadataSessionId),
    ("prompt_cache_key", BodyId::PromptCacheKey),
    ("conversation", BodyId::Conversation),
    ("metadata.user_id", BodyId::UserId),
    ("previous_response_id", BodyId::PreviousResponseId),
];

/// Headers that name no session, and why.
static NO_SESSION: [(HeaderName, &str); 7] = [
    (header::AUTHORIZATION, "holds a credential, not a session"),
    (header::COOKIE, "holds credentials, not a session"),
    (HeaderName::from_static("x-api-key"), "holds a credential, not a session"),
    (HeaderName::from_static("api-key"), "holds a credential, not a session"),
    (header::USER_AGENT, "names a program, and strangers send the same"),
    (HeaderName::from_static("x-client-request-id"), "may differ with each request"),
    (HeaderName::from_static("baggage"), "is a list; session_baggage reads its session.id"),
];

/// Further headers that name a session, before those of the feature itself.
pub(super) fn session_headers(at: &At<'_>) -> Vec<HeaderName> {
    let items = at.get("session_headers").map(|list| list.items()).unwrap_or_default();
    items.iter().filter_map(session_header).collect()
}

fn session_header(at: &At<'_>) -> Option<HeaderName> {
    let name = header_name(at)?;
    let other = NO_SESSION.iter().find(|(other, _)| *other == name);
    if let Some((name, what)) = other {
        at.error(format!("{name} {what}"));
    } else if name.as_str().starts_with("x-plano-") {
        at.error("x-plano-* is what the gateway itself says");
    } else if name.as_str().contains('_') {
        at.error("a header with an underscore is dropped at the door; write it with hyphens");
    }
    Some(name)
}

/// The header of the tenant, which must not name the session too.
pub(super) fn tenant_header(at: &At<'_>, session_headers: &[HeaderName]) -> Option<HeaderName> {
    let name = header_name(at)?;
    if SESSION_HEADERS.contains(&name) || session_headers.contains(&name) {
        at.error("names the session already; the tenant needs a header of its own");
    }
    Some(name)
}

/// Header names have no case: upper case is taken as lower.
fn header_name(at: &At<'_>) -> Option<HeaderName> {
    at.parsed(|text| HeaderName::try_from(text).map_err(|_| "is not a header name"))
}

/// Whether the session ids of agent clients are read, and which model their sub-agents use.
pub(super) fn agents(at: &At<'_>, read: bool) -> Option<SubAgents> {
    let kinds = [("inherit", SubAgents::Inherit), ("own", SubAgents::Own)];
    let sub_agents = get_if_read(at, read, "sub_agents").and_then(|kind| kind.one_of(&kinds));
    read.then_some(sub_agents.unwrap_or_default())
}

/// Whether each model that an agent client asks for has a pin of its own.
pub(super) fn model_lanes(at: &At<'_>, read: bool) -> bool {
    get_if_read(at, read, "model_lanes").and_then(|flag| flag.flag()).unwrap_or(true)
}

fn get_if_read<'a>(at: &At<'a>, read: bool, key: &'static str) -> Option<At<'a>> {
    at.get_if(read, key, "has no effect with agent_headers: false")
}

/// Which members of a body are read.
pub(super) fn body_ids(at: &At<'_>) -> Vec<BodyId> {
    let items = at.get("body_ids").map(|list| list.items()).unwrap_or_default();
    items.iter().filter_map(|item| item.one_of(&BODY_IDS)).collect()
}

/// How a member of a body is written in the file.
pub(super) fn name(id: BodyId) -> &'static str {
    BODY_IDS.iter().find(|(_, known)| *known == id).map_or("?", |(name, _)| name)
}

/// By which secret sessions are known that nothing names, if they are.
pub(super) fn fingerprint(at: &At<'_>, cache: &SessionCache) -> Option<Fingerprint> {
    let fingerprint = at.get("fingerprint")?;
    let Some(secret) = fingerprint.get("secret") else {
        if matches!(cache, SessionCache::Redis(_)) {
            fingerprint.warn("without a secret, replicas do not find the same sessions");
        }
        // One for the process, so that no session is lost when the configuration is read again.
        static DRAWN: LazyLock<Fingerprint> = LazyLock::new(Fingerprint::random);
        return Some(DRAWN.clone());
    };
    Some(Fingerprint::new(secret.secret()?.expose_secret()))
}
