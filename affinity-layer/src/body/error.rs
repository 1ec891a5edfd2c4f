//! Why a body is refused.

use std::fmt;

use http::StatusCode;

use super::media::MediaError;
use crate::Rejection;

/// Why a body was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyError {
    /// Not UTF-8.
    Utf8,
    /// Not JSON, or JSON that not every parser reads.
    Syntax {
        /// What is wrong there.
        fault: Fault,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in bytes.
        column: usize,
    },
    /// JSON, and not an object.
    Type,
    /// A member that we act on occurs twice.
    Duplicate(&'static str),
    /// A key that other parsers take for this one of ours.
    Disguised(&'static str),
    /// A member has a value that no provider can mean.
    Value(&'static str),
}

/// What a parser of JSON stumbles over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// No JSON.
    Json,
    /// More levels of lists and objects than 127.
    Nesting,
    /// A number beyond what a double can hold.
    Number,
    /// A byte order mark before the first byte, which RFC 8259 forbids.
    ByteOrderMark,
}

impl BodyError {
    /// The machine-readable code of the answer, whose status is 400.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Utf8 | Self::Syntax { .. } => "invalid_json",
            Self::Type => "invalid_json_type",
            Self::Duplicate(_) => "duplicate_key",
            Self::Disguised(_) => "ambiguous_key",
            Self::Value(_) => "invalid_value",
        }
    }

    /// The member that is at fault.
    #[must_use]
    pub fn member(&self) -> Option<&'static str> {
        match self {
            Self::Duplicate(name) | Self::Disguised(name) | Self::Value(name) => Some(name),
            Self::Utf8 | Self::Syntax { .. } | Self::Type => None,
        }
    }
}

impl fmt::Display for BodyError {
    /// For the client: it names the rule and never the value that broke it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Utf8 => f.write_str("the body is not UTF-8"),
            Self::Syntax { fault, line, column } => {
                let what = match fault {
                    Fault::Json => "the body is not JSON",
                    Fault::Nesting => "the body nests lists and objects in more than 127 levels",
                    Fault::Number => "the body has a number that is out of range",
                    Fault::ByteOrderMark => "the body begins with a byte order mark; leave it out",
                };
                write!(f, "{what}: line {line}, column {column}")
            }
            Self::Type => f.write_str("the body must be a JSON object"),
            Self::Value(name) => write!(f, "{name} has an invalid value"),
            Self::Disguised(name) => {
                write!(f, "the body has a key that may be read as {name}: write it {name}")
            }
            Self::Duplicate(name) => write!(f, "the body has the key {name} twice"),
        }
    }
}

impl std::error::Error for BodyError {}

/// Why a [`CheckBodyLayer`](super::CheckBodyLayer) refuses a request. It is also in the extensions of the
/// response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyRefusal {
    /// By its head.
    Media(MediaError),
    /// It is larger than may be held. Holds the limit in bytes.
    TooLarge(usize),
    /// It could not be read to its end.
    Broken,
    /// By what is in it.
    Content(BodyError),
}

impl BodyRefusal {
    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Media(error) => error.status(),
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Broken | Self::Content(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// The machine-readable code of the answer.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Media(error) => error.code(),
            Self::TooLarge(limit) => Rejection::BodyTooLarge(*limit).code(),
            Self::Broken => Rejection::InvalidBody.code(),
            Self::Content(error) => error.code(),
        }
    }

    /// The member that is at fault.
    #[must_use]
    pub fn member(&self) -> Option<&'static str> {
        match self {
            Self::Content(error) => error.member(),
            Self::Media(_) | Self::TooLarge(_) | Self::Broken => None,
        }
    }
}

impl fmt::Display for BodyRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Media(error) => error.fmt(f),
            Self::TooLarge(limit) => Rejection::BodyTooLarge(*limit).fmt(f),
            Self::Broken => Rejection::InvalidBody.fmt(f),
            Self::Content(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BodyRefusal {}

impl From<Rejection> for BodyRefusal {
    /// What reading a body is refused for.
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::BodyTooLarge(limit) => Self::TooLarge(limit),
            _ => Self::Broken,
        }
    }
}
