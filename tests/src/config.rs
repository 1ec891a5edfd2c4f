//! Configurations of the gateway under test.

use std::fmt::Write;

use crate::{Gateway, ModelRouter, Upstream};

/// The models of every configuration that [`Setup`] writes.
pub mod models {
    /// The default; no route leads to it.
    pub const DEFAULT: &str = "openai/gpt-4o-mini";
    /// Where the route `one` leads.
    pub const ONE: &str = "openai/gpt-4o";
    /// Where the route `two` leads.
    pub const TWO: &str = "anthropic/claude-sonnet-4-20250514";
}

/// A gateway to be: three models of one provider, the routes `one` and `two`.
#[derive(Clone, Debug)]
pub struct Setup {
    base_url: String,
    listener: String,
    provider: String,
    routing: String,
    rest: String,
}

impl Setup {
    /// All models at `base_url`; the embedded router decides.
    #[must_use]
    pub fn new(base_url: &str) -> Self {
        let base_url = base_url.to_owned();
        let empty = String::new;
        Self { base_url, listener: empty(), provider: empty(), routing: empty(), rest: empty() }
    }

    /// All models at `upstream`; `router` decides, within five seconds.
    #[must_use]
    pub fn routed(upstream: &Upstream, router: &ModelRouter) -> Self {
        Self::new(&upstream.url()).router(&router.url(), 5_000)
    }

    /// A routing model at `url` decides, within `timeout` milliseconds.
    #[must_use]
    pub fn router(self, url: &str, timeout: u32) -> Self {
        self.routing(&format!(
            "router: {{type: llm, url: '{url}', model: Arch-Router, timeout_ms: {timeout}}}"
        ))
    }

    /// One more line for the listener.
    #[must_use]
    pub fn listener(mut self, line: &str) -> Self {
        let _ = writeln!(self.listener, "    {line}");
        self
    }

    /// One more line for each provider.
    #[must_use]
    pub fn provider(mut self, line: &str) -> Self {
        let _ = writeln!(self.provider, "    {line}");
        self
    }

    /// One more line for `routing`.
    #[must_use]
    pub fn routing(mut self, line: &str) -> Self {
        let _ = writeln!(self.routing, "  {line}");
        self
    }

    /// One more line at the top level.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        let _ = writeln!(self.rest, "{line}");
        self
    }

    /// The file.
    #[must_use]
    pub fn yaml(&self) -> String {
        let Self { base_url, listener, provider, routing, rest } = self;
        let mut yaml = format!(
            "version: v0.4.0\nlisteners:\n  - type: model\n    name: test\n    port: 12000\n\
             {listener}model_providers:\n"
        );
        for (model, key) in [
            (models::DEFAULT, "openai-secret"),
            (models::ONE, "openai-secret"),
            (models::TWO, "anthropic-secret"),
        ] {
            let default = model == models::DEFAULT;
            let _ = write!(
                yaml,
                "  - model: {model}\n    access_key: {key}\n    base_url: {base_url}\n    \
                 default: {default}\n{provider}"
            );
        }
        let _ = write!(
            yaml,
            "routing_preferences:\n  \
             - {{name: one, description: writing poems, models: [{}]}}\n  \
             - {{name: two, description: solving equations, models: [{}, {}]}}\n",
            models::ONE,
            models::TWO,
            models::ONE
        );
        if !routing.is_empty() {
            let _ = write!(yaml, "routing:\n{routing}");
        }
        yaml + rest
    }

    /// The gateway.
    pub async fn start(&self) -> Gateway {
        Gateway::start(&self.yaml()).await
    }
}
