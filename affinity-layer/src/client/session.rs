//! The session of the task that runs.

use std::fmt;
use std::hash::Hasher;

use http::HeaderValue;
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::AffinityKey;
use crate::key::InvalidPart;

tokio::task_local! {
    static CURRENT: Session;
}

/// A session as its client knows it. A clone is the same session.
///
/// ```
/// use affinity_layer::client::Session;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), affinity_layer::BoxError> {
/// let session = Session::new("task-1")?;
/// session.clone().scope(async {
///     assert_eq!(Session::current().as_ref(), Some(&session));
///     // A spawned task is in no scope of its own accord.
///     assert_eq!(tokio::spawn(async { Session::current() }).await?, None);
///     let inherited = tokio::spawn(Session::inherit(async { Session::current() })).await?;
///     assert_eq!(inherited, Some(session.clone()));
///     Ok(())
/// })
/// .await
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    key: AffinityKey,
    header: HeaderValue,
}

impl Session {
    /// The session with this id: 1 to 256 visible ASCII bytes without a comma.
    ///
    /// # Errors
    ///
    /// [`InvalidPart`] for any other id.
    pub fn new(id: &str) -> Result<Self, InvalidPart> {
        let key = AffinityKey::new(id)?;
        let mut header = HeaderValue::from_str(id).map_err(|_| InvalidPart::BadByte)?;
        // It is left out of what logs show, and of HTTP/2's compression.
        header.set_sensitive(true);
        Ok(Self { key, header })
    }

    /// The session of the future that runs, if it is in the scope of one.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Runs `work` in the scope of this session. A scope within a scope counts until it ends.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// `work` in the scope that this call is made in, for a task that is spawned; without one, `work` as it
    /// is.
    pub fn inherit<F: Future>(work: F) -> impl Future<Output = F::Output> + use<F> {
        let session = Self::current();
        async move {
            match session {
                Some(session) => session.scope(work).await,
                None => work.await,
            }
        }
    }

    /// The key under which an [`Affinity`](crate::Affinity) pins the session.
    #[must_use]
    pub fn key(&self) -> &AffinityKey {
        &self.key
    }

    /// The id as the value of a header. It is marked as sensitive.
    #[must_use]
    pub fn header_value(&self) -> &HeaderValue {
        &self.header
    }

    /// A name for the session that does not tell its id: 32 hexadecimal digits of a hash that is keyed with
    /// `secret`. Everyone with the same secret computes the same name.
    ///
    /// ```
    /// use affinity_layer::client::Session;
    ///
    /// let name = Session::new("task-1")?.hashed(b"a secret of ours");
    /// assert_eq!(name.len(), 32);
    /// assert_ne!(name, Session::new("task-1")?.hashed(b"another of yours"));
    /// # Ok::<(), affinity_layer::BoxError>(())
    /// ```
    #[must_use]
    pub fn hashed(&self, secret: &[u8; 16]) -> String {
        let mut hasher = SipHasher24::new_with_key(secret);
        for part in self.key.parts() {
            // The length first, so that the end of one part cannot pass for the beginning of the next.
            hasher.write_u64((part.len() as u64).to_le());
            hasher.write(part);
        }
        format!("{:032x}", hasher.finish128().as_u128())
    }
}

impl fmt::Debug for Session {
    /// Without the id: whoever reads it can use the session.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_scope_holds_across_waits_and_ends_with_its_future() {
        let session = |id| Session::new(id).unwrap();
        let id = || Session::current().map(|session| session.key().session().to_owned());
        let inner = session("b").scope(async {
            tokio::task::yield_now().await;
            id()
        });
        let outer = session("a").scope(async {
            let inner = inner.await;
            tokio::task::yield_now().await;
            (id(), inner)
        });
        let (outer, other) = tokio::join!(outer, session("c").scope(async { id() }));
        assert_eq!(outer, (Some("a".into()), Some("b".into())));
        assert_eq!((other, id()), (Some("c".into()), None));
    }

    #[test]
    fn an_id_that_no_layer_would_take_is_no_session() {
        for id in ["", "two words", "a,b", "é", &"x".repeat(257)] {
            assert!(Session::new(id).is_err(), "{id}");
        }
        let session = Session::new("secret-task").unwrap();
        assert!(!format!("{session:?} {:?}", session.header_value()).contains("secret-task"));
        // What another process of another build sends is the same.
        assert_eq!(session.hashed(&[7; 16]), "07e3cc4e1b2d72276cae8caa0593cf37");
    }
}
