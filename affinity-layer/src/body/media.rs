//! What the head says of a body: JSON in UTF-8, once and plainly.
//!
//! A type other than JSON is refused not only for its form: a web page may send plain text to any address
//! without asking, and JSON it may not.

use std::fmt;

use http::{HeaderMap, HeaderName, StatusCode, header};

/// Why a body is refused before any of it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MediaError {
    /// The content type is not that of JSON, or there is none.
    NotJson,
    /// A parameter says, or seems to say, that it is not UTF-8.
    Charset,
    /// A field that says how to read the body occurs twice: which of the two counts?
    Repeated(&'static str),
    /// The body is compressed, where that is not taken.
    Encoding,
}

impl MediaError {
    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotJson | Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Charset | Self::Repeated(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// The machine-readable code of the answer.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotJson => "unsupported_media_type",
            Self::Charset => "unsupported_charset",
            Self::Repeated(_) => "repeated_header",
            Self::Encoding => "unsupported_encoding",
        }
    }
}

impl fmt::Display for MediaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson => f.write_str("the body must be application/json"),
            Self::Charset => f.write_str("the charset must be utf-8"),
            Self::Repeated(name) => write!(f, "{name} is repeated"),
            Self::Encoding => f.write_str("the body must not be compressed"),
        }
    }
}

impl std::error::Error for MediaError {}

/// How the body is compressed: the one value of `content-encoding`, `?` for one that is not text. The body
/// itself must be JSON in UTF-8; a request without a content type passes only if it has no body.
///
/// # Errors
///
/// [`MediaError`] for what is no JSON in UTF-8, and for what two readers would take for two things.
pub fn check_media(headers: &HeaderMap, has_body: bool) -> Result<Option<&str>, MediaError> {
    let encoding = only(headers, &header::CONTENT_ENCODING, "content-encoding")?;
    let content_type = only(headers, &header::CONTENT_TYPE, "content-type")?;
    let (media, parameters) = match content_type {
        Some(value) => value.split_once(';').unwrap_or((value, "")),
        None if !has_body => return Ok(encoding),
        None => ("", ""),
    };
    if !is_json_media(media) {
        return Err(MediaError::NotJson);
    }
    if !parameters.split(';').all(is_utf8) {
        return Err(MediaError::Charset);
    }
    Ok(encoding)
}

/// The value of a field that may occur once. `?` replaces a value that is not text.
fn only<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    text: &'static str,
) -> Result<Option<&'a str>, MediaError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map(|value| value.to_str().unwrap_or("?").trim());
    match values.next() {
        Some(_) => Err(MediaError::Repeated(text)),
        None => Ok(first),
    }
}

/// Whether the content type is that of JSON, `application/json` or one with the suffix `+json`.
#[must_use]
pub fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.split(';').next()).is_some_and(is_json_media)
}

fn is_json_media(media: &str) -> bool {
    let Some((kind, form)) = media.trim().split_once('/') else { return false };
    let suffix = form.rsplit_once('+').map_or(form, |(_, suffix)| suffix);
    kind.eq_ignore_ascii_case("application") && suffix.eq_ignore_ascii_case("json")
}

/// Whether a parameter of a content type is not a charset, or one that means UTF-8. A parameter that
/// resembles a charset but is not plainly UTF-8, such as `charset*=utf-8''x`, is refused.
fn is_utf8(parameter: &str) -> bool {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    let is_charset =
        name.trim().get(.."charset".len()).is_some_and(|name| name.eq_ignore_ascii_case("charset"));
    let value = value.trim();
    let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
    let means_utf8 = ["utf-8", "utf8"].iter().any(|utf8| value.eq_ignore_ascii_case(utf8));
    !is_charset || name.trim().len() == "charset".len() && means_utf8
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn checked(fields: &[(&'static str, &'static str)]) -> Result<(), MediaError> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        check_media(&headers, true).map(drop)
    }

    #[test]
    fn only_json_in_utf8_passes() {
        for json in [
            "application/json",
            " Application/JSON ; charset=UTF-8",
            "application/json;charset=\"utf8\"; version=1",
            "application/vnd.api+json",
        ] {
            assert_eq!(checked(&[("content-type", json)]), Ok(()), "{json}");
        }
        for other in ["", "text/plain", "text/json", "application/jsonp", "json"] {
            assert_eq!(checked(&[("content-type", other)]), Err(MediaError::NotJson), "{other}");
        }
        for charset in ["latin1", "utf-16", "", "utf-7"] {
            let value: &'static str = format!("application/json; charset={charset}").leak();
            assert_eq!(checked(&[("content-type", value)]), Err(MediaError::Charset), "{value}");
        }
        let extended = "application/json; charset*=utf-8''x";
        assert_eq!(checked(&[("content-type", extended)]), Err(MediaError::Charset));
        assert_eq!(checked(&[]), Err(MediaError::NotJson));
        assert_eq!(check_media(&HeaderMap::new(), false), Ok(None), "it has no body");
        let json = ("content-type", "application/json");
        assert_eq!(checked(&[json, json]), Err(MediaError::Repeated("content-type")));
        let gzip = ("content-encoding", "gzip");
        assert_eq!(checked(&[json, gzip]), Ok(()));
        assert_eq!(checked(&[json, gzip, gzip]), Err(MediaError::Repeated("content-encoding")));
    }
}
