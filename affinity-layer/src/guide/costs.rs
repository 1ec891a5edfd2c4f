//! What each feature costs in crates.
//!
//! Crates that are compiled for the library itself, build scripts and procedural macros included, in the versions
//! of this repository. A service that uses axum or hyper has most of the first row already.
//!
//! | features | crates | what comes with it |
//! |---|---|---|
//! | none | 37 | bytes, http, tokio, tracing, serde, dashmap |
//! | `axum` | 40 | axum-core |
//! | `body` | 40 | wide, which needs a newer Rust than the rest |
//! | `fingerprint` | 41 | blake3 |
//! | `metrics` | 40 | the `metrics` facade, without an exporter |
//! | `redis` | 108 | fred, which brings url with its Unicode tables, futures and rand |
//! | `redis-rustls` | 118 | rustls with ring |
//!
//! fred is taken without its defaults. The features that are left on (its interfaces, `metrics`,
//! `sentinel-auth`, `unix-sockets`) add no crate; what is heavy in it cannot be turned off. Hence the feature
//! `redis` is not on by default, and a [store of your own](crate::AffinityStore) needs none of it.
