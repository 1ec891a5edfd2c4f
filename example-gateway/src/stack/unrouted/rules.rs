//! What a client may ask of the provider that gets what names no model.

use http::Method;

/// What a path is for, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access<'a> {
    /// Not for clients.
    No,
    /// Something new, or nothing that stays.
    Open,
    /// The object with this id.
    Item(&'a str),
    /// What everyone with this account has made. Only tenants are told so.
    List,
}

/// The collections of objects that live at a provider.
const COLLECTIONS: [&str; 15] = [
    "assistants",
    "batches",
    "chat/completions",
    "containers",
    "conversations",
    "evals",
    "files",
    "fine_tuning/jobs",
    "messages/batches",
    "skills",
    "threads",
    "uploads",
    "vector_stores",
    "videos",
    "realtime/calls",
];

/// What belongs to the owner of the account and not to its users: keys, members, costs.
const OWNER: [&str; 4] = ["admin", "dashboard", "organization", "organizations"];

/// What a request by `method` for `path`, below `/v1`, asks for. A tenant may make new things and reach its
/// own: what is in none of the collections it may only post to.
pub(super) fn access<'a>(method: &Method, path: &'a str, is_tenant: bool) -> Access<'a> {
    let path = path.strip_prefix("/v1/").unwrap_or(path);
    if path.split('/').next().is_some_and(|first| OWNER.contains(&first)) {
        return Access::No;
    }
    let below = |name: &str| {
        let rest = path.strip_prefix(name)?;
        if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
    };
    let Some(rest) = COLLECTIONS.iter().find_map(|name| below(name)) else {
        return if is_tenant && *method != Method::POST { Access::List } else { Access::Open };
    };
    match rest.split('/').next().filter(|id| !id.is_empty()) {
        Some(id) => Access::Item(id),
        None if is_tenant && *method != Method::POST => Access::List,
        None => Access::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_reaches_its_own_and_the_owner_s_paths_are_for_nobody() {
        for (method, path, is_tenant, expected) in [
            (Method::POST, "/v1/files", true, Access::Open),
            (Method::GET, "/v1/files", false, Access::Open),
            (Method::GET, "/v1/files", true, Access::List),
            (Method::GET, "/v1/files/file-1/content", true, Access::Item("file-1")),
            (Method::DELETE, "/v1/files/file-1", false, Access::Item("file-1")),
            (Method::POST, "/v1/messages/batches/b1/cancel", true, Access::Item("b1")),
            (Method::POST, "/v1/fine_tuning/jobs", true, Access::Open),
            (Method::GET, "/v1/chat/completions/c1", true, Access::Item("c1")),
            (Method::POST, "/v1/audio/transcriptions", true, Access::Open),
            (Method::GET, "/v1/usage", true, Access::List),
            (Method::GET, "/v1/usage", false, Access::Open),
            (Method::GET, "/v1/filesystem/f1", true, Access::List),
            (Method::GET, "/v1/organization/users", false, Access::No),
            (Method::POST, "/v1/organizations/api_keys/k", true, Access::No),
        ] {
            assert_eq!(access(&method, path, is_tenant), expected, "{method} {path} {is_tenant}");
        }
    }
}
