//! The headers that the middleware reads and sets.
//!
//! A request is sent with one of [`SESSION_HEADERS`], and with [`AFFINITY_HEADER`] to ask for
//! something out of the ordinary. The response says what became of it in the others.
//!
//! ```
//! use affinity_layer::headers::{AFFINITY_HEADER, SESSION_HEADERS};
//!
//! // The last request of a task: it uses the pin, which is released afterwards.
//! let request = http::Request::post("/v1/chat/completions")
//!     .header(&SESSION_HEADERS[0], "task-1")
//!     .header(AFFINITY_HEADER, "final")
//!     .body("{}")?;
//! # Ok::<(), http::Error>(())
//! ```
//!
//! The six names that begin with `x-plano-` are the default. [`HeaderNames`] chooses another prefix, or no
//! such headers at all. Whatever a client or an upstream sends under the chosen names is removed or
//! overwritten. A session header is the client's and goes on to the inner service.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use crate::agents::{AGENT_HEADERS, AGENT_TRAIL_HEADERS};

/// The three generations of the feature's own header, newest name first.
pub static SESSION_HEADERS: &[HeaderName] = {
    static NAMES: [HeaderName; 3] = [
        HeaderName::from_static("x-model-affinity"),
        HeaderName::from_static("x-routing-session-id"),
        HeaderName::from_static("x-session-id"),
    ];
    &NAMES
};

/// `x-plano-pinned`: `true` when a pin that was there before this request's own decision gave the
/// model, see [`Outcome::is_pinned`](crate::Outcome::is_pinned).
pub const PINNED_HEADER: HeaderName = HeaderName::from_static("x-plano-pinned");
/// `x-plano-model`: the selected model as configured.
pub const MODEL_HEADER: HeaderName = HeaderName::from_static("x-plano-model");
/// `x-plano-route`: the name of the route that matched, if one did.
pub const ROUTE_HEADER: HeaderName = HeaderName::from_static("x-plano-route");
/// `x-plano-affinity`: in a request the control, in a response the [`Outcome`](crate::Outcome).
pub const AFFINITY_HEADER: HeaderName = HeaderName::from_static("x-plano-affinity");
/// `x-plano-epoch`: the [`Epoch`](crate::Epoch) of the pin behind the answer, only where
/// [`AffinityLayer::expose_epoch`](crate::AffinityLayer::expose_epoch) asks for it.
pub const EPOCH_HEADER: HeaderName = HeaderName::from_static("x-plano-epoch");
/// `x-plano-healed`: what was left out of the request because the model that served could not read it, as
/// [`LeftOut`](crate::ext::LeftOut) names it; absent where nothing was.
pub const HEALED_HEADER: HeaderName = HeaderName::from_static("x-plano-healed");

/// Under which names a layer reads its control and says what it did.
///
/// | | [`plano`](Self::plano), the default | [`prefixed("x-acme")`](Self::prefixed) | [`none`](Self::none) |
/// |---|---|---|---|
/// | control, outcome | `x-plano-affinity` | `x-acme-affinity` | |
/// | model | `x-plano-model` | `x-acme-model` | |
/// | route | `x-plano-route` | `x-acme-route` | |
/// | pinned | `x-plano-pinned` | `x-acme-pinned` | |
/// | epoch, where exposed | `x-plano-epoch` | `x-acme-epoch` | |
/// | what was left out | `x-plano-healed` | `x-acme-healed` | |
///
/// With another prefix `x-plano-*` means nothing to the layer: such a header passes like any other, in both
/// directions. Without names no client can ask for `bypass`, `refresh` or `final`, and responses carry
/// nothing of the layer's; handlers have the [`PinnedModel`](crate::PinnedModel).
///
/// ```
/// use affinity_layer::headers::HeaderNames;
/// use affinity_layer::{AffinityLayer, BoxError, MemoryStore, ModelName, RouteDecision, RouteRequest};
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use bytes::Bytes;
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let router = service_fn(|_: RouteRequest| async {
///     Ok::<_, BoxError>(RouteDecision::new([ModelName::new("openai/gpt-4o")?]))
/// });
/// let affinity = AffinityLayer::new(MemoryStore::default(), router)
///     .header_names(HeaderNames::prefixed("x-acme")?);
/// let handler = service_fn(|_: Request<Full<Bytes>>| async {
///     Ok::<_, BoxError>(Response::new(Full::<Bytes>::default()))
/// });
///
/// let request = Request::post("/").header("x-session-id", "task-1").body(Full::from("{}"))?;
/// let response = affinity.layer(handler).oneshot(request).await?;
/// assert_eq!(response.headers()["x-acme-model"], "openai/gpt-4o");
/// assert_eq!(response.headers()["x-acme-affinity"], "claimed");
/// assert!(response.headers().keys().all(|name| !name.as_str().starts_with("x-plano")));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderNames(Choice);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Choice {
    /// A variant of its own, so that a request of the default clones no `Arc`.
    #[default]
    Plano,
    Prefixed(Arc<NameSet>),
    Nothing,
}

/// The names that only the layer may send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NameSet {
    /// With the hyphen.
    prefix: Cow<'static, str>,
    pub(crate) pinned: HeaderName,
    pub(crate) model: HeaderName,
    pub(crate) route: HeaderName,
    pub(crate) affinity: HeaderName,
    pub(crate) epoch: HeaderName,
    pub(crate) healed: HeaderName,
}

static PLANO: NameSet = NameSet {
    prefix: Cow::Borrowed("x-plano-"),
    pinned: PINNED_HEADER,
    model: MODEL_HEADER,
    route: ROUTE_HEADER,
    affinity: AFFINITY_HEADER,
    epoch: EPOCH_HEADER,
    healed: HEALED_HEADER,
};

impl HeaderNames {
    /// `x-plano-…`, as Plano's clients know them. The default.
    #[must_use]
    pub const fn plano() -> Self {
        Self(Choice::Plano)
    }

    /// No such headers: clients control nothing, and responses say nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self(Choice::Nothing)
    }

    /// `{prefix}-affinity`, `{prefix}-model` and so on. A hyphen at the end of `prefix` is not doubled, and
    /// case does not matter.
    ///
    /// # Errors
    ///
    /// [`InvalidPrefix`] for a prefix that cannot begin the name of a header, and for one that would make
    /// a name by which clients name their sessions, as `x-model` would make `x-model-affinity`.
    pub fn prefixed(prefix: &str) -> Result<Self, InvalidPrefix> {
        let prefix = prefix.strip_suffix('-').unwrap_or(prefix).to_ascii_lowercase();
        if prefix.is_empty() {
            return Err(InvalidPrefix::NotAName);
        }
        let name = |part: &str| {
            let name = HeaderName::try_from(format!("{prefix}-{part}"));
            let name = name.map_err(|_| InvalidPrefix::NotAName)?;
            let mut taken = SESSION_HEADERS.iter().chain(AGENT_HEADERS).chain(AGENT_TRAIL_HEADERS);
            if taken.any(|taken| *taken == name) { Err(InvalidPrefix::Taken) } else { Ok(name) }
        };
        let names = NameSet {
            pinned: name("pinned")?,
            model: name("model")?,
            route: name("route")?,
            affinity: name("affinity")?,
            epoch: name("epoch")?,
            healed: name("healed")?,
            prefix: Cow::Owned(format!("{prefix}-")),
        };
        Ok(if names == PLANO { Self::plano() } else { Self(Choice::Prefixed(Arc::new(names))) })
    }

    /// The names, if there are any.
    pub(crate) fn set(&self) -> Option<&NameSet> {
        match &self.0 {
            Choice::Plano => Some(&PLANO),
            Choice::Prefixed(names) => Some(names),
            Choice::Nothing => None,
        }
    }

    /// In a request the control (`bypass`, `refresh`, `final`), in a response the
    /// [`Outcome`](crate::Outcome).
    #[must_use]
    pub fn affinity(&self) -> Option<&HeaderName> {
        self.set().map(|names| &names.affinity)
    }

    /// The selected model.
    #[must_use]
    pub fn model(&self) -> Option<&HeaderName> {
        self.set().map(|names| &names.model)
    }

    /// All of them, such as for a list of headers that a browser may read.
    pub fn iter(&self) -> impl Iterator<Item = &HeaderName> {
        self.set().into_iter().flat_map(NameSet::all)
    }

    /// Removes what others have sent under these names.
    pub(crate) fn remove_from(&self, headers: &mut HeaderMap) {
        for name in self.iter() {
            headers.remove(name);
        }
    }
}

impl NameSet {
    fn all(&self) -> [&HeaderName; 6] {
        [&self.pinned, &self.model, &self.route, &self.affinity, &self.epoch, &self.healed]
    }

    /// Whether an upstream may have set one of them. Looking at a few headers costs less than looking up
    /// two or three names, each of which has to be hashed.
    pub(crate) fn may_be_in(&self, headers: &HeaderMap) -> bool {
        const FEW: usize = 12;
        headers.len() > FEW || headers.keys().any(|name| name.as_str().starts_with(&*self.prefix))
    }
}

/// Why [`HeaderNames::prefixed`] refuses a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidPrefix {
    /// It is empty, or holds what the name of a header cannot hold.
    NotAName,
    /// A name that begins with it names sessions.
    Taken,
}

impl fmt::Display for InvalidPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAName => "the prefix cannot begin the name of a header",
            Self::Taken => "a header with this prefix names sessions",
        })
    }
}

impl std::error::Error for InvalidPrefix {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_makes_six_names_and_clashes_with_none_that_clients_send() {
        let names = |prefix: &str| {
            let names = HeaderNames::prefixed(prefix)?;
            Ok(names.iter().map(|name| name.as_str().to_owned()).collect::<Vec<_>>())
        };
        let acme = ["pinned", "model", "route", "affinity", "epoch", "healed"];
        let acme = acme.map(|part| format!("x-acme-{part}"));
        for prefix in ["x-acme", "x-acme-", "X-Acme"] {
            assert_eq!(names(prefix), Ok(acme.to_vec()));
        }
        for prefix in ["", "-", "x acme", "x:", "é", "x\n"] {
            assert_eq!(names(prefix), Err(InvalidPrefix::NotAName), "{prefix:?}");
        }
        for prefix in ["x-model", "X-Session", "x-session-"] {
            assert_eq!(names(prefix), Err(InvalidPrefix::Taken), "{prefix:?}");
        }
        assert_eq!(HeaderNames::prefixed("x-plano"), Ok(HeaderNames::plano()));
        assert_eq!(HeaderNames::none().iter().count(), 0);
    }
}
