//! What a client may ask of the provider that gets what names no model.

use http::Method;

/// What a path is for, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access<'a> {
    /// Not for clients.
    No,
    /// Nothing that stays.
    Open,
    /// Something new in a collection, or all of one that nobody shares.
    Collection,
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

/// What is asked of an object, below its id, where the answer is an object that was made here and not one that
/// the request names.
const SHOWN: [(&str, &str); 4] = [
    ("batches", "cancel"),
    ("fine_tuning/jobs", "cancel"),
    ("uploads", "complete"),
    ("videos", "remix"),
];

/// What belongs to the owner of the account and not to its users: keys, members, costs.
const OWNER: [&str; 4] = ["admin", "dashboard", "organization", "organizations"];

/// What a request by `method` for `path`, below `/v1`, asks for. Where there are tenants, each may make new
/// things and reach its own: what is in none of the collections it may only post to.
pub(super) fn access<'a>(method: &Method, path: &'a str, are_tenants: bool) -> Access<'a> {
    let path = path.strip_prefix("/v1/").unwrap_or(path);
    if path.split('/').next().is_some_and(|first| OWNER.contains(&first)) {
        return Access::No;
    }
    let is_list = are_tenants && *method != Method::POST;
    let Some((_, below)) = collection(path) else {
        return if is_list { Access::List } else { Access::Open };
    };
    match below.split('/').next().filter(|id| !id.is_empty()) {
        Some(id) => Access::Item(id),
        None if is_list => Access::List,
        None => Access::Collection,
    }
}

/// Whether the ids in the answer are those of what was made, or of the object that is asked for. Elsewhere
/// below an object a client can have any id answered: that of a file which it adds, or what a file contains.
pub(super) fn shows_ids(method: &Method, path: &str) -> bool {
    let path = path.strip_prefix("/v1/").unwrap_or(path);
    let Some((name, below)) = collection(path) else { return false };
    match below.split_once('/') {
        None => !below.is_empty() || *method == Method::POST,
        Some((_, verb)) => *method == Method::POST && SHOWN.contains(&(name, verb)),
    }
}

/// The collection that `path` is in, and what follows its name.
fn collection(path: &str) -> Option<(&'static str, &str)> {
    COLLECTIONS.iter().find_map(|name| {
        let rest = path.strip_prefix(name)?;
        let below = if rest.is_empty() { Some("") } else { rest.strip_prefix('/') };
        Some((*name, below?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_reaches_its_own_and_the_owner_s_paths_are_for_nobody() {
        for (method, path, is_tenant, expected) in [
            (Method::POST, "/v1/files", true, Access::Collection),
            (Method::GET, "/v1/files", false, Access::Collection),
            (Method::GET, "/v1/files", true, Access::List),
            (Method::GET, "/v1/files/file-1/content", true, Access::Item("file-1")),
            (Method::DELETE, "/v1/files/file-1", false, Access::Item("file-1")),
            (Method::POST, "/v1/messages/batches/b1/cancel", true, Access::Item("b1")),
            (Method::POST, "/v1/fine_tuning/jobs", true, Access::Collection),
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

    #[test]
    fn only_what_makes_or_shows_an_object_tells_of_ids() {
        for (method, path, expected) in [
            (Method::POST, "/v1/files", true),
            (Method::GET, "/v1/files", false),
            (Method::GET, "/v1/batches/b1", true),
            (Method::POST, "/v1/batches/b1/cancel", true),
            (Method::POST, "/v1/fine_tuning/jobs/j1/cancel", true),
            (Method::POST, "/v1/uploads/u1/complete", true),
            (Method::POST, "/v1/videos/v1/remix", true),
            (Method::GET, "/v1/videos/v1/remix", false),
            (Method::POST, "/v1/vector_stores/vs1/files", false),
            (Method::GET, "/v1/vector_stores/vs1/files/file-1", false),
            (Method::GET, "/v1/files/file-1/content", false),
            (Method::POST, "/v1/files/file-1/cancel", false),
            (Method::POST, "/v1/embeddings", false),
        ] {
            assert_eq!(shows_ids(&method, path), expected, "{method} {path}");
        }
    }
}
