use example_gateway::config::{Config, Mode, summary};

/// Configurations: any text is read or refused with a place, and what was read can be shown.
pub fn config(data: &[u8]) {
    let Some(text) = crate::input::<&str>(data) else { return };
    let secret =
        |name: &str| (name != "MISSING").then(|| "a-secret-value-of-the-variable".to_owned());
    match Config::parse(text, "fuzz.yaml", &secret, Mode::Full) {
        // A variable may stand in any place, so it may be shown where it is no secret.
        Ok(config) => assert!(!summary(&config).to_string().is_empty()),
        Err(errors) => {
            let shown = errors.to_string();
            assert!(shown.starts_with("fuzz.yaml"), "{shown}");
            assert!(!shown.contains("a-secret-value-of-the"), "{shown}");
        }
    }
}
