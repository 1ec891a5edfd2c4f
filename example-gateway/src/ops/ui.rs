//! The live page: files without data, for everyone who reaches the admin address.
//!
//! The page asks for the token, and with it for [the stream of turns](crate::ops::live).

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::{HeaderName, header};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// Path, type and content of each file.
const FILES: [(&str, &str, &str); 21] = [
    ("/ui", HTML, include_str!("ui/index.html")),
    ("/ui/icon.svg", IMAGE, include_str!("ui/icon.svg")),
    ("/ui/page.css", CSS, include_str!("ui/page.css")),
    ("/ui/lanes.css", CSS, include_str!("ui/lanes.css")),
    ("/ui/cooldowns.css", CSS, include_str!("ui/cooldowns.css")),
    ("/ui/worth.css", CSS, include_str!("ui/worth.css")),
    ("/ui/page.js", SCRIPT, include_str!("ui/page.js")),
    ("/ui/feed.js", SCRIPT, include_str!("ui/feed.js")),
    ("/ui/lanes.js", SCRIPT, include_str!("ui/lanes.js")),
    ("/ui/lane.js", SCRIPT, include_str!("ui/lane.js")),
    ("/ui/cell.js", SCRIPT, include_str!("ui/cell.js")),
    ("/ui/figures.js", SCRIPT, include_str!("ui/figures.js")),
    ("/ui/groups.js", SCRIPT, include_str!("ui/groups.js")),
    ("/ui/steer.js", SCRIPT, include_str!("ui/steer.js")),
    ("/ui/cooldowns.js", SCRIPT, include_str!("ui/cooldowns.js")),
    ("/ui/drains.js", SCRIPT, include_str!("ui/drains.js")),
    ("/ui/worth.js", SCRIPT, include_str!("ui/worth.js")),
    ("/ui/call.js", SCRIPT, include_str!("ui/call.js")),
    ("/ui/palette.js", SCRIPT, include_str!("ui/palette.js")),
    ("/ui/unnamed.js", SCRIPT, include_str!("ui/unnamed.js")),
    ("/ui/format.js", SCRIPT, include_str!("ui/format.js")),
];

/// Nothing from elsewhere, nothing inline, in no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// The page and its parts.
pub(crate) fn router() -> Router {
    let mut router = Router::new();
    for (path, kind, content) in FILES {
        router = router.route(path, get(async move || file(kind, content)));
    }
    router
}

fn file(kind: &'static str, content: &'static str) -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, kind)];
    (kind, HEADERS, content)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::{Request, StatusCode};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn every_file_is_served_under_the_policy() {
        for (path, kind, _) in FILES {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let response = router().oneshot(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], kind, "{path}");
            for (name, value) in HEADERS {
                assert_eq!(response.headers()[&name], value, "{path}");
            }
        }
    }

    #[test]
    fn every_file_that_another_names_is_served() {
        for (path, _, content) in FILES {
            for quoted in content.split('"').skip(1).step_by(2) {
                let name = quoted.strip_prefix("./").map(|name| format!("/ui/{name}"));
                let name = name.or_else(|| quoted.starts_with("/ui/").then(|| quoted.to_owned()));
                let Some(name) = name else { continue };
                assert!(FILES.iter().any(|(path, ..)| *path == name), "{path} names {name}");
            }
        }
    }

    #[test]
    fn nothing_is_put_into_the_page_as_markup() {
        for (path, _, content) in FILES {
            for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
                assert!(!content.contains(way), "{path} uses {way}");
            }
        }
    }
}
