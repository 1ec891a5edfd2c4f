//! Names of models and routes, checked once and ready to be sent as a header value.
//!
//! A model need not be one of a language model: whatever a session is to stay with, such as a shard, a
//! region or a backend, can be named by a [`ModelName`].
//!
//! A name is in every response, in every pin and in many log lines. It is checked where it comes in (a
//! configuration, a router's answer, a value in Redis), so that none of these places can fail on it, and it
//! holds its header value, so that a hit encodes and allocates nothing.
//!
//! Both types can be read and written by serde as strings. A name that breaks a rule is then an error of
//! the deserializer, which knows the place.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use http::HeaderValue;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest name of either kind, in bytes.
const MAX_LEN: usize = 256;

/// What cannot be in a header, and `%`, so that an escaped name can be read back.
const HEADER_ESCAPES: &AsciiSet = &CONTROLS.add(b'%');

/// A name and its header value. They differ only for a route with characters that a header cannot hold.
#[derive(Debug)]
struct Name {
    text: Box<str>,
    header: HeaderValue,
}

/// Why a model or route name was refused. Its text does not repeat the name, which may come from a router
/// or a store and be of any length.
///
/// ```
/// use affinity_layer::ModelName;
/// use affinity_layer::name::InvalidName;
///
/// assert_eq!(ModelName::new("").unwrap_err(), InvalidName::Empty);
/// assert_eq!(ModelName::new("two words").unwrap_err(), InvalidName::BadByte);
/// let long = "m".repeat(ModelName::MAX_LEN + 1);
/// assert_eq!(ModelName::new(&long).unwrap_err().to_string(), "the name is longer than 256 bytes");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidName {
    /// The name has no bytes.
    Empty,
    /// The name has more than [`ModelName::MAX_LEN`] bytes.
    TooLong,
    /// The name holds a byte that is not allowed.
    BadByte,
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the name is empty"),
            Self::TooLong => write!(f, "the name is longer than {MAX_LEN} bytes"),
            Self::BadByte => f.write_str("the name holds a byte that is not allowed"),
        }
    }
}

impl std::error::Error for InvalidName {}

/// The rules for the length, which are the same for both kinds, and those for each character.
fn check(text: &str, allowed: impl Fn(char) -> bool) -> Result<(), InvalidName> {
    if text.is_empty() {
        Err(InvalidName::Empty)
    } else if text.len() > MAX_LEN {
        Err(InvalidName::TooLong)
    } else if !text.chars().all(allowed) {
        Err(InvalidName::BadByte)
    } else {
        Ok(())
    }
}

/// The parts that both kinds of name share; they differ only in the check.
macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $type(Arc<Name>);

        impl $type {
            /// Longest name, in bytes.
            pub const MAX_LEN: usize = MAX_LEN;

            /// Checks `text` and makes a name of it.
            ///
            /// # Errors
            ///
            /// [`InvalidName`] when `text` breaks a rule of the type.
            pub fn new(text: &str) -> Result<Self, InvalidName> {
                check(text, $allowed)?;
                let escaped = utf8_percent_encode(text, HEADER_ESCAPES).to_string();
                let header = HeaderValue::from_maybe_shared(bytes::Bytes::from(escaped));
                Ok(Self(Arc::new(Name {
                    text: text.into(),
                    header: header.map_err(|_| InvalidName::BadByte)?,
                })))
            }

            /// The name as given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0.text
            }

            /// The name as a header value; cloning it does not allocate.
            #[must_use]
            pub fn header_value(&self) -> &HeaderValue {
                &self.0.header
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl PartialEq for $type {
            fn eq(&self, other: &Self) -> bool {
                Arc::ptr_eq(&self.0, &other.0) || self.as_str() == other.as_str()
            }
        }

        impl Eq for $type {}

        impl PartialEq<str> for $type {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl Hash for $type {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.as_str().hash(state);
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name! {
    /// A model as configured, for example `openai/gpt-4o`: 1 to [`MAX_LEN`](Self::MAX_LEN) visible ASCII
    /// bytes, so that it fits unchanged into a header, a log line and a store.
    ///
    /// Cloning shares the text. Two names are the same when their bytes are.
    ///
    /// ```
    /// use affinity_layer::ModelName;
    ///
    /// let model: ModelName = "openai/gpt-4o".parse()?;
    /// assert_eq!(model.as_str().split_once('/'), Some(("openai", "gpt-4o")));
    /// assert!(ModelName::new("two words").is_err());
    /// # Ok::<(), affinity_layer::name::InvalidName>(())
    /// ```
    ModelName, |c: char| c.is_ascii_graphic()
}

name! {
    /// The name of a route, for example `code generation`: 1 to [`MAX_LEN`](Self::MAX_LEN) bytes without
    /// control characters. In a header, bytes beyond ASCII and `%` are percent-encoded.
    ///
    /// Cloning shares the text.
    ///
    /// ```
    /// use affinity_layer::RouteName;
    ///
    /// let route = RouteName::new("Übersetzung, 100 %")?;
    /// assert_eq!(route.header_value(), "%C3%9Cbersetzung, 100 %25");
    /// assert_eq!(route.as_str(), "Übersetzung, 100 %");
    /// # Ok::<(), affinity_layer::name::InvalidName>(())
    /// ```
    RouteName, |c: char| !c.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_name_is_visible_ascii_of_bounded_length() {
        assert_eq!(ModelName::new("openai/gpt-4o").unwrap().as_str(), "openai/gpt-4o");
        assert_eq!(ModelName::new("").unwrap_err(), InvalidName::Empty);
        assert_eq!(ModelName::new(&"m".repeat(257)).unwrap_err(), InvalidName::TooLong);
        for bad in ["a b", "a\r\nb", "gpt-é", "\u{7f}"] {
            assert_eq!(ModelName::new(bad).unwrap_err(), InvalidName::BadByte, "{bad:?}");
        }
    }

    #[test]
    fn a_route_name_survives_as_a_header() {
        let route = RouteName::new("it's 100% für dich").unwrap();
        assert_eq!(route.header_value(), "it's 100%25 f%C3%BCr dich");
        assert_eq!(RouteName::new("a\nb").unwrap_err(), InvalidName::BadByte);
    }
}
