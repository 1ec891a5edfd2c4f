//! At which model's provider an object lives.
//!
//! Responses, files, containers and conversations live where they were made, and their ids do not say where
//! that is. So the model is stored under the id, before the client can know the id, and every replica finds
//! it there. It is kept as a pin is kept, by the same verbs: any store of pins keeps it too. Its key is of its
//! own kind, and it spells the model as no pin does, so that neither is ever taken for the other: an
//! administrator who moves the sessions of a model must not move what lives at its provider.
//!
//! A note differs from the [link](super::link) of a response, which leads to a session: a session may move
//! to another model, while what a provider holds stays where it is.

use std::time::Duration;

use crate::key::Scope;
use crate::store::SharedStore;
use crate::{AffinityKey, AffinityStore, Expiry, ModelName, Selection, StoreError};

/// Notes which model's provider holds an object, by the object's id and the tenant.
///
/// Give one to an [`AnswerLayer`](crate::AnswerLayer) to note what answers name, and ask it with
/// [`find`](Self::find) where a request names an object. Clones share the store.
///
/// - An object belongs to the tenant that made it: the same id in another scope is not found.
/// - The first note of an id holds until it expires. A use does not prolong it.
/// - A model whose name has more than some 240 bytes leaves no note.
/// - A note counts as one entry of the store, and may be evicted as a pin may.
///
/// ```
/// use affinity_layer::answer::Holders;
/// use affinity_layer::{MemoryStore, ModelName, SharedStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), affinity_layer::BoxError> {
/// let holders = Holders::new(SharedStore::new(MemoryStore::default()));
/// let model = ModelName::new("openai/gpt-4o")?;
/// holders.note(None, "resp_1", &model).await?;
/// assert_eq!(holders.find(None, "resp_1").await?, Some(model));
/// assert_eq!(holders.find(None, "resp_2").await?, None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Holders {
    store: SharedStore,
    lifetime: Duration,
}

impl Holders {
    /// How long a note lives by default: 24 hours.
    pub const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

    /// Notes in `store`, which may be that of the pins.
    #[must_use]
    pub fn new(store: SharedStore) -> Self {
        Self { store, lifetime: Self::LIFETIME }
    }

    /// Sets how long a note lives. Default: [`LIFETIME`](Self::LIFETIME).
    #[must_use]
    pub fn lifetime(self, lifetime: Duration) -> Self {
        Self { lifetime, ..self }
    }

    /// The model whose provider holds the object `id` of the tenant `scope`, `None` if nothing is noted.
    ///
    /// It has no time limit of its own.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store fails.
    pub async fn find(
        &self,
        scope: Option<&Scope>,
        id: &str,
    ) -> Result<Option<ModelName>, StoreError> {
        let Some(key) = AffinityKey::of_held(id) else { return Ok(None) };
        let key = key.with_scope(scope.cloned());
        let read = self.store.get(&key, &self.expiry()).await?;
        Ok(read.selection().and_then(|noted| AffinityKey::of_holder_name(noted.model())))
    }

    /// Notes that the provider of `model` holds the object `id` of the tenant `scope`. An id that cannot be
    /// part of a key, because it is empty or too long, is passed over.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store fails.
    pub async fn note(
        &self,
        scope: Option<&Scope>,
        id: &str,
        model: &ModelName,
    ) -> Result<(), StoreError> {
        let Some(key) = AffinityKey::of_held(id) else { return Ok(()) };
        let key = key.with_scope(scope.cloned());
        let Some(noted) = AffinityKey::holder_name(model) else { return Ok(()) };
        self.store.claim(&key, Selection::of(noted).into(), &self.expiry()).await.map(drop)
    }

    fn expiry(&self) -> Expiry {
        Expiry::fixed(self.lifetime)
    }
}
