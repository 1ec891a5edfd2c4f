//! Paths as clients write them: what a base URL adds, and what was meant by a path that is not served.

use std::sync::Arc;

use http::Uri;
use http::uri::PathAndQuery;

/// Prefixes that base URLs of other gateways have, and that mean nothing here.
const PREFIXES: [&str; 2] = ["openai", "anthropic"];

/// The longest path that is compared with those served.
const MAX_COMPARED: usize = 256;

/// `uri` without doubled and trailing slashes, without a prefix of a vendor, and with one leading `/v1` of
/// several, which a base URL with `/v1` adds in a client that adds its own; `None` when there is nothing to
/// change.
pub(crate) fn canonical(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let mut segments = path.split('/').filter(|segment| !segment.is_empty()).peekable();
    segments.next_if(|first| PREFIXES.contains(first));
    let mut kept = String::with_capacity(path.len());
    while let Some(segment) = segments.next() {
        if kept.is_empty() && segment == "v1" && segments.peek() == Some(&"v1") {
            continue;
        }
        kept.push('/');
        kept.push_str(segment);
    }
    if kept == path || kept.is_empty() {
        return None;
    }
    if let Some(query) = uri.query() {
        kept.push('?');
        kept.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(kept).ok()?);
    Uri::from_parts(parts).ok()
}

/// Whether every server reads `path` as the same segments: none is made of dots or has parameters, and no
/// escape hides a slash, another escape, a control character or what needs no escape, such as a letter.
pub(crate) fn is_plain(path: &str) -> bool {
    let is_dots = |segment: &str| !segment.is_empty() && segment.bytes().all(|byte| byte == b'.');
    let hides = |after: &str| {
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        byte.is_none_or(|byte| {
            let needs_none = byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
            needs_none || byte.is_ascii_control() || b"/\\%;".contains(&byte)
        })
    };
    !path.contains(['\\', ';'])
        && !path.split('/').any(is_dots)
        && !path.split('%').skip(1).any(hides)
}

/// The paths that are served, for the message about one that is not.
#[derive(Clone, Debug)]
pub(crate) struct Served(Arc<[String]>);

impl Served {
    pub(crate) fn new(paths: impl IntoIterator<Item = String>) -> Self {
        // One that stands for many is no path to be told.
        Self(paths.into_iter().filter(|path| !path.contains('{')).collect())
    }

    /// The path of which `asked` is a misspelling, with at most two letters changed, or only the beginning.
    pub(crate) fn slip(&self, asked: &str) -> Option<&str> {
        let near = self.nearest(asked)?;
        let is_beginning = near.strip_prefix(asked).is_some_and(|rest| rest.starts_with('/'));
        (is_beginning || strsim::osa_distance(asked, near) <= 2).then_some(near)
    }

    /// The path that `asked` was most likely meant to be.
    pub(crate) fn nearest(&self, asked: &str) -> Option<&str> {
        let paths = self.0.iter().filter(|_| asked.len() <= MAX_COMPARED);
        // What is missing or too much, such as `/v1`, is forgotten more often than written wrong.
        let distance = |path: &&String| {
            let changed = strsim::osa_distance(asked, path);
            4 * changed.saturating_sub(asked.len().abs_diff(path.len()))
                + asked.len().abs_diff(path.len())
        };
        paths.min_by_key(distance).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_and_prefixes_are_taken_as_if_they_were_not_there() {
        for (uri, expected) in [
            ("/v1/messages", None),
            ("/", None),
            ("//", None),
            ("/openai", None),
            ("/v1/messages/", Some("/v1/messages")),
            ("//v1///messages//?beta=true", Some("/v1/messages?beta=true")),
            ("/openai/v1/responses", Some("/v1/responses")),
            ("/anthropic/v1/messages?a=//", Some("/v1/messages?a=//")),
            ("/openai/openai/v1/responses", Some("/openai/v1/responses")),
            ("/v1/chat/completions/", Some("/v1/chat/completions")),
            ("//v1//messages", Some("/v1/messages")),
            ("/v1/v1/chat/completions", Some("/v1/chat/completions")),
            ("/openai/v1/v1/v1/responses?a", Some("/v1/responses?a")),
            ("/openai/chat/completions", Some("/chat/completions")),
            ("/v1/models/v1/v1", None),
            ("/v1/files/v1", None),
            ("/v1/models/openai/gpt-4o", None),
            ("/v1/models/openai%2Fgpt-4o", None),
        ] {
            let canonical = canonical(&uri.parse().unwrap());
            assert_eq!(canonical.map(|uri| uri.to_string()).as_deref(), expected, "{uri}");
        }
    }

    #[test]
    fn a_path_is_plain_if_it_is_the_same_to_every_server() {
        for path in
            ["/v1/files", "/v1/files/file-1/content", "/v1/a.b/..c", "/v1/x%20y/%C3%A9", "/v1/"]
        {
            assert!(is_plain(path), "{path}");
        }
        for path in [
            "/v1/files/../admin",
            "/v1/./files",
            "/v1/files/...",
            "/v1/files/..%2fadmin",
            "/v1/files/%2e%2e/admin",
            "/v1/files/%2E./admin",
            "/v1/files%5cadmin",
            "/v1/files\\admin",
            "/v1/files/%252e%252e/admin",
            "/v1/files/%0d%0ax",
            "/v1/files/%00",
            "/v1/files/%",
            "/v1/files/%2",
            "/v1/files/%zz",
            "/v1/files/..%3b/admin",
            "/v1/organiz%61tion/users",
            "/v1/batche%73/b1/cancel",
            "/v1/%72esponses/r1",
            "/v1/vector%5fstores/%7E",
            "/v1/files/file%2d1",
            "/v1/organization;x/users",
        ] {
            assert!(!is_plain(path), "{path}");
        }
    }

    #[test]
    fn a_slip_is_near_to_what_was_meant() {
        let paths = ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/models"];
        let served = Served::new(paths.map(str::to_owned));
        for (asked, meant) in [
            ("/v1/v1/chat/completions", "/v1/chat/completions"),
            ("/chat/completions", "/v1/chat/completions"),
            ("/v1/message", "/v1/messages"),
            ("/responses", "/v1/responses"),
            ("/v1/model", "/v1/models"),
            ("/v1/chat", "/v1/chat/completions"),
            ("/v1", "/v1/models"),
        ] {
            assert_eq!(served.nearest(asked), Some(meant), "{asked}");
        }
        assert_eq!(served.nearest(&"/v1".repeat(100)), None);
        assert_eq!(served.slip("/v1/message"), Some("/v1/messages"));
        assert_eq!(served.slip("/v1/chat"), Some("/v1/chat/completions"));
        for path in ["/v1/files", "/v1/completions", "/v1/embeddings", "/v1/moderations"] {
            assert_eq!(served.slip(path), None, "{path}");
        }
    }
}
