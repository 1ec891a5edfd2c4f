//! The models of a trace, with their prices.

use std::time::Duration;

use affinity_layer::ModelName;

use crate::config::{Config, known_model};
use crate::prices::Price;
use crate::switching::PricedModel;

/// Models that one trace may name.
const MAX_MODELS: usize = 100;

/// How long a provider's cache is taken to live where nothing says so: the shortest that is usual.
const CACHE_TTL: Duration = Duration::from_secs(300);

/// Finds the price of each model once.
#[derive(Debug, Default)]
pub struct Models {
    config: Option<Config>,
    found: Vec<FoundModel>,
}

#[derive(Debug)]
struct FoundModel {
    name: ModelName,
    price: Price,
    cache_ttl: Duration,
}

impl Models {
    /// Prices are those of `config`, else of the table of well-known models.
    #[must_use]
    pub fn new(config: Option<Config>) -> Self {
        Self { config, found: Vec::new() }
    }

    /// The place of a model.
    pub(super) fn find(&mut self, name: &ModelName) -> Result<usize, String> {
        if let Some(place) = self.found.iter().position(|found| found.name == *name) {
            return Ok(place);
        }
        if self.found.len() >= MAX_MODELS {
            return Err(format!("is the name of more than {MAX_MODELS} models"));
        }
        let found = self.configured(name).or_else(|| {
            let known = known_model(name.as_str())?;
            Some((known.price.clone(), known.cache_ttl))
        });
        let (price, cache_ttl) =
            found.ok_or_else(|| format!("no price is known of {name}; --config can give one"))?;
        let cache_ttl = cache_ttl.unwrap_or(CACHE_TTL);
        self.found.push(FoundModel { name: name.clone(), price, cache_ttl });
        Ok(self.found.len() - 1)
    }

    /// By its own entry, else by that of a wildcard.
    fn configured(&self, name: &ModelName) -> Option<(Price, Option<Duration>)> {
        let providers = &self.config.as_ref()?.providers;
        let own = providers.iter().find(|provider| provider.model == *name);
        let provider = own.or_else(|| providers.iter().find(|it| it.serves(name.as_str())))?;
        Some((provider.price_of(name)?.clone(), provider.cache_ttl_of(name)))
    }

    /// The model at a place that [`find`](Self::find) gave.
    pub(super) fn at(&self, place: usize) -> Option<PricedModel<'_>> {
        let FoundModel { name, price, cache_ttl } = self.found.get(place)?;
        Some(PricedModel { model: name, price: Some(price), cache_ttl: *cache_ttl })
    }
}
