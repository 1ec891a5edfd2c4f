//! Which provider has what a request names: a response, a file, a container, a conversation.
//!
//! It is noted when it is made ([`Holders`]). What is not known is taken to be at the provider that
//! `passthrough` names, for it was uploaded there, if through this gateway at all. Where all models have one
//! provider, nothing has to be noted or looked up.

use std::sync::Arc;
use std::time::Duration;

use affinity_layer::answer::Holders;
use affinity_layer::{ModelName, Scope};
use futures_util::future::join_all;
use http::request::Parts;
use tokio::time::timeout;

use crate::error::ApiError;
use crate::extensions::{Follows, HeldAt};
use crate::protocol::Protocol;
use crate::stack::tenants::Tenants;
use crate::upstream::providers::Upstreams;

/// How long what was made by an upload is known: 30 days, as long as the vendors keep it unless asked
/// otherwise.
const UPLOADS: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The most ids of one request that are looked up.
pub(crate) const MOST: usize = 8;

/// Knows which provider has what.
#[derive(Clone, Debug)]
pub(crate) struct Holdings {
    holders: Holders,
    upstreams: Arc<Upstreams>,
    tenants: Tenants,
    /// Time for all that is asked of the store for one request.
    budget: Duration,
}

impl Holdings {
    pub(crate) fn new(
        holders: Holders,
        upstreams: Arc<Upstreams>,
        tenants: Tenants,
        budget: Duration,
    ) -> Self {
        Self { holders, upstreams, tenants, budget }
    }

    /// Where answers note what they leave behind, if anyone is going to ask.
    pub(crate) fn noted(&self) -> Option<Holders> {
        self.matter().then(|| self.holders.clone())
    }

    /// Whether it matters who has what.
    pub(crate) fn matter(&self) -> bool {
        self.tenants.are_told_apart() || self.upstreams.have_vendors()
    }

    /// Tenants, as requests name them.
    pub(crate) fn tenants(&self) -> &Tenants {
        &self.tenants
    }

    /// The provider that made a response, by its place; `None` if that is not known.
    ///
    /// # Errors
    ///
    /// What the client is told while the store cannot be asked.
    pub(crate) async fn of_response(
        &self,
        scope: Option<&Scope>,
        id: &str,
    ) -> Result<Option<(usize, ModelName)>, ApiError> {
        if !self.tenants.are_told_apart()
            && let Some(sole) = self.upstreams.sole(Protocol::Responses)
        {
            return Ok(Some(sole));
        }
        self.find(scope, id).await
    }

    /// The provider that has `id`, by its place, and the model that made it; `None` if that is not known.
    ///
    /// # Errors
    ///
    /// What the client is told while the store cannot be asked.
    pub(crate) async fn find(
        &self,
        scope: Option<&Scope>,
        id: &str,
    ) -> Result<Option<(usize, ModelName)>, ApiError> {
        let found = timeout(self.budget, self.holders.find(scope, id)).await;
        let Ok(Ok(model)) = found else {
            return Err(ApiError::store_unavailable());
        };
        let place = |model: ModelName| Some((self.upstreams.holder(&model)?, model));
        Ok(model.and_then(place))
    }

    /// Notes that the provider of `model` has `ids`. What cannot be stored in time is not noted.
    pub(crate) async fn note(&self, scope: Option<&Scope>, ids: &[String], model: &ModelName) {
        let holders = self.holders.clone().lifetime(UPLOADS);
        let notes = ids.iter().take(MOST).map(|id| holders.note(scope, id, model));
        match timeout(self.budget, join_all(notes)).await {
            Ok(notes) => {
                for error in notes.into_iter().filter_map(Result::err) {
                    tracing::debug!(%error, "a holder could not be noted");
                }
            }
            Err(_) => tracing::debug!("holders were not noted in time"),
        }
    }

    /// Marks a request with the provider that has the first of `ids` that is known, else with that of
    /// `passthrough`. A store that cannot be asked knows none.
    pub(crate) async fn mark(&self, parts: &mut Parts, ids: &[String]) {
        if ids.is_empty() || !self.upstreams.have_vendors() {
            return;
        }
        let scope = parts.extensions.get::<Scope>();
        let found = ids.iter().take(MOST).map(|id| self.find(scope, id));
        let found = join_all(found).await.into_iter().find_map(|found| found.ok().flatten());
        let place = found.map(|(place, _)| place).or_else(|| self.upstreams.passthrough());
        if let Some(vendor) = place.and_then(|place| self.upstreams.vendor_at(place)) {
            parts.extensions.insert(HeldAt(vendor));
        }
    }

    /// Marks a request that is routed anew with the provider that made the response that it follows. One that
    /// is pinned is there already, and costs no look-up.
    pub(crate) async fn follow(&self, parts: &mut Parts) {
        if parts.extensions.get::<HeldAt>().is_some() {
            return;
        }
        let Some(Follows(id)) = parts.extensions.get() else { return };
        let scope = parts.extensions.get::<Scope>();
        if let Ok(Some((place, _))) = self.find(scope, id).await
            && let Some(vendor) = self.upstreams.vendor_at(place)
        {
            parts.extensions.insert(HeldAt(vendor));
        }
    }
}
