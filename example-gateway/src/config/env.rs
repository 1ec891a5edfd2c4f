//! `$NAME` and `${NAME}` in values.
//!
//! By hand, because the well-kept crate for it (shellexpand) leaves an unclosed `${NAME` as it is, which
//! would be sent as a key, and takes the `$5` of a description for a variable.

/// Why a value could not be expanded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unexpanded {
    /// The variable is not set.
    Missing(String),
    /// A `${` that is not followed by a name and `}`.
    Malformed,
}

/// Looks a variable up.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces `$NAME` and `${NAME}` by what `env` knows, and `$$` by `$`. A `$` before anything else is
/// a `$`.
pub(super) fn expand(text: &str, env: Env<'_>) -> Result<String, Unexpanded> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        rest = match name(after)? {
            Some((name, rest)) => {
                out.push_str(&env(name).ok_or_else(|| Unexpanded::Missing(name.to_owned()))?);
                rest
            }
            None => {
                out.push('$');
                after.strip_prefix('$').unwrap_or(after)
            }
        };
    }
    out.push_str(rest);
    Ok(out)
}

/// The variable's name at the start of `text` and what follows it, `None` when there is no name.
fn name(text: &str) -> Result<Option<(&str, &str)>, Unexpanded> {
    let Some(braced) = text.strip_prefix('{') else {
        let len = name_len(text);
        return Ok((len > 0).then(|| text.split_at(len)));
    };
    match braced.split_once('}') {
        Some((name, rest)) if !name.is_empty() && name_len(name) == name.len() => {
            Ok(Some((name, rest)))
        }
        _ => Err(Unexpanded::Malformed),
    }
}

/// How many bytes of `text` are a name: letters, digits and `_`, no digit first.
fn name_len(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "A" => Some("one".to_owned()),
            "B_2" => Some("$A".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn names_expand_once_and_other_dollars_stay() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("$A", "one"),
            ("${A}", "one"),
            ("Bearer ${A}x $A-$B_2", "Bearer onex one-$A"),
            ("$$A costs 5$ or $5", "$A costs 5$ or $5"),
            ("$$$A", "$one"),
            ("ü$A", "üone"),
            ("$ü", "$ü"),
        ] {
            assert_eq!(expand(text, &env).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn missing_and_malformed_names_are_told() {
        for text in ["$NO", "x${NO}y"] {
            assert_eq!(expand(text, &env), Err(Unexpanded::Missing("NO".to_owned())), "{text}");
        }
        for text in ["${", "${}", "${A", "${A-B}", "${1}"] {
            assert_eq!(expand(text, &env), Err(Unexpanded::Malformed), "{text}");
        }
    }
}
