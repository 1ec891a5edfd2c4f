//! The provider of requests that name no model, such as uploads.

use affinity_layer::ModelName;

use super::Provider;
use super::at::At;

/// The entry that `passthrough` names: by its `name`, by the first part of its model, or by its model. Of
/// several entries of one vendor the first is meant.
pub(super) fn read(root: &At<'_>, providers: &[Provider]) -> Option<ModelName> {
    let at = root.get("passthrough")?;
    let wanted = at.text()?;
    let wanted = wanted.as_str();
    let by_name = |provider: &&Provider| provider.name.as_deref() == Some(wanted);
    let by_vendor =
        |provider: &&Provider| provider.prefix() == wanted || provider.model.as_str() == wanted;
    let entry = providers.iter().find(by_name).or_else(|| providers.iter().find(by_vendor));
    if entry.is_none() {
        let mut known: Vec<_> = providers.iter().map(Provider::prefix).collect();
        known.dedup();
        at.error(format!("names no provider of model_providers; there are: {}", known.join(", ")));
    }
    entry.map(|provider| provider.model.clone())
}
