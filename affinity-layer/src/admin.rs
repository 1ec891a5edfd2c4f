//! Pins as an operator sees them: listed, found, moved and released by the names under which a store
//! keeps them.
//!
//! [`MemoryStore`](crate::MemoryStore), `RedisStore` and `TieredStore` implement [`Inspect`].
//!
//! The names are the store's own, because a store that keeps hashes of keys knows no sessions. Names may
//! hold session ids, so treat a listing as a secret: show it only to those who may steer every session.
//! A listing is made page by page while pins come and go; one that lives through the whole of it is
//! listed.
//!
//! ```
//! use std::sync::Arc;
//!
//! use affinity_layer::admin::Inspect;
//! use affinity_layer::{AffinityKey, AffinityStore, Expiry, MemoryStore, ModelName, Selection};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), affinity_layer::BoxError> {
//! let store = MemoryStore::default();
//! let model = Arc::new(Selection::of(ModelName::new("openai/gpt-4o")?));
//! let key = AffinityKey::new("task-1")?;
//! store.claim(&key, model, &Expiry::default()).await?;
//!
//! let page = store.list(None, 100).await?;
//! for stored in &page.pins {
//!     assert_eq!(stored.pin.selection.model().as_str(), "openai/gpt-4o");
//!     store.release_stored(&stored.key, Some(stored.pin.epoch)).await?;
//! }
//! assert!(page.next.is_none(), "the listing is complete");
//! assert_eq!(store.get(&key, &Expiry::default()).await?.pin(), None);
//! # Ok(())
//! # }
//! ```

pub use crate::store::inspect::{Inspect, Inspected, PinPage, StoredKey, StoredPin};
