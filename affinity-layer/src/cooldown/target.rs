//! What can cool down, and why.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use http::StatusCode;

/// Which part of what serves a model has failed.
///
/// A failure says something about one part, and nothing about the others: a model without quota leaves the
/// key valid, and an address that cannot be connected to takes all its models with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TargetKind {
    /// Where the provider listens.
    Address,
    /// The proxy on the way to the address. Models of other providers may be behind it, too.
    Proxy,
    /// The key that the provider is called with.
    Credential,
    /// One model of one provider.
    Model,
    /// One model at one path: it may answer at others.
    Path,
}

impl TargetKind {
    /// All of them.
    pub(crate) const ALL: [Self; 5] =
        [Self::Address, Self::Proxy, Self::Credential, Self::Model, Self::Path];

    /// The word for logs and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Proxy => "proxy",
            Self::Credential => "credential",
            Self::Model => "model",
            Self::Path => "path",
        }
    }
}

/// Something that can cool down, by its kind and a name that the application chooses.
///
/// Models that have a target in common cool down together. Choose names that an operator may read: they
/// are listed and logged, so the name of a credential must not hold the credential.
#[derive(Clone)]
pub struct Target {
    kind: TargetKind,
    name: Arc<str>,
    is_guessed: bool,
}

impl Target {
    /// The target of `kind` called `name`.
    #[must_use]
    pub fn new(kind: TargetKind, name: impl Into<Arc<str>>) -> Self {
        Self { kind, name: name.into(), is_guessed: false }
    }

    /// The same target, whose name a client may have made up, such as a model that a wildcard covers.
    /// Fewer of them are remembered, and they take the place of no others.
    #[must_use]
    pub fn guessed(self) -> Self {
        Self { is_guessed: true, ..self }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> TargetKind {
        self.kind
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a client may have made up the name.
    #[must_use]
    pub fn is_guessed(&self) -> bool {
        self.is_guessed
    }
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.name == other.name
    }
}

impl Eq for Target {}

impl Hash for Target {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.kind, &self.name).hash(state);
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)
    }
}

/// What made a target cool down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CooldownCause {
    /// There was no connection.
    Connect,
    /// There was no answer in time.
    Timeout,
    /// The provider answered with this status.
    Status(StatusCode),
}

impl CooldownCause {
    /// The word for logs and labels: `connect`, `timeout`, or the status.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Status(status) => status.as_str(),
        }
    }
}
