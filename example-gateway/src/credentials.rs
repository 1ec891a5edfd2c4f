//! Where a client puts its credentials. None of them reaches a provider that does not take the client's own.
//!
//! [`auth`](crate::edge::auth) and the [proxy](crate::upstream::proxy) share the list: a name that is
//! missing here is passed on as any header is, so the list errs on the long side.

use http::uri::PathAndQuery;
use http::{HeaderName, Uri};

/// Whether a header holds a credential by its name: those of the vendors' SDKs, of clouds, and of gateways
/// and proxies that may stand before or behind this one.
pub(crate) fn is_credential(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "authorization"
            | "cookie"
            | "x-api-key"
            | "api-key"
            | "x-goog-api-key"
            | "x-goog-iam-authorization-token"
            | "x-goog-iap-jwt-assertion"
            | "x-amz-security-token"
            | "x-amzn-oidc-accesstoken"
            | "x-amzn-oidc-data"
            | "ocp-apim-subscription-key"
            | "x-ms-token-aad-access-token"
            | "x-ms-token-aad-id-token"
            | "x-auth-token"
            | "x-access-token"
            | "x-forwarded-access-token"
            | "x-id-token"
            | "cf-access-token"
            | "cf-access-jwt-assertion"
            | "cf-access-client-secret"
            | "cf-aig-authorization"
            | "helicone-auth"
            | "x-portkey-api-key"
            | "x-litellm-api-key"
            | "x-bf-vk"
            | "x-bf-api-key"
            | "x-vault-token"
            | "x-github-token"
            | "private-token"
    )
}

/// Whether a pair of a query, as `name=value`, holds a credential by its name.
pub(crate) fn is_credential_pair(pair: &str) -> bool {
    let (name, _) = pair.split_once('=').unwrap_or((pair, ""));
    matches!(name, "key" | "api_key" | "api-key" | "apikey" | "access_token")
}

/// `uri` without the pairs of its query that are `unwanted`; `None` if there are none.
pub(crate) fn without_pairs(uri: &Uri, unwanted: impl Fn(&str) -> bool) -> Option<Uri> {
    let query = uri.query()?;
    if !query.split('&').any(&unwanted) {
        return None;
    }
    let kept: Vec<_> = query.split('&').filter(|pair| !unwanted(pair)).collect();
    let path = uri.path();
    let rest = match kept.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{}", kept.join("&")),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(rest).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_a_query_are_cut_out_and_the_rest_is_left() {
        for (uri, expected) in [
            ("/v1/messages", None),
            ("/v1/messages?beta=true", None),
            ("/v1/messages?key", Some("/v1/messages")),
            ("/v1/messages?key=s", Some("/v1/messages")),
            ("/v1/messages?a=1&key=s&beta=true", Some("/v1/messages?a=1&beta=true")),
            ("http://h/v1?api_key=s&access_token=t&x", Some("http://h/v1?x")),
            ("/v1?monkey=1", None),
        ] {
            let cut = without_pairs(&uri.parse().unwrap(), is_credential_pair);
            assert_eq!(cut.map(|uri| uri.to_string()).as_deref(), expected, "{uri}");
        }
    }
}
