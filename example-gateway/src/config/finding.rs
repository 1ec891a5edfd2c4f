//! Errors and warnings of a configuration file.
//!
//! Readers report them at the place where a value is [read](super::at), and the file is read to its end all
//! the same: an operator mends five errors in one round and not in five.

use std::fmt;

/// One remark on a configuration file. It names the place and the rule, and never shows a value
/// that may be secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The file, as it was named by the user.
    pub file: String,
    /// The line, counted from 1; `None` when the file as a whole is meant.
    pub line: Option<u64>,
    /// The keys that lead to the value, for example `routing.session_cache.url`; empty for the
    /// whole file.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Finding {
    pub(super) fn on_file(file: &str, line: Option<u64>, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, path: String::new(), message: message.into() }
    }
}

impl fmt::Display for Finding {
    /// One line: `FILE:LINE: PATH: message`, without the parts that are not known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Every error of a configuration file, in the order of its lines; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub(super) Vec<Finding>);

impl ConfigErrors {
    /// The errors in the order of the file's lines.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.0.iter()
    }
}

impl From<Finding> for ConfigErrors {
    fn from(finding: Finding) -> Self {
        Self(vec![finding])
    }
}

impl fmt::Display for ConfigErrors {
    /// One line per error, without a newline at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// The name that `text` was most likely meant to be; nothing when no name is near.
pub(super) fn nearest<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::damerau_levenshtein(text, name), name))
        .filter(|(distance, name)| *distance <= name.len().max(3) / 3)
        .min()
        .map(|(_, name)| name)
}
