//! What all replicas of one run are configured with.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::config::{Config, Mode};

/// The configuration of every replica.
pub(super) const CONFIG: &str = include_str!("../../../config/replicas-demo.yaml");

/// Its two variables.
const URL: &str = "DEMO_REDIS_URL";
const PREFIX: &str = "DEMO_KEY_PREFIX";

/// Where the pins of one run are kept.
pub(super) struct Settings {
    redis: SecretString,
    prefix: String,
    redis_shown: String,
}

impl Settings {
    /// Settings for the Redis at `redis`, with a key prefix that no run had before: `verify` always
    /// takes the same session ids, so that a second run on one Redis would find the pins of the
    /// first, and pins that a real gateway keeps there are left alone. Nothing has to be deleted;
    /// the keys expire. After the prefix come the session id and the usual value.
    ///
    /// # Errors
    ///
    /// What is wrong with the address, which is not repeated: it may hold a password.
    pub(super) fn new(redis: &SecretString) -> Result<Self, String> {
        let run = Uuid::new_v4().simple().to_string();
        let prefix = format!("plano:affinity:demo-{}:", run.get(..8).unwrap_or(&run));
        let settings = Self { redis: redis.clone(), prefix, redis_shown: String::new() };
        let variable = |name: &str| settings.variables().find(|(own, _)| *own == name);
        let lookup = |name: &str| variable(name).map(|(_, value)| value.to_owned());
        let config = Config::parse(CONFIG, "replicas-demo.yaml", &lookup, Mode::UpstreamOverride);
        let config = config.map_err(|errors| {
            errors.iter().map(|error| error.message.as_str()).collect::<Vec<_>>().join("; ")
        })?;
        let redis_shown = config.routing.cache.to_string();
        Ok(Self { redis_shown, ..settings })
    }

    /// The environment of a replica.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [(URL, self.redis.expose_secret()), (PREFIX, self.prefix.as_str())].into_iter()
    }

    /// The address of Redis.
    pub(super) fn redis(&self) -> &SecretString {
        &self.redis
    }

    /// The address of Redis without user and password.
    pub(super) fn redis_shown(&self) -> &str {
        &self.redis_shown
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The key of a session, whose id must need no encoding.
    pub(super) fn key(&self, session: &str) -> String {
        format!("{}{session}", self.prefix)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("redis", &self.redis_shown).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password_and_no_two_runs_share_keys() {
        let url = SecretString::from("redis://user:hunter2@h:6390/1");
        let [one, two] = [&url, &url].map(|url| Settings::new(url).unwrap());
        assert_eq!(one.redis_shown(), "redis://h:6390/1");
        assert!(!format!("{one:?}").contains("hunter2"));
        assert!(one.key("s").starts_with("plano:affinity:demo-") && one.key("s").ends_with(":s"));
        assert_ne!(one.key("s"), two.key("s"));
    }

    #[test]
    fn a_wrong_address_is_refused_without_repeating_it() {
        for url in ["http://:hunter2@h", "hunter2", "redis://:hunter2@h:99999", ""] {
            let why = Settings::new(&SecretString::from(url)).unwrap_err();
            assert!(why.contains("must") && !why.contains("hunter2"), "{url}: {why}");
        }
    }
}
