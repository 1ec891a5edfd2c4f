//! The session in W3C baggage, which tracing libraries send along.
//!
//! Baggage is passed from service to service by libraries that its sender may not even know of. So it is
//! off by default, comes after every header that was meant for us, and is never refused: what cannot be
//! used names no session.

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use super::body;

/// A list of members, each a name, a value and properties.
const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// The member `session.id` of `baggage`, as OpenTelemetry's conventions name it. What is empty, too long,
/// no UTF-8 or there twice with different values names no session: whoever wrote it did not mean us.
///
/// Properties of the member are ignored. Its value is percent-decoded, as W3C has it, and then encoded as an
/// id from a body is, so that any text can be an id.
pub(super) fn session(headers: &HeaderMap) -> Option<HeaderValue> {
    let lists = headers.get_all(BAGGAGE).iter().filter_map(|list| list.to_str().ok());
    let mut values = lists.flat_map(|list| list.split(',')).filter_map(|member| {
        let (pair, _properties) = member.split_once(';').unwrap_or((member, ""));
        let (name, value) = pair.split_once('=')?;
        (name.trim() == "session.id").then(|| value.trim())
    });
    let value = values.next()?;
    if values.any(|other| other != value) {
        return None;
    }
    body::session(&percent_decode_str(value).decode_utf8().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_member_of_a_session_is_found_wherever_it_is() {
        for (lists, expected) in [
            (&["session.id=s"][..], Some("s")),
            (&["user.id=u, session.id = s ;p=1,x=y"], Some("s")),
            (&["user.id=u", "session.id=s"], Some("s")),
            (&["session.id=s,session.id=s"], Some("s")),
            (&["session.id=a%2Cb%20c%C3%A9"], Some("a%2Cb%20c%C3%A9")),
            (&["session.id=a%2fb"], Some("a/b")),
            (&["session.id=s,session.id=t"], None),
            (&["session.id="], None),
            (&["session.id=%ff"], None),
            (&["session.ids=s,session=s,session.id"], None),
            (&["x=y;session.id=s"], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for list in lists {
                headers.append(BAGGAGE, HeaderValue::from_static(list));
            }
            let found = session(&headers);
            let found = found.as_ref().map(|value| value.to_str().unwrap());
            assert_eq!(found, expected, "{lists:?}");
        }
        let long = format!("session.id={}", "x".repeat(257));
        let headers = HeaderMap::from_iter([(BAGGAGE, HeaderValue::try_from(long).unwrap())]);
        assert_eq!(session(&headers), None);
    }
}
