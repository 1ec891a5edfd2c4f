//! Which models serve which kind of request, and other names for models.

use std::collections::BTreeMap;

use affinity_layer::{ModelName, RouteName};
use router_client::Preference;

use super::at::At;
use super::finding::nearest;
use super::providers::{self, Provider};

/// The preferences of the file: those of the top level, then the inline ones of providers.
pub(super) fn read(root: &At<'_>, declared: &[Provider]) -> Vec<Preference> {
    let mut preferences = Vec::new();
    for at in root.get("routing_preferences").iter().flat_map(At::items) {
        let Some(preference) = top_level(&at, declared) else { continue };
        if preferences.iter().any(|other: &Preference| other.name == preference.name) {
            at.error("a preference above has the same name");
        }
        preferences.push(preference);
    }
    for provider in providers::items(root) {
        inline(&provider, &mut preferences);
    }
    preferences
}

fn top_level(at: &At<'_>, declared: &[Provider]) -> Option<Preference> {
    let name = at.require("name").and_then(|name| name.parsed(RouteName::new));
    let description = description(at);
    let list = at.require("models");
    at.not_served(&["selection_policy"]);
    if list.as_ref().is_some_and(|list| list.is_list() && list.items().is_empty()) {
        at.error("models must name at least one model");
    }
    let models = list.map(|list| models(&list, declared)).unwrap_or_default();
    Some(Preference::new(name?, description, models))
}

/// The older form: a provider lists the routes that it serves. The same name on several providers is
/// one route with several models, in their order; the first description counts.
fn inline(provider: &At<'_>, preferences: &mut Vec<Preference>) {
    for at in provider.get("routing_preferences").iter().flat_map(At::items) {
        let name = at.require("name").and_then(|name| name.parsed(RouteName::new));
        let description = description(&at);
        let (Some(name), Some(model)) = (name, providers::model(provider)) else { continue };
        if model.as_str().ends_with("/*") {
            at.error("a wildcard names no single model, so it cannot serve a route");
        }
        match preferences.iter_mut().find(|preference| preference.name == name) {
            Some(known) if known.models.contains(&model) => {}
            Some(known) => known.models.push(model),
            None => preferences.push(Preference::new(name, description, [model])),
        }
    }
}

fn description(at: &At<'_>) -> String {
    at.get("description").and_then(|text| text.text_or_empty()).unwrap_or_default()
}

pub(super) fn aliases(root: &At<'_>, declared: &[Provider]) -> BTreeMap<String, ModelName> {
    let mut aliases = BTreeMap::new();
    for at in root.get("model_aliases").iter().flat_map(At::entries) {
        if declared.iter().any(|provider| provider.model.as_str() == at.key()) {
            at.error("is the name of a declared model, so it cannot be an alias");
        }
        if matches!(at.key(), "" | "auto") {
            at.error("cannot be an alias: auto lets the router choose, and a model has a name");
        }
        if !at.is_map() {
            at.error("must be a mapping: write {target: MODEL}");
            continue;
        }
        if let Some(target) = at.require("target").and_then(|target| model(&target, declared)) {
            aliases.insert(at.key().to_owned(), target);
        }
    }
    aliases
}

/// Declared models, each once.
pub(super) fn models(at: &At<'_>, declared: &[Provider]) -> Vec<ModelName> {
    let mut models = Vec::new();
    for item in at.items() {
        let Some(model) = model(&item, declared) else { continue };
        if models.contains(&model) {
            item.error("this model is listed above");
        }
        models.push(model);
    }
    models
}

/// A declared model by its full name, or by its id alone when only one provider has it or its
/// vendor has a wildcard.
fn model(at: &At<'_>, declared: &[Provider]) -> Option<ModelName> {
    let name = at.parsed(ModelName::new)?;
    if name.as_str().contains('*') {
        at.error("a wildcard names no single model");
        return None;
    }
    if declared.iter().any(|provider| provider.serves(name.as_str())) {
        return Some(name);
    }
    let mut same_id = declared.iter().filter(|provider| provider.id() == name.as_str());
    match (same_id.next(), same_id.next()) {
        (Some(provider), None) => return Some(provider.model.clone()),
        (Some(one), Some(other)) => {
            at.error(format!("is served by {} and {}; write which", one.model, other.model));
        }
        (None, _) => {
            if let Some(model) = providers::of_wildcard(declared, name.as_str()) {
                return Some(model);
            }
            if at.context.is_misnamed.get() {
                return None;
            }
            let known = declared.iter().map(|provider| provider.model.as_str());
            let hint = nearest(name.as_str(), known)
                .map(|known| format!(", did you mean {known}?"))
                .unwrap_or_default();
            at.error(format!("the model is not declared in model_providers{hint}"));
        }
    }
    None
}
