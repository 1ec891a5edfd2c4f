//! What of a configuration needs a restart.
//!
//! Sockets, the store and the exporter of traces are made once: a reload that changes one of them is rejected
//! as a whole, so that a gateway never serves half of a file. The credentials of the store may change.

use secrecy::{ExposeSecret, SecretString};

use super::{Config, RedisCache, SessionCache, url};

/// What `to` changes of `from` and only a restart can change, by its path; in words for the operator.
pub(crate) fn needs_restart(from: &Config, to: &Config) -> Vec<String> {
    let mut changes = Changes(Vec::new());
    let numbers = [from, to].map(|config| config.listeners.len().to_string());
    changes.note("the number of listeners", &numbers[0], &numbers[1]);
    for (number, (before, after)) in from.listeners.iter().zip(&to.listeners).enumerate() {
        let path = |key| format!("listeners[{number}].{key}");
        changes.note(&path("address"), &before.address, &after.address);
        changes.note(&path("port"), &before.port, &after.port);
        changes.note(&path("reuse_port"), &before.reuse_port, &after.reuse_port);
    }
    let admin = |config: &Config| config.admin.as_ref().map(|admin| admin.address.to_string());
    let none = || "none".to_owned();
    let [before, after] = [from, to].map(|config| admin(config).unwrap_or_else(none));
    changes.note("admin.address", &before, &after);
    let [before, after] = [from, to].map(|config| config.routing.max_entries);
    changes.note("routing.session_max_entries", &before, &after);
    store(&mut changes, &from.routing.cache, &to.routing.cache);
    let [before, after] = [from, to].map(|config| config.tracing.random_sampling);
    changes.note("tracing.random_sampling", &before, &after);
    let endpoint = |config: &Config| config.tracing.endpoint.as_ref().map(ToString::to_string);
    let [before, after] = [from, to].map(|config| endpoint(config).unwrap_or_else(none));
    changes.note("tracing.opentracing_grpc_endpoint", &before, &after);
    changes.0
}

fn store(changes: &mut Changes, from: &SessionCache, to: &SessionCache) {
    let (from, to) = match (from, to) {
        (SessionCache::Memory, SessionCache::Memory) => return,
        (SessionCache::Redis(from), SessionCache::Redis(to)) => (from, to),
        (SessionCache::Memory, SessionCache::Redis(_)) => {
            return changes.note("routing.session_cache.type", &"memory", &"redis");
        }
        (SessionCache::Redis(_), SessionCache::Memory) => {
            return changes.note("routing.session_cache.type", &"redis", &"memory");
        }
    };
    let address = |redis: &RedisCache| url::redis_without_secrets(redis.url.expose_secret());
    let file = |redis: &RedisCache| format!("{:?}", redis.ca_file);
    let shown = |redis: &RedisCache| format!("{:?}", redis.client_certificate);
    let timeout = |redis: &RedisCache| redis.command_timeout.as_millis();
    let durability = |redis: &RedisCache| format!("{:?}", redis.durability).to_lowercase();
    let mut note = |key: &str, before: &dyn ToString, after: &dyn ToString| {
        let path = format!("routing.session_cache.{key}");
        changes.note(&path, &before.to_string(), &after.to_string());
    };
    note("url", &address(from), &address(to));
    note("key_prefix", &from.key_prefix, &to.key_prefix);
    note("command_timeout_ms", &timeout(from), &timeout(to));
    note("durability", &durability(from), &durability(to));
    note("near_copies", &from.near_copies, &to.near_copies);
    note("require_store", &from.require_store, &to.require_store);
    note("ca_file", &file(from), &file(to));
    note("cert_file and key_file", &shown(from), &shown(to));
    let options = [from, to].map(|redis| without_user(redis.url.expose_secret()));
    if options[0] != options[1] && address(from) == address(to) {
        changes
            .0
            .push("routing.session_cache.url: a change of its options needs a restart".to_owned());
    }
    changes.secret("key_secret", from.key_secret.as_ref(), to.key_secret.as_ref());
    let previous = [from, to].map(|redis| redis.previous_key_secret.as_ref());
    changes.secret("previous_key_secret", previous[0], previous[1]);
}

/// An address without user and password, which may change.
fn without_user(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{rest}")
}

struct Changes(Vec<String>);

impl Changes {
    fn note<T: PartialEq + ToString>(&mut self, path: &str, before: &T, after: &T) {
        if before != after {
            let (before, after) = (before.to_string(), after.to_string());
            self.0.push(format!("{path}: a change from {before} to {after} needs a restart"));
        }
    }

    fn secret(&mut self, key: &str, before: Option<&SecretString>, after: Option<&SecretString>) {
        let shown =
            |secret: Option<&SecretString>| secret.map(|text| text.expose_secret().to_owned());
        if shown(before) != shown(after) {
            self.0.push(format!("routing.session_cache.{key}: a change needs a restart"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Mode;
    use super::*;

    const FILE: &str = "
version: v0.4.0
listeners: [{type: model, name: a, port: 12000}]
model_providers: [{model: a/one, base_url: 'http://h', access_key: key}]
routing:
  session_cache: {type: redis, url: 'redis://:old@h', key_prefix: 'p:', key_secret: hush-hush-hush-hush}
admin: {address: '127.0.0.1:12002', token: hush}
";

    fn changed(pairs: &[(&str, &str)]) -> Vec<String> {
        let read = |text: &str| Config::parse(text, "f", &|_| None, Mode::Full).unwrap();
        let text = pairs.iter().fold(FILE.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        needs_restart(&read(FILE), &read(&text))
    }

    #[test]
    fn models_keys_tokens_and_the_password_of_the_store_may_change() {
        for pair in [
            ("a/one", "b/two"),
            ("access_key: key", "access_key: other"),
            ("token: hush", "token: other"),
            (":old@", ":new@"),
            ("name: a", "name: b"),
        ] {
            assert_eq!(changed(&[pair]), [""; 0], "{pair:?}");
        }
    }

    #[test]
    fn what_was_made_at_the_start_is_named_and_no_secret_is_shown() {
        for (pair, path) in [
            (("port: 12000", "port: 12001"), "listeners[0].port"),
            (("port: 12000", "port: 12000, address: 127.0.0.2"), "listeners[0].address"),
            (("12002", "12003"), "admin.address"),
            (("admin: {address: '127.0.0.1:12002', token: hush}", ""), "admin.address"),
            (("@h'", "@other'"), "routing.session_cache.url"),
            (("@h'", "@h?x=hush'"), "routing.session_cache.url: a change of its options"),
            (("'p:'", "'q:'"), "routing.session_cache.key_prefix"),
            (("hush-hush-hush-hush", "hush-hush-hush-hus2"), "routing.session_cache.key_secret"),
            (("routing:", "routing:\n  session_max_entries: 7"), "routing.session_max_entries"),
            (("port: 12000}", "port: 12000}, {type: model, name: b, port: 1}"), "the number of"),
        ] {
            let said = changed(&[pair]);
            assert!(said.len() == 1 && said[0].starts_with(path), "{pair:?}: {said:?}");
            assert!(said[0].contains("restart") && !said[0].contains("hush"), "{said:?}");
        }
        let memory = (
            "type: redis, url: 'redis://:old@h', key_prefix: 'p:', key_secret: hush-hush-hush-hush",
            "type: memory",
        );
        assert!(changed(&[memory])[0].starts_with("routing.session_cache.type"));
    }
}
