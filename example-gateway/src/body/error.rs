//! Why a body is refused.

/// Why a body was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// Not UTF-8.
    Utf8,
    /// Not JSON, or nested too deeply.
    Syntax {
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
