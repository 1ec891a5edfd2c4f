//! The extensions of a request through which distant parts of the gateway pass data to each other.
//!
//! An extension is used only if a layer that is not ours lies between the two: hyper between the
//! connection and the handler, the affinity layer between intake and the proxy. Apart from the types
//! here these are:
//!
//! | extension | set by | read by |
//! |---|---|---|
//! | [`Scope`](affinity_layer::Scope) | `edge::auth`, for the key that was shown | the affinity layer |
//! | [`RequestedModel`](affinity_layer::ext::RequestedModel), [`AnyModel`](affinity_layer::ext::AnyModel), [`FallbackModel`](affinity_layer::ext::FallbackModel) | `stack::intake` | the affinity layer, the router, `stack::turns` |
//! | [`NewTurn`](affinity_layer::ext::NewTurn), [`MidTurn`](affinity_layer::ext::MidTurn) | `stack::intake` | the affinity layer |
//! | [`BodyIds`](affinity_layer::key::BodyIds) | `stack::intake` | the affinity layer |
//! | [`SendOnce`](affinity_layer::ext::SendOnce) | `stack::intake` | failover |
//! | [`Bound`](affinity_layer::ext::Bound) | `stack::intake` | failover, `stack::heal` |
//! | [`Inputs`](crate::config::Inputs) | `stack::intake` | `upstream::providers` |
//! | [`BodyBytes`] | `stack::intake` | `upstream::windows` |
//! | [`Preferences`](router_client::Preferences) | `stack::intake` | the router |
//! | [`RoutingHints`](affinity_layer::ext::RoutingHints), for preferences | `stack::intake` | the affinity layer |
//! | [`Probe`](affinity_layer::ext::Probe) | `app`, for counted tokens | the affinity layer, `stack::turns`, `stack::shadow` |
//! | [`PinnedModel`](affinity_layer::PinnedModel) | the affinity layer, failover | `upstream`, `stack` |
//! | [`SecondChance`](affinity_layer::ext::SecondChance), in a response | `error`, for a kept connection that broke | failover |
//! | [`LeftOut`](affinity_layer::ext::LeftOut), in a response | `stack::heal` | failover, the affinity layer |
//! | [`NotReached`](affinity_layer::ext::NotReached), in a response | `error`, for a failed connect | failover |
//! | [`LastingFailure`](affinity_layer::ext::LastingFailure), in a response | `error` and `upstream::proxy`, for a refusal that the client cannot mend | failover |
//! | [`PassingFailure`](affinity_layer::ext::PassingFailure), in a response | `upstream::proxy`, for a 200 that begins with an error | failover, `upstream::watch` |

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Extensions, Request};
use tokio::time::Instant;

use crate::upstream::vendor::Vendor;

/// How long a body is that was read. Set by `stack::intake`, read by `upstream::windows`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyBytes(pub(crate) u64);

/// When a request came in. Set by `stack::observe`, read by `stack::turns` and `upstream::watch`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived(pub(crate) Instant);

/// Who has what the request names, so that no other vendor can serve it. Set by `stack::holdings`, read by
/// `upstream::providers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeldAt(pub(crate) Vendor);

/// The response that a request follows. Set by `stack::intake`, read by `stack::routing`.
#[derive(Clone, Debug)]
pub(crate) struct Follows(pub(crate) String);

/// Where a request comes from. Set by `edge::connection`, read by `edge::front` and the admin API.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Whose request it is, where what one client may take is limited. Set by `edge::front`, read by
/// `stack::intake`, `stack::memory` and `stack::routing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    /// One that showed a key: a hash of it.
    Key(u64),
    /// One without a key: its address, which a trusted proxy may have told; of IPv6 the network of 64 bits
    /// that one client has to itself.
    Peer(IpAddr),
    /// One whose address the system did not tell.
    Unknown,
}

impl Client {
    /// The client that shows `key`.
    pub(crate) fn with_key(key: &str) -> Self {
        static STATE: OnceLock<RandomState> = OnceLock::new();
        Self::Key(STATE.get_or_init(RandomState::new).hash_one(key))
    }

    /// The client at `address`.
    pub(crate) fn at(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) & !u128::from(u64::MAX);
                Self::Peer(Ipv6Addr::from(network).into())
            }
            address => Self::Peer(address),
        }
    }
}

/// Whether whoever is at the other end of a connection has shown the token. Set by `edge::connection`, made
/// by the admin API.
#[derive(Clone, Debug, Default)]
pub(crate) struct Introduction(Arc<AtomicBool>);

impl Introduction {
    /// The token was shown.
    pub(crate) fn make(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the token was shown.
    pub(crate) fn is_made(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long the router took for a request whose turn is recorded. Set by `app`, started by
/// `stack::routing`, read by `stack::turns`. Clones are of the same request: the one
/// that the router is asked with has the time for the one that goes on to the provider.
#[derive(Clone, Debug, Default)]
pub(crate) struct RouterClock(Arc<OnceLock<Duration>>);

impl RouterClock {
    /// Gives a request a clock.
    pub(crate) fn attach<B>(mut request: Request<B>) -> Request<B> {
        request.extensions_mut().insert(Self::default());
        request
    }

    /// What the router took; `None` when it was not asked.
    pub(crate) fn read(&self) -> Option<Duration> {
        self.0.get().copied()
    }

    /// Runs until the returned value is dropped. Without a clock nothing is measured.
    pub(crate) fn start(request: &Extensions) -> impl Drop + Send + use<> {
        RunningClock(request.get::<Self>().cloned().map(|clock| (clock, Instant::now())))
    }
}

struct RunningClock(Option<(RouterClock, Instant)>);

impl Drop for RunningClock {
    fn drop(&mut self) {
        if let Some((clock, began)) = self.0.take() {
            // A request asks once.
            let _ = clock.0.set(began.elapsed());
        }
    }
}
