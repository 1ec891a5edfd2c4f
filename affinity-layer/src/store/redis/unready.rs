//! Why a Redis cannot be used as it should be.
//!
//! "The store is down" helps nobody at night. This module turns an error of the client library or
//! of the server into one of a dozen causes that an operator can act on. None of them repeats a
//! text from outside: a server's error may quote a user's name, and the client's may quote the
//! address.

use std::fmt;
use std::io;

use fred::error::{Error, ErrorKind};

use crate::StoreError;

/// Why a Redis cannot be used as it should be. No form of it shows an address, a password or a text
/// of the server: whoever reads logs and `/readyz` may know none of them.
///
/// `docs/redis.md` says what each means. A cause is found by trying the commands of the protocol,
/// and read at [`TieredStore::unready`](crate::TieredStore::unready).
///
/// ```
/// use affinity_layer::store::Unready;
///
/// let cause = Unready::NoPermission(Some("set".to_owned()));
/// assert_eq!(cause.to_string(), "redis gives no permission for SET");
/// assert_eq!(cause.label(), "no_permission");
/// // Sessions that are pinned keep their model, and new ones cannot be pinned.
/// assert!(cause.can_read() && !cause.only_degrades());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unready {
    /// It cannot be connected to, or does not answer in time.
    Unreachable,
    /// The name of its host cannot be resolved.
    UnknownHost,
    /// It refuses the user or the password, or demands one.
    WrongPassword,
    /// TLS cannot be agreed on: an unknown authority, another host, a client certificate demanded.
    Certificate,
    /// It has no database of this number.
    WrongDatabase,
    /// Its access list forbids a command, `None` where it forbids the names under the prefix.
    NoPermission(Option<String>),
    /// It is a replica, or was made read-only.
    ReadOnly,
    /// Its memory is full, and it evicts nothing.
    Full,
    /// It is a node of a cluster behind an address of one server.
    Cluster,
    /// It lacks what pins need; its version, where that is told. 7.0 or later is needed.
    TooOld(Option<String>),
    /// It refuses for another reason: the code of its error, such as `MISCONF`.
    Refused(String),
    /// It sends what is no reply of its protocol, or one that is too deep or too large to be read.
    InvalidReply,
    /// It can be read and written, and does not tell of changes: each turn costs a round trip.
    NoInvalidations,
}

impl Unready {
    /// Every [`label`](Self::label).
    ///
    /// For a metric that shows a series for each cause, also for those that have not occurred.
    pub const LABELS: &[&str] = &[
        "unreachable",
        "unknown_host",
        "wrong_password",
        "certificate",
        "wrong_database",
        "no_permission",
        "read_only",
        "full",
        "cluster",
        "too_old",
        "refused",
        "invalid_reply",
        "no_invalidations",
    ];

    /// Why Redis has refused a call that ended with `error`; `None` for any other error.
    ///
    /// The text of a [`StoreError`] says only that it was refused, and that of its source may quote the
    /// server. This one may be shown.
    ///
    /// ```
    /// use affinity_layer::{StoreError, StoreErrorKind, store::Unready};
    ///
    /// assert_eq!(Unready::behind(&StoreErrorKind::Timeout.into()), None);
    /// ```
    #[must_use]
    pub fn behind(error: &StoreError) -> Option<Self> {
        let source = std::error::Error::source(error)?;
        source.downcast_ref().filter(|_| error.is_refusal()).map(Self::of)
    }

    /// The cause behind an error of the client library.
    ///
    /// The server's code counts first; the library's own classes are coarse. `syntax error` and
    /// `unknown command` mean an old Redis, since the commands themselves are right.
    pub(crate) fn of(error: &Error) -> Self {
        let text = error.details();
        let code = text.split_ascii_whitespace().next().unwrap_or_default();
        match code {
            "NOAUTH" | "WRONGPASS" => return Self::WrongPassword,
            "NOPERM" => return Self::NoPermission(forbidden(text)),
            "READONLY" => return Self::ReadOnly,
            "OOM" => return Self::Full,
            "MOVED" | "ASK" | "CROSSSLOT" => return Self::Cluster,
            // From 7.2 on, of a command in a script.
            "ERR" if text.contains("ACL failure in script") => {
                return Self::NoPermission(forbidden(text));
            }
            "ERR" if text.contains("without any password") => return Self::WrongPassword,
            "ERR" if text.contains("DB index") => return Self::WrongDatabase,
            "ERR" if text.contains("syntax error") || text.contains("unknown command") => {
                return Self::TooOld(None);
            }
            _ => {}
        }
        match error.kind() {
            ErrorKind::Auth => Self::WrongPassword,
            _ if is_code(code) => Self::Refused(code.to_owned()),
            _ => Self::Unreachable,
        }
    }

    /// The cause behind an error of a stream.
    pub(crate) fn of_io(error: &io::Error) -> Self {
        #[cfg(feature = "redis-rustls")]
        if let Some(error) = error.get_ref().and_then(|error| error.downcast_ref()) {
            return match error {
                // An alert is the server's way to say that it wants another certificate.
                rustls::Error::InvalidCertificate(_)
                | rustls::Error::NoCertificatesPresented
                | rustls::Error::AlertReceived(_) => Self::Certificate,
                _ => Self::Unreachable,
            };
        }
        let _ = error;
        Self::Unreachable
    }

    /// Whether pins can be read and written all the same.
    ///
    /// `true` only for [`NoInvalidations`](Self::NoInvalidations).
    #[must_use]
    pub fn only_degrades(&self) -> bool {
        *self == Self::NoInvalidations
    }

    /// Whether pins that stand can be read all the same.
    ///
    /// If so, sessions that have a pin keep being served by it. What a pin is read with is
    /// `GETRANGE`, `PTTL`, and `EVAL` for one that slides.
    #[must_use]
    pub fn can_read(&self) -> bool {
        match self {
            Self::NoPermission(Some(command)) => {
                !["getrange", "pttl", "eval"].contains(&command.as_str())
            }
            Self::ReadOnly | Self::Full | Self::Refused(_) | Self::NoInvalidations => true,
            Self::Unreachable
            | Self::UnknownHost
            | Self::WrongPassword
            | Self::Certificate
            | Self::WrongDatabase
            | Self::NoPermission(None)
            | Self::Cluster
            | Self::TooOld(_)
            | Self::InvalidReply => false,
        }
    }

    /// A word for it, as a label of metrics.
    ///
    /// Stable, in snake case, one of [`LABELS`](Self::LABELS). Commands, versions and codes are
    /// left out, so the number of series is bounded.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::UnknownHost => "unknown_host",
            Self::WrongPassword => "wrong_password",
            Self::Certificate => "certificate",
            Self::WrongDatabase => "wrong_database",
            Self::NoPermission(_) => "no_permission",
            Self::ReadOnly => "read_only",
            Self::Full => "full",
            Self::Cluster => "cluster",
            Self::TooOld(_) => "too_old",
            Self::Refused(_) => "refused",
            Self::InvalidReply => "invalid_reply",
            Self::NoInvalidations => "no_invalidations",
        }
    }
}

impl fmt::Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("redis is away: it cannot be connected to"),
            Self::UnknownHost => f.write_str("redis is away: its host is unknown"),
            Self::WrongPassword => f.write_str("redis refuses the user or the password"),
            Self::Certificate => f.write_str("redis and this client do not agree on certificates"),
            Self::WrongDatabase => f.write_str("redis has no database of this number"),
            Self::NoPermission(Some(command)) => {
                write!(f, "redis gives no permission for {}", command.to_ascii_uppercase())
            }
            Self::NoPermission(None) => {
                f.write_str("redis gives no permission for names under the key prefix")
            }
            Self::ReadOnly => f.write_str("redis is read-only"),
            Self::Full => f.write_str("redis is full"),
            Self::Cluster => {
                f.write_str("redis is a cluster, which needs an address of redis-cluster://")
            }
            Self::TooOld(Some(version)) => {
                write!(f, "redis {version} is too old, 7.0 or later is needed")
            }
            Self::TooOld(None) => f.write_str("redis is too old, 7.0 or later is needed"),
            Self::Refused(code) => write!(f, "redis refuses with {code}"),
            Self::InvalidReply => {
                f.write_str("redis sends what is no reply, or one beyond the limits of a reply")
            }
            Self::NoInvalidations => {
                f.write_str("redis does not tell of changes, so every turn reads from it")
            }
        }
    }
}

/// The command in `... no permissions to run the 'set' command`.
fn forbidden(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("run the '")?;
    let (command, _) = rest.split_once('\'')?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"|-_".contains(&byte);
    (command.len() <= 40 && command.bytes().all(is_plain)).then(|| command.to_ascii_lowercase())
}

/// Whether a word is the code of an error, such as `MISCONF`.
///
/// Anything else at the start of an error is prose, and is not repeated.
fn is_code(word: &str) -> bool {
    (3..=20).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_told_by_its_cause_and_never_by_its_text() {
        let said = |text: &'static str| Unready::of(&Error::new(ErrorKind::Unknown, text));
        let forbidden = |name: &str| Unready::NoPermission(Some(name.to_owned()));
        for (text, cause) in [
            ("WRONGPASS invalid username-password pair", Unready::WrongPassword),
            (
                "NOAUTH HELLO must be called with the client already authenticated",
                Unready::WrongPassword,
            ),
            ("NOPERM this user has no permissions to run the 'set' command", forbidden("set")),
            (
                "NOPERM User bob has no permissions to run the 'client|id' command",
                forbidden("client|id"),
            ),
            (
                "ERR ACL failure in script: User bob has no permissions to run the 'hset' command",
                forbidden("hset"),
            ),
            ("NOPERM No permissions to access a key", Unready::NoPermission(None)),
            ("READONLY You can't write against a read only replica.", Unready::ReadOnly),
            ("OOM command not allowed when used memory > 'maxmemory'.", Unready::Full),
            ("MOVED 3999 10.0.0.1:6381", Unready::Cluster),
            ("ERR DB index is out of range", Unready::WrongDatabase),
            ("ERR syntax error", Unready::TooOld(None)),
            ("MISCONF Redis is configured to save", Unready::Refused("MISCONF".to_owned())),
            ("hunter2 is no code", Unready::Unreachable),
        ] {
            assert_eq!(said(text), cause, "{text}");
            assert!(!cause.to_string().contains("bob"));
        }
        let secret = "NOPERM may not run the 'hunter2 secret' command";
        assert_eq!(said(secret), Unready::NoPermission(None));
    }
}
