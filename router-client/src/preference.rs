//! What a router chooses from.

use std::slice;
use std::sync::Arc;

use affinity_layer::{ModelName, RouteDecision, RouteName, RouteRequest};
use serde::Deserialize;

/// What a route is for, and which models serve it.
///
/// It can be deserialized from an entry of `routing_preferences`; fields that are not listed here
/// are skipped.
///
/// ```
/// use affinity_layer::{ModelName, RouteName};
/// use router_client::Preference;
///
/// let models = [ModelName::new("openai/gpt-4o")?];
/// let poetry = Preference::new(RouteName::new("poetry")?, "poems and songs", models);
/// assert_eq!(poetry.description, "poems and songs");
/// # Ok::<(), affinity_layer::name::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Preference {
    /// The name of the route.
    pub name: RouteName,
    /// What the route is for, in words that a user would use too. Routers decide by it.
    #[serde(default)]
    pub description: String,
    /// The models that serve the route, best first. A route without models never matches.
    pub models: Vec<ModelName>,
}

impl Preference {
    /// A route of this name and description, served by `models`, best first.
    #[must_use]
    pub fn new(
        name: RouteName,
        description: impl Into<String>,
        models: impl IntoIterator<Item = ModelName>,
    ) -> Self {
        let (description, models) = (description.into(), models.into_iter().collect());
        Self { name, description, models }
    }
}

/// The routes that a router may choose from, in order. Cloning shares them.
///
/// A `Preferences` in the extensions of [`RouteRequest::parts`] takes the place of the configured
/// ones for that request; this is how preferences inside a request's body are honoured.
///
/// ```
/// use affinity_layer::RouteRequest;
/// use router_client::{LexicalRouter, Preferences};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let inline: Preferences = serde_json::from_str(
///     r#"[{"name": "poetry", "description": "poems", "models": ["openai/gpt-4o"]}]"#,
/// )?;
/// let (mut parts, ()) = http::Request::post("/v1/chat/completions").body(())?.into_parts();
/// parts.extensions.insert(inline);
///
/// let router = LexicalRouter::new(Preferences::default());
/// let body = r#"{"messages": [{"role": "user", "content": "A poem, please"}]}"#;
/// let decision = router.oneshot(RouteRequest::new(parts, body.into())).await?;
/// assert_eq!(decision.models[0].as_str(), "openai/gpt-4o");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<Preference>")]
pub struct Preferences(Arc<[Preference]>);

impl Preferences {
    /// Makes a list of `preferences`. Of two with one name, only the first can be chosen.
    #[must_use]
    pub fn new(preferences: impl IntoIterator<Item = Preference>) -> Self {
        Self(preferences.into_iter().collect())
    }

    /// The preferences in order.
    pub fn iter(&self) -> slice::Iter<'_, Preference> {
        self.0.iter()
    }

    /// The first preference of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Preference> {
        self.iter().find(|preference| preference.name == *name)
    }

    /// Whether there is nothing to choose from.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that come with `request`, else these.
    pub(crate) fn or_inline<'a>(&'a self, request: &'a RouteRequest) -> &'a Self {
        request.parts.extensions.get().unwrap_or(self)
    }
}

impl From<Vec<Preference>> for Preferences {
    fn from(preferences: Vec<Preference>) -> Self {
        Self::new(preferences)
    }
}

impl<'a> IntoIterator for &'a Preferences {
    type Item = &'a Preference;
    type IntoIter = slice::Iter<'a, Preference>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The decision for a matched preference, or for no match.
pub(crate) fn decision(matched: Option<&Preference>) -> RouteDecision {
    match matched {
        Some(preference) if !preference.models.is_empty() => {
            RouteDecision::new(preference.models.iter().cloned())
                .with_route(preference.name.clone())
        }
        _ => RouteDecision::none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_are_read_from_the_configured_form() {
        let preferences: Preferences = serde_json::from_str(
            r#"[{"name": "it's code", "description": "d", "models": ["a/b", "c/d"],
                 "selection_policy": {"prefer": "cheapest"}},
                {"name": "bare", "models": []}]"#,
        )
        .unwrap();
        let code = preferences.get("it's code").unwrap();
        assert_eq!(code.models, ["a/b", "c/d"].map(|model| ModelName::new(model).unwrap()));
        assert_eq!(decision(Some(code)).route.as_ref(), Some(&code.name));
        assert_eq!(decision(preferences.get("bare")), RouteDecision::none());
        assert_eq!(preferences.get("other"), None);
    }
}
