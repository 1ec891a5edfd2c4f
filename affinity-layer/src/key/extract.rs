//! Where in a request the affinity key is found.
//!
//! [`KeySource::look`] passes over the headers once and notes what is there; [`KeySource::key`] makes the
//! key of it. They are apart because the first also says whether the request can use a model at all, and
//! one that cannot needs no key. Both are on the path of every hit, so neither allocates unless a lane is
//! asked for or the session is in baggage.
//!
//! A header that is present and cannot be used is an error and not skipped. An agent whose id were
//! silently passed over would be routed afresh on each turn, and nobody would know why.
//!
//! A request that no header names is known by its body. The steps come in order of how much they can be
//! wrong:
//!
//! 1. **An id in the body** ([`BodyId`]). The client sent it, and it is used if it can be a key. If it
//!    cannot, the next source is looked at: the members of a body belong to the provider's API, which
//!    judges them, so none of them is an error here.
//! 2. **A response that is followed.** Its id leads to a conversation through a link in the store.
//! 3. **What was said**, if enabled, or the opening of the conversation together with a client's counter.
//! 4. **A new conversation**, for a request of `/responses` whose answer can be followed later. It gets a
//!    random id that nobody sends; the ids of its responses will lead to it.
//!
//! All of this needs the body, so it is only done where one of these is configured, and never for a
//! request that a header names. `Arrival` in the affinity room takes the steps; here is what each says.

use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, header};

#[cfg(feature = "fingerprint")]
use super::Fingerprint;
use super::seen::{Seen, Watched};
use super::{
    AffinityKey, BodyId, BodyIds, IdKind, InvalidPart, PrintKey, Scope, Transcript, baggage,
};
#[cfg(feature = "fingerprint")]
use crate::agents::COUNTER_HEADER;
use crate::agents::{AGENT_HEADERS, PARENT_HEADERS, SUB_AGENT_HEADERS, SubAgents, THREAD_HEADER};
use crate::headers::{HeaderNames, SESSION_HEADERS};
use crate::{
    Rejection,
    ext::{AnyModel, RequestedModel},
};

/// What a body tells of a session that nothing names.
pub(crate) enum Told {
    /// A client's counter and the opening, which are its key.
    Key(AffinityKey),
    /// What was said, by which it can be found.
    Transcript(Transcript),
}

/// Reads the [`AffinityKey`] of a request from its headers and extensions.
///
/// 1. The first header of the list that is present names the session; the others are not looked at.
///    With the agents' preset, the headers of agent clients come after them. A sub-agent that names
///    the session of its parent inherits it, if that is enabled.
///    If enabled, the member `session.id` of `baggage` names the session when none of
///    these headers does.
/// 2. The scope is the [`Scope`] in the request's extensions, else the value of the tenant header
///    if one is configured. With a tenant header configured, a session without a scope is refused.
/// 3. The lane, where lanes are asked for, comes from the id of a sub-agent and from the
///    [`RequestedModel`] in the request's extensions, and only for the clients of the preset: a client
///    that names a session by hand means one session. A request with [`AnyModel`] has no model lane.
/// 4. Without one of these headers, the body is looked at, if any is configured.
///
/// A change of these settings makes the list of watched headers anew, so that a request pays for no header
/// that nobody asked about.
#[derive(Clone, Debug)]
pub(crate) struct KeySource {
    /// What the layer itself sends and reads.
    names: HeaderNames,
    headers: Vec<HeaderName>,
    agents: Vec<HeaderName>,
    sub_agents: SubAgents,
    model_lanes: bool,
    tenant_header: Option<HeaderName>,
    watched: Watched,
    baggage: bool,
    pub(super) body_ids: Vec<BodyId>,
    #[cfg(feature = "fingerprint")]
    pub(super) fingerprint: Option<Fingerprint>,
}

impl Default for KeySource {
    fn default() -> Self {
        let names = HeaderNames::default();
        Self {
            watched: Watched::new(&names, SESSION_HEADERS, &[], &[], &[]),
            names,
            headers: SESSION_HEADERS.to_vec(),
            agents: Vec::new(),
            sub_agents: SubAgents::default(),
            model_lanes: false,
            tenant_header: None,
            baggage: false,
            body_ids: Vec::new(),
            #[cfg(feature = "fingerprint")]
            fingerprint: None,
        }
    }
}

impl KeySource {
    pub(crate) fn names(&mut self, names: HeaderNames) {
        self.names = names;
        self.watch();
    }

    pub(crate) fn headers(&mut self, headers: impl IntoIterator<Item = HeaderName>) {
        self.headers = headers.into_iter().collect();
        self.watch();
    }

    /// Turns on the preset. Its headers keep their order behind those of the operator, who may have set one
    /// by hand in front of an agent.
    pub(crate) fn agents(&mut self, sub_agents: SubAgents) {
        self.agents = AGENT_HEADERS.to_vec();
        self.sub_agents = sub_agents;
        self.watch();
    }

    /// Makes the list of headers to look for. Those of sub-agents belong to the preset, and those of parents
    /// count only where sub-agents inherit.
    fn watch(&mut self) {
        let preset = !self.agents.is_empty();
        let inherits = preset && self.sub_agents == SubAgents::Inherit;
        let sub_agents: &[_] = if preset { &SUB_AGENT_HEADERS } else { &[] };
        let parents: &[_] = if inherits { &PARENT_HEADERS } else { &[] };
        self.watched = Watched::new(&self.names, &self.headers, &self.agents, sub_agents, parents);
    }

    /// Whether the headers of agent clients are read.
    #[cfg(feature = "fingerprint")]
    pub(super) fn reads_agents(&self) -> bool {
        !self.agents.is_empty()
    }

    pub(crate) fn baggage(&mut self, read: bool) {
        self.baggage = read;
    }

    pub(crate) fn model_lanes(&mut self, lanes: bool) {
        self.model_lanes = lanes;
    }

    pub(crate) fn tenant_header(&mut self, header: HeaderName) {
        self.tenant_header = Some(header);
    }

    pub(crate) fn body_ids(&mut self, sources: impl IntoIterator<Item = BodyId>) {
        self.body_ids = sources.into_iter().collect();
    }

    #[cfg(feature = "fingerprint")]
    pub(crate) fn fingerprint(&mut self, fingerprint: Fingerprint) {
        self.fingerprint = Some(fingerprint);
    }

    /// What a request has of the headers that the layer looks for. The parent's session takes the place of
    /// the sub-agent's here, before anything is made of it.
    pub(crate) fn look<'a>(&self, headers: &'a HeaderMap) -> Seen<'a> {
        let mut seen = self.watched.look(headers);
        if seen.parent {
            seen.inherit(headers);
        }
        seen
    }

    /// The key of a request by its headers, `None` when they name no session.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] when the session id or the scope is present but not usable, or when the
    /// scope is missing though a tenant header is configured.
    pub(crate) fn key(
        &self,
        seen: &Seen<'_>,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Option<AffinityKey>, Rejection> {
        let key = match seen.session().map_err(Rejection::InvalidSessionId)? {
            Some(session) => AffinityKey::from_header(session),
            None if self.baggage => match baggage::session(headers) {
                Some(session) => AffinityKey::from_header(&session),
                None => return Ok(None),
            },
            None => return Ok(None),
        };
        let key = key.map_err(Rejection::InvalidSessionId)?;
        let key = key.with_scope(self.scope(headers, extensions)?);
        // A session that is named by hand is one session, whatever models it asks for.
        if seen.agent {
            return self.lane(key, headers, extensions).map(Some);
        }
        Ok(Some(key))
    }

    /// Whether a request is that of a sub-agent that shares the pin of its main loop: one whose session
    /// was just inherited, or that says who it is under the parent's own session id.
    pub(crate) fn is_guest(&self, seen: &Seen<'_>) -> bool {
        seen.sub_agent && self.sub_agents == SubAgents::Inherit
    }

    /// The lane of an agent's request.
    ///
    /// An agent makes side calls to a small model under the id of its main loop: a lane for each
    /// requested model keeps them from pinning the loop to it. Where sub-agents have pins of their own, the
    /// lane begins with the sub-agent's id, and its thread if it has one.
    ///
    /// # Errors
    ///
    /// [`Rejection::InvalidSessionId`] for an id of a sub-agent that cannot be used.
    fn lane(
        &self,
        mut key: AffinityKey,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<AffinityKey, Rejection> {
        if self.sub_agents == SubAgents::Own {
            for name in &SUB_AGENT_HEADERS {
                if let Some(id) = single(headers, name).map_err(Rejection::InvalidSessionId)? {
                    key = key.with_lane_header(id).map_err(Rejection::InvalidSessionId)?;
                    let thread = single(headers, &THREAD_HEADER);
                    if let Some(thread) = thread.map_err(Rejection::InvalidSessionId)? {
                        key = key.with_thread(thread).map_err(Rejection::InvalidSessionId)?;
                    }
                }
            }
        }
        Ok(self.model_lane(key, extensions))
    }

    /// Adds the requested model to the lane. Without a [`RequestedModel`] the name in the body would have to be
    /// read and resolved first, and a hit reads no body.
    pub(super) fn model_lane(&self, key: AffinityKey, extensions: &Extensions) -> AffinityKey {
        if !self.model_lanes || extensions.get::<AnyModel>().is_some() {
            return key;
        }
        match extensions.get::<RequestedModel>() {
            Some(RequestedModel(model)) => key.with_model_lane(model),
            None => key,
        }
    }

    /// The tenant of a request that names a session. The extension comes first: it was set by code that has
    /// checked who the caller is, and a header can be sent by anyone whom no proxy stops.
    ///
    /// # Errors
    ///
    /// [`Rejection::MissingScope`] if a tenant header is configured and is absent or empty,
    /// [`Rejection::InvalidScope`] if it cannot be used. There is no common
    /// scope to fall back to: tenants whose proxy forgets the header would meet in it.
    pub(super) fn scope(
        &self,
        headers: &HeaderMap,
        ext: &Extensions,
    ) -> Result<Option<Scope>, Rejection> {
        if let Some(scope) = ext.get::<Scope>() {
            return Ok(Some(scope.clone()));
        }
        let Some(name) = &self.tenant_header else {
            return Ok(None);
        };
        let value = single(headers, name).map_err(Rejection::InvalidScope)?;
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            return Err(Rejection::MissingScope);
        };
        Scope::from_header(value).map(Some).map_err(Rejection::InvalidScope)
    }

    /// Whether a body may name the session that the headers do not.
    pub(crate) fn reads_bodies(&self) -> bool {
        !self.body_ids.is_empty() || self.has_fingerprint()
    }

    /// Whether the body of a request with `headers` may name the session that they do not. If not, a request
    /// without a session that is not to be routed passes with its body unread.
    pub(crate) fn reads_body_of(&self, headers: &HeaderMap) -> bool {
        self.reads_bodies() || self.counter(headers).is_some()
    }

    /// The key by the ids of a body. One of [`IdKind::Response`] leads to the key and is not the key.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] when there is an id and no usable scope, as with an id in a header.
    pub(crate) fn named(
        &self,
        ids: &BodyIds,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Option<AffinityKey>, Rejection> {
        let followed = || ids.key(&[BodyId::PreviousResponseId]).filter(|_| self.has_fingerprint());
        let Some(key) = ids.key(&self.body_ids).or_else(followed) else {
            return Ok(None);
        };
        let key = key.with_scope(self.scope(headers, extensions)?);
        Ok(Some(self.with_lane(key, extensions)))
    }

    /// What reads a body for what was said, `None` when the session is not to be found by it. It owns what
    /// it needs, so that a long body can be read on another thread.
    ///
    /// A request that follows a response is not read, because its body holds the new turn and not the
    /// conversation.
    pub(crate) fn listener(
        &self,
        ids: &BodyIds,
        parts: &Parts,
    ) -> Option<impl FnOnce(&[u8]) -> Option<Told> + Send + use<>> {
        let holds_conversation = !ids.in_conversation && !ids.follows;
        // Without a scope it would come to nothing.
        let is_wanted = holds_conversation && self.scope(&parts.headers, &parts.extensions).is_ok();
        let counter = self.counter(&parts.headers).cloned();
        let key = if is_wanted { self.print_key(counter.is_some())? } else { return None };
        Some(move |body: &[u8]| {
            let transcript = Transcript::of(body, &key)?;
            Some(match counter {
                Some(counter) => Told::Key(transcript.counted(counter.as_bytes()).session_key()),
                None => Told::Transcript(transcript),
            })
        })
    }

    /// The key of a conversation that nothing names: the one that was `told`, or a new one. `None` also
    /// when the scope that it would need is missing: the request did not ask for a session.
    ///
    /// A request that names a `conversation` we do not read begins none: it continues one, and a session made
    /// now would last for this turn only.
    pub(crate) fn unnamed(
        &self,
        ids: &BodyIds,
        parts: &Parts,
        told: Option<AffinityKey>,
    ) -> Option<AffinityKey> {
        let scope = self.scope(&parts.headers, &parts.extensions).ok()?;
        if ids.in_conversation {
            return None;
        }
        // The application may serve the API under any prefix.
        let begins =
            self.follows_responses() && ids.is_kept && parts.uri.path().ends_with("/responses");
        let key = told.or_else(|| begins.then(AffinityKey::begun))?;
        Some(self.with_lane(key.with_scope(scope), &parts.extensions))
    }

    /// The key with the lane of the request at hand, where ids of its kind have lanes.
    pub(crate) fn with_lane(&self, key: AffinityKey, extensions: &Extensions) -> AffinityKey {
        match key.kind() {
            // An agent makes side calls under the id of its main loop, and others may have the same
            // opening for two models. Who names a session by hand means one session.
            IdKind::UserId | IdKind::Fingerprint => self.model_lane(key, extensions),
            _ => key,
        }
    }

    /// Whether responses of the session are to lead back to it: it has no id that a client could
    /// send.
    pub(crate) fn links(&self, key: &AffinityKey) -> bool {
        self.follows_responses() && !key.kind().is_sent()
    }

    /// Whether ids of responses are stored and looked up.
    fn follows_responses(&self) -> bool {
        self.body_ids.contains(&BodyId::PreviousResponseId) || self.has_fingerprint()
    }

    #[cfg(feature = "fingerprint")]
    fn has_fingerprint(&self) -> bool {
        self.fingerprint.is_some()
    }

    /// What a client of the agents' preset counts its sessions by. It names none alone, so nothing is
    /// wrong with one that cannot be used.
    #[cfg(feature = "fingerprint")]
    fn counter<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let counter = single(headers, &COUNTER_HEADER).ok().flatten();
        counter.filter(|counter| self.reads_agents() && !counter.is_empty())
    }

    /// The key of the hashes: of the layer's secret if it has a fingerprint, else only beside a client's
    /// counter, and then no secret.
    #[cfg(feature = "fingerprint")]
    fn print_key(&self, is_counted: bool) -> Option<PrintKey> {
        match &self.fingerprint {
            Some(fingerprint) => Some(fingerprint.key()),
            None => is_counted.then(|| Fingerprint::beside_counter().key()),
        }
    }

    #[cfg(not(feature = "fingerprint"))]
    fn has_fingerprint(&self) -> bool {
        false
    }

    #[cfg(not(feature = "fingerprint"))]
    fn counter<'a>(&self, _: &'a HeaderMap) -> Option<&'a HeaderValue> {
        None
    }

    #[cfg(not(feature = "fingerprint"))]
    fn print_key(&self, _: bool) -> Option<PrintKey> {
        None
    }
}

/// The one value of a header; a repeated header is fine as long as it repeats itself.
///
/// A proxy may send a header twice. If the values differ, nobody can say which of them was meant: to take
/// the first would let a client add an id in front of the one that its proxy sets.
///
/// # Errors
///
/// [`InvalidPart::Conflict`] for values that differ.
pub(crate) fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a HeaderValue>, InvalidPart> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.any(|value| Some(value) != first) {
        return Err(InvalidPart::Conflict);
    }
    Ok(first)
}

/// Whether a request may use a model at all. The rest passes the layer and never makes a pin.
///
/// A list of models, a preflight or a handshake of a WebSocket has no prompt, and a decision about it would
/// bind its session to nothing that it asked for. The method says so, and not the path: which paths there
/// are is the application's business.
pub(crate) fn asks_a_model<B>(request: &http::Request<B>, seen: &Seen<'_>) -> bool {
    // Java's client offers h2c with every request; servers ignore the offer (RFC 9113, section 3.1),
    // and the request is one like any other.
    let is_upgrade = |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"h2c");
    let upgrades = || request.headers().get_all(header::UPGRADE).iter().any(is_upgrade);
    request.method() == http::Method::POST && !(seen.upgrade && upgrades())
}
