use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use example_gateway::config::{Config, Mode, summary::summary};

/// Configurations: any text is read or refused with a place, and what was read can be shown.
pub fn config(data: &[u8]) {
    let Some(text) = crate::input::<&str>(data) else { return };
    // A fuzzer learns what its input is compared with, so the text would soon tell a value of its own.
    let value = format!("{:016x}", BuildHasherDefault::<DefaultHasher>::default().hash_one(data));
    let secret = |name: &str| (name != "MISSING").then(|| value.clone());
    match Config::parse(text, "fuzz.yaml", &secret, Mode::Full) {
        // A variable may be used in any place, so it may be shown where it is not a secret.
        Ok(config) => assert!(!summary(&config).to_string().is_empty()),
        Err(errors) => {
            let shown = errors.to_string();
            assert!(shown.starts_with("fuzz.yaml"), "{shown}");
            assert!(!shown.contains(&value), "{shown}");
        }
    }
}
