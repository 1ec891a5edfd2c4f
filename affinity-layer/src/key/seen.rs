//! One pass over the headers of a request.
//!
//! With the agents' preset the layer knows some thirty names: its own five, those that name a session,
//! those of agents, sub-agents and parents. To ask a header map for each costs a hash every time, on the
//! path of every hit, and most requests have none of them. So the request's headers are walked once
//! instead, and each is compared only if it could be one of them.
//!
//! That it could be is said by a *mark*, one of 64 bits made of the length of a name and its last letter.
//! The marks of all names are joined into one word; a header whose bit is not in it is passed over with
//! one `and`. Two names may share a mark, which costs a comparison and nothing else.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{InvalidPart, single};
use crate::agents::{CHILD_HEADERS, PARENT_HEADERS};
use crate::headers::HeaderNames;

/// The headers that the layer looks for. It is made when a setting changes, not for each request.
///
/// They are found in one pass, because to ask a header map for a name costs a hash of it, and a
/// request has about as many headers as there are names to ask for.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    /// In order of rank, each with its mark, which is compared before the name is.
    names: Vec<(Mark, HeaderName, Role)>,
    /// The marks of all names: most other headers have none of them.
    marks: Mark,
}

/// What it means that a header is there. A name may have two roles: `x-session-affinity` is of an agent,
/// and an operator may list it, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Ours,
    Upgrade,
    /// Names the session.
    Session,
    /// Names the session too, and is only sent by agent clients.
    Agent,
    /// Names a sub-agent.
    SubAgent,
    /// Names the session that a sub-agent's session belongs to.
    Parent,
}

/// What a request has of them. It borrows from the request, so that it is free for one that is a hit.
#[derive(Debug, Default)]
pub(crate) struct Seen<'a> {
    /// Headers with our names.
    pub(crate) ours: bool,
    /// The request offers another protocol.
    pub(super) upgrade: bool,
    /// A header that only agent clients send: its session may have lanes.
    pub(super) agent: bool,
    /// A sub-agent sends it.
    pub(super) sub_agent: bool,
    /// A header that names the session of a parent.
    pub(super) parent: bool,
    session: Option<Named<'a>>,
}

/// The header that names the session, as far as the pass has come.
#[derive(Debug)]
struct Named<'a> {
    value: &'a HeaderValue,
    /// Its place in the list of names: the first one counts.
    rank: usize,
    /// It came again with another value.
    conflict: bool,
}

impl Watched {
    /// The list in order of rank: of the names of sessions, those of the operator come before those of agents.
    pub(super) fn new(
        ours: &HeaderNames,
        sessions: &[HeaderName],
        agents: &[HeaderName],
        sub_agents: &[HeaderName],
        parents: &[HeaderName],
    ) -> Self {
        let with = |role| move |name: &HeaderName| (mark(name), name.clone(), role);
        let mut names = vec![with(Role::Upgrade)(&header::UPGRADE)];
        names.extend(ours.iter().map(with(Role::Ours)));
        names.extend(sessions.iter().map(with(Role::Session)));
        names.extend(agents.iter().map(with(Role::Agent)));
        names.extend(sub_agents.iter().map(with(Role::SubAgent)));
        names.extend(parents.iter().map(with(Role::Parent)));
        let marks = names.iter().fold(0, |marks, (mark, ..)| marks | mark);
        Self { names, marks }
    }

    /// What `headers` have of the list. The order in which they were sent does not matter.
    pub(super) fn look<'a>(&self, headers: &'a HeaderMap) -> Seen<'a> {
        let mut seen = Seen::default();
        for (name, value) in headers {
            let mark = mark(name);
            if mark & self.marks != 0 {
                self.note(&mut seen, mark, name, value);
            }
        }
        seen
    }

    /// Looks closer at a header with the mark of a known name. The loop goes on after a match, because a name
    /// may have two roles.
    fn note<'a>(
        &self,
        seen: &mut Seen<'a>,
        marked: Mark,
        name: &HeaderName,
        value: &'a HeaderValue,
    ) {
        for (rank, (mark, known, role)) in self.names.iter().enumerate() {
            if *mark != marked || known != name {
                continue;
            }
            match role {
                Role::Ours => seen.ours = true,
                Role::Upgrade => seen.upgrade = true,
                Role::SubAgent => seen.sub_agent = true,
                Role::Parent => seen.parent = true,
                Role::Session => seen.named(rank, value),
                Role::Agent => {
                    seen.agent = true;
                    seen.named(rank, value);
                }
            }
        }
    }
}

impl<'a> Seen<'a> {
    /// Notes a value for the session. A name gives way to one that comes before it in the list; the same name
    /// again must have the same value.
    fn named(&mut self, rank: usize, value: &'a HeaderValue) {
        match &mut self.session {
            Some(named) if named.rank < rank => {}
            Some(named) if named.rank == rank => named.conflict |= named.value != value,
            _ => self.session = Some(Named { value, rank, conflict: false }),
        }
    }

    /// Puts the session of the parent into the place of a sub-agent's, which names it.
    ///
    /// Only if the id is the one in the header that belongs to the parent's: another id under one of our names
    /// was set by hand, and stays. A parent that is named twice, differently, is in conflict like
    /// any other id.
    pub(super) fn inherit(&mut self, headers: &'a HeaderMap) {
        let Some(named) = &mut self.session else { return };
        for (child, parent) in CHILD_HEADERS.iter().zip(&PARENT_HEADERS) {
            // OpenCode sends its id under one of our names too; any other id there is taken as it is.
            let is_childs = headers.get(child) == Some(named.value);
            if let Some(value) = headers.get(parent).filter(|_| is_childs) {
                named.conflict |= single(headers, parent).is_err();
                named.value = value;
                self.sub_agent = true;
                return;
            }
        }
    }

    /// The value of the first header in the list that is present.
    ///
    /// # Errors
    ///
    /// [`InvalidPart::Conflict`] if that header came again with another value. A header that comes later in the
    /// list can contradict itself as it likes, because nobody looks at it.
    pub(super) fn session(&self) -> Result<Option<&'a HeaderValue>, InvalidPart> {
        match &self.session {
            Some(named) if named.conflict => Err(InvalidPart::Conflict),
            named => Ok(named.as_ref().map(|named| named.value)),
        }
    }
}

/// One of 64 bits.
type Mark = u64;

/// By the length of a name and its end, which distinguish common headers. Both are at hand without reading
/// the name, and the factor spreads neighbouring lengths over the bits.
#[inline]
fn mark(name: &HeaderName) -> Mark {
    let name = name.as_str().as_bytes();
    let end = name.last().copied().unwrap_or_default();
    1 << ((name.len().wrapping_mul(7) + usize::from(end)) % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: HeaderName = HeaderName::from_static("x-a");
    const B: HeaderName = HeaderName::from_static("x-b");
    const AGENT: HeaderName = HeaderName::from_static("agent");

    fn look(fields: &[(HeaderName, &'static str)]) -> (Option<&'static str>, bool, bool, bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        let watched = Watched::new(&HeaderNames::plano(), &[A, B], &[AGENT, B], &[], &[]);
        let seen = watched.look(&headers);
        let session = seen.session().map(|value| value.cloned());
        let session = session.map_or(Some("conflict"), |value| {
            let values = ["1", "2", "3"].into_iter();
            value.map(|value| values.clone().find(|known| value == known).unwrap_or("?"))
        });
        (session, seen.agent, seen.ours, seen.upgrade)
    }

    #[test]
    fn the_first_name_of_the_list_wins_wherever_it_stands() {
        assert_eq!(look(&[]), (None, false, false, false));
        assert_eq!(look(&[(B, "2"), (A, "1")]).0, Some("1"));
        assert_eq!(look(&[(A, "1"), (B, "2")]).0, Some("1"));
        assert_eq!(look(&[(AGENT, "3"), (B, "2")]).0, Some("2"));
        assert_eq!(look(&[(AGENT, "3")]), (Some("3"), true, false, false));
    }

    #[test]
    fn only_the_header_that_counts_can_be_in_conflict() {
        assert_eq!(look(&[(A, "1"), (A, "1")]).0, Some("1"));
        assert_eq!(look(&[(A, "1"), (A, "2")]).0, Some("conflict"));
        assert_eq!(look(&[(B, "1"), (B, "2"), (A, "3")]).0, Some("3"));
    }

    #[test]
    fn a_name_may_stand_in_both_lists() {
        assert_eq!(look(&[(B, "2")]), (Some("2"), true, false, false));
    }

    #[test]
    fn headers_in_our_name_and_upgrades_are_seen() {
        for name in HeaderNames::plano().iter().cloned() {
            assert_eq!(look(&[(header::HOST, "1"), (name, "2")]), (None, false, true, false));
        }
        assert_eq!(look(&[(header::UPGRADE, "h2c")]), (None, false, false, true));
    }

    #[test]
    fn a_sub_agent_with_two_parents_is_in_conflict() {
        let session = |parents: &[&'static str]| {
            let mut headers = HeaderMap::new();
            headers.insert(&CHILD_HEADERS[0], HeaderValue::from_static("child"));
            for parent in parents {
                headers.append(&PARENT_HEADERS[0], HeaderValue::from_static(parent));
            }
            let ours = HeaderNames::none();
            let watched = Watched::new(&ours, &[], &CHILD_HEADERS, &[], &PARENT_HEADERS);
            let mut seen = watched.look(&headers);
            seen.inherit(&headers);
            seen.session().map(|value| value.cloned())
        };
        let named = |value| Ok(Some(HeaderValue::from_static(value)));
        assert_eq!(session(&[]), named("child"));
        assert_eq!(session(&["main"]), named("main"));
        assert_eq!(session(&["main", "main"]), named("main"));
        assert_eq!(session(&["main", "other"]), Err(InvalidPart::Conflict));
    }
}
