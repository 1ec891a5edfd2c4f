//! Which session a request belongs to.

use http::request::Parts;
use http::{Extensions, HeaderMap};

use super::budget::Budget;
use super::core::Core;
use super::payload::{Payload, Readable};
use crate::key::Seen;
use crate::link;
use crate::{
    AffinityKey, AffinityStore, Expiry, Rejection, RouterService,
    key::{BodyIds, IdKind},
};

impl<St: AffinityStore, R: RouterService> Core<St, R> {
    /// The session as far as it can be told without the body and without waiting.
    pub(super) fn known_session(
        &self,
        seen: &Seen<'_>,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Option<AffinityKey>, Rejection> {
        let keys = &self.settings.keys;
        if let Some(key) = keys.key(seen, headers, extensions)? {
            return Ok(Some(key));
        }
        let Some(ids) = extensions.get::<BodyIds>().filter(|_| keys.reads_bodies()) else {
            return Ok(None);
        };
        Ok(match keys.named(ids, headers, extensions)? {
            Some(response) if response.kind() == IdKind::Response => {
                let link = self.store.peek(&response, &self.link_lifetime());
                let key = link.and_then(|link| link::target(&response, &link.selection));
                key.map(|key| keys.with_lane(key, extensions))
            }
            key => key,
        })
    }

    fn link_lifetime(&self) -> Expiry {
        link::lifetime(&self.settings.expiry)
    }

    /// The session of a request for which there is no known one.
    pub(super) async fn session<B: Readable>(
        &self,
        parts: &Parts,
        body: &mut Payload<B>,
        budget: &mut Budget,
    ) -> Result<Option<AffinityKey>, Rejection> {
        let keys = &self.settings.keys;
        if !keys.reads_bodies() {
            return Ok(None);
        }
        let bytes = body.read().await?;
        let given = parts.extensions.get::<BodyIds>().cloned();
        let ids = given.unwrap_or_else(|| BodyIds::of_body(&bytes));
        let Some(key) = keys.named(&ids, &parts.headers, &parts.extensions)? else {
            return Ok(keys.unnamed(&ids, parts, &bytes));
        };
        if key.kind() != IdKind::Response {
            return Ok(Some(key));
        }
        match self.linked(&key, budget).await? {
            Some(key) => Ok(Some(keys.with_lane(key, &parts.extensions))),
            None => Ok(keys.unnamed(&ids, parts, &bytes)),
        }
    }

    /// The session to which the link of a response leads; `None` also when the store fails and the
    /// layer is not strict about it.
    async fn linked(
        &self,
        response: &AffinityKey,
        budget: &mut Budget,
    ) -> Result<Option<AffinityKey>, Rejection> {
        let link = self.found(response, &self.link_lifetime(), budget).await?;
        Ok(link.selection().and_then(|link| link::target(response, &link)))
    }
}
