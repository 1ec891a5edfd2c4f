//! Why a body is refused.

/// Why a body was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
