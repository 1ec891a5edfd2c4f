//! What names the session of a request apart from the three headers.

use affinity_layer::{BodyId, Fingerprint, agents::SubAgents};
use secrecy::ExposeSecret;

use super::at::At;
use super::cache::SessionCache;

const BODY_IDS: [(&str, BodyId); 4] = [
    ("prompt_cache_key", BodyId::PromptCacheKey),
    ("conversation", BodyId::Conversation),
    ("metadata.user_id", BodyId::UserId),
    ("previous_response_id", BodyId::PreviousResponseId),
];

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

/// How a session is guessed at, if it is.
pub(super) fn fingerprint(at: &At<'_>, cache: &SessionCache) -> Option<Fingerprint> {
    let fingerprint = at.get("fingerprint")?;
    let Some(secret) = fingerprint.get("secret") else {
        if matches!(cache, SessionCache::Redis(_)) {
            fingerprint.warn("without a secret, replicas do not find the same sessions");
        }
        return Some(Fingerprint::random());
    };
    Some(Fingerprint::new(secret.secret()?.expose_secret()))
}
