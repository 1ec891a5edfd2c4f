//! Which provider serves a model, and what a client may call it.
//!
//! [`Upstreams`] is the configuration as requests need it: looked up by name, not read. Intake asks what a
//! client means by a model, the router's answer is checked for what a model can take, and the proxy asks
//! where to send a request.
//!
//! A name is looked up in this order: `auto`; an alias, a full name, the bare id of a model, of which the
//! first entry counts; a full name or a bare id that a wildcard covers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use affinity_layer::cooldown::{Cooldowns, CoolingTarget, TargetKind};
use affinity_layer::ext::{AnyModel, RequestedModel};
use affinity_layer::{ModelName, PinnedModel};
use http::request::Parts;
use http::{Extensions, StatusCode};

use crate::config::{Config, ForwardProxies, Inputs, Protocols, Provider, of_wildcard};
use crate::error::ApiError;
use crate::extensions::HeldAt;
use crate::prices::Price;
use crate::protocol::Protocol;
use crate::telemetry::metrics;
use crate::upstream::drains::Drains;
use crate::upstream::targets;
use crate::upstream::vendor::Vendor;
use crate::upstream::windows::Windows;

/// Who serves what is no model of a provider.
const GATEWAY: &str = "gateway";

/// The configured models with their providers.
#[derive(Debug)]
pub(crate) struct Upstreams {
    providers: Vec<Provider>,
    proxies: ForwardProxies,
    /// By the name of the model; wildcards are left out.
    by_model: BTreeMap<String, usize>,
    /// What clients may call a model: its name, its bare id, or an alias.
    names: BTreeMap<String, ModelName>,
    aliases: BTreeMap<String, ModelName>,
    /// Every model that the configuration names, those of the providers first.
    known: Vec<ModelName>,
    /// The names of the routes.
    routes: BTreeSet<String>,
    default: Option<ModelName>,
    /// The provider of what names no model.
    passthrough: Option<usize>,
    /// Who is behind each of the providers.
    vendors: Vec<Vendor>,
    drains: Arc<Drains>,
    windows: Windows,
    cooldowns: Cooldowns,
    /// What can cool down, each with the models that it takes along.
    targets: BTreeMap<(TargetKind, String), Vec<ModelName>>,
}

/// A model that a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Requested {
    /// One that is served.
    Model(ModelName),
    /// `auto`: the router's choice, else the default.
    Auto,
}

/// Where a request goes.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(crate) model: &'a PinnedModel,
    pub(crate) provider: &'a Provider,
    /// That of the provider among [`Upstreams::providers`].
    pub(crate) place: usize,
}

impl Upstreams {
    /// The models of a configuration.
    pub(crate) fn new(config: &Config) -> Self {
        let providers = config.providers.clone();
        let numbered = providers.iter().zip(0..).filter(|(provider, _)| !provider.is_wildcard());
        let by_model = numbered.map(|(provider, index)| (provider.model.to_string(), index));
        let single = || providers.iter().filter(|provider| !provider.is_wildcard());
        let default = single().find(|provider| provider.default).or_else(|| single().next());
        let named = |provider: &Provider, name: &str| (name.to_owned(), provider.model.clone());
        // What a wildcard serves is a full name. Of two models with one id, the first is meant.
        let is_free = |id: &str| !providers.iter().any(|provider| provider.serves(id));
        let ids: Vec<_> = single().filter(|provider| is_free(provider.id())).collect();
        let ids = ids.into_iter().rev().map(|provider| named(provider, provider.id()));
        let full = single().map(|provider| named(provider, provider.model.as_str()));
        let routed = config.preferences.iter().flat_map(|preference| &preference.models);
        let mut known: Vec<_> = single().map(|provider| provider.model.clone()).collect();
        for model in routed.chain(config.aliases.values()) {
            if !known.contains(model) {
                known.push(model.clone());
            }
        }
        Self {
            by_model: by_model.collect(),
            // Of two equal names the later one stays.
            names: ids.chain(full).chain(config.aliases.clone()).collect(),
            aliases: config.aliases.clone(),
            routes: config.preferences.iter().map(|route| route.name.to_string()).collect(),
            known,
            default: default.map(|provider| provider.model.clone()),
            drains: Arc::default(),
            windows: Windows::new(&providers),
            cooldowns: targets::named(Cooldowns::new(), &providers, &config.proxies),
            targets: targets::all(&providers, &config.proxies),
            passthrough: config
                .passthrough
                .as_ref()
                .and_then(|model| providers.iter().position(|provider| provider.model == *model)),
            vendors: providers.iter().map(Vendor::of).collect(),
            proxies: config.proxies.clone(),
            providers,
        }
    }

    /// The same with `drains`, which outlive a configuration.
    #[must_use]
    pub(crate) fn with_drains(self, drains: Arc<Drains>) -> Self {
        Self { drains, ..self }
    }

    /// The same with what is in `cooldowns`, which outlive a configuration.
    #[must_use]
    pub(crate) fn with_cooldowns(self, cooldowns: &Cooldowns) -> Self {
        let named = targets::named(cooldowns.clone(), &self.providers, &self.proxies);
        Self { cooldowns: named, ..self }
    }

    /// The provider of what names no model, by its place.
    pub(crate) fn passthrough(&self) -> Option<usize> {
        self.passthrough
    }

    /// Who is behind the provider at `place`. What one of a vendor's models has made, its others have too.
    pub(crate) fn vendor_at(&self, place: usize) -> Option<Vendor> {
        self.vendors.get(place).copied()
    }

    /// Whether there is more than one vendor.
    pub(crate) fn have_vendors(&self) -> bool {
        self.vendors.iter().any(|vendor| Some(vendor) != self.vendors.first())
    }

    /// The only vendor that speaks `protocol`, by the first of its providers and its model.
    pub(crate) fn sole(&self, protocol: Protocol) -> Option<(usize, ModelName)> {
        let speak = |place: &usize| {
            self.providers.get(*place).is_some_and(|provider| provider.speaks(protocol))
        };
        let mut places = (0..self.providers.len()).filter(speak);
        let first = places.next()?;
        let is_sole = places.all(|place| self.vendor_at(place) == self.vendor_at(first));
        let model = self.providers.get(first)?.model.clone();
        is_sole.then_some((first, model))
    }

    /// The provider that has what `model` made, by its place: also if only another model of the same vendor
    /// is still configured.
    pub(crate) fn holder(&self, model: &ModelName) -> Option<usize> {
        let vendor = model.as_str().split_once('/').map_or("", |(vendor, _)| vendor);
        let named = || self.providers.iter().position(|provider| provider.model == *model);
        let of_vendor = || self.providers.iter().position(|provider| provider.prefix() == vendor);
        self.place(model).or_else(named).or_else(of_vendor)
    }

    /// What tokens of `model` cost; `None` if that is not known.
    pub(crate) fn price(&self, model: &ModelName) -> Option<&Price> {
        self.provider(model)?.price_of(model)
    }

    /// Whether the configuration has a route of this name.
    pub(crate) fn is_route(&self, name: &str) -> bool {
        self.routes.contains(name)
    }

    /// The models as they are configured, wildcards included.
    pub(crate) fn configured(&self) -> impl Iterator<Item = &ModelName> {
        self.providers.iter().map(|provider| &provider.model)
    }

    /// Who serves them, in the same order.
    pub(crate) fn providers(&self) -> &[Provider] {
        &self.providers
    }

    /// The configured models, in their order; wildcards are left out.
    pub(crate) fn models(&self) -> impl Iterator<Item = &Provider> {
        self.providers.iter().filter(|provider| !provider.is_wildcard())
    }

    /// All that a client may ask for by name, each with who serves it: models, aliases, and `auto`, which
    /// nobody in particular serves.
    pub(crate) fn listed(&self) -> impl Iterator<Item = (&str, &str)> {
        let models = self.models().map(|provider| (provider.model.as_str(), provider.prefix()));
        let aliases = self.aliases.iter().map(|(alias, model)| (&**alias, self.owner(model)));
        models.chain(aliases).chain([("auto", GATEWAY)])
    }

    /// Who serves what a client calls `name`; `None` when it may not ask for that.
    pub(crate) fn owner_of(&self, name: &str) -> Option<&str> {
        Some(match self.requested(name)? {
            Requested::Auto => GATEWAY,
            Requested::Model(model) => self.owner(&model),
        })
    }

    fn owner(&self, model: &ModelName) -> &str {
        self.provider(model).map_or(GATEWAY, Provider::prefix)
    }

    /// The model of a request that names none: the one marked as default, else the first.
    pub(crate) fn default_model(&self) -> Option<&ModelName> {
        self.default.as_ref()
    }

    /// What a client means by `name`: a full name, an alias, or the bare id of a model, which a
    /// wildcard may cover.
    pub(crate) fn requested(&self, name: &str) -> Option<Requested> {
        if name == "auto" {
            return Some(Requested::Auto);
        }
        let full = || ModelName::new(name).ok().filter(|model| self.serves(model));
        let model = self.names.get(name).cloned().or_else(full);
        model.or_else(|| of_wildcard(&self.providers, name)).map(Requested::Model)
    }

    /// What is drained.
    pub(crate) fn drains(&self) -> &Arc<Drains> {
        &self.drains
    }

    /// What was learned of providers that failed.
    pub(crate) fn cooldowns(&self) -> &Cooldowns {
        &self.cooldowns
    }

    /// How many tokens models take.
    pub(crate) fn windows(&self) -> &Windows {
        &self.windows
    }

    /// Another model for a session that has outgrown the one that it has: the first of its candidates that
    /// can take the request, else any configured one; one that cools only if all of them do. `None` where
    /// its own can, or no model can.
    pub(crate) fn larger(&self, request: &Parts, given: &PinnedModel) -> Option<ModelName> {
        let fits = |model| {
            self.place(model).is_some_and(|place| self.windows.fits(place, &request.extensions))
        };
        if !self.windows.any() || fits(given.model()) {
            return None;
        }
        let is_able = |model: &&ModelName| self.takes(model, request) && !self.drains.holds(model);
        let able = || given.candidates().iter().chain(&self.known).filter(is_able);
        let passed_over = self.passed_over();
        let open = able().find(|model| !passed_over.contains(model.as_str()));
        let larger = open.or_else(|| able().next())?;
        let place = self.place(given.model());
        if let Some(provider) = place.and_then(|place| self.providers.get(place)) {
            metrics::outgrown(&provider.model, "estimated");
        }
        Some(larger.clone())
    }

    /// Every target of the configuration by its kind and name, and whether it is passed over now.
    pub(crate) fn targets(&self) -> impl Iterator<Item = (&'static str, &str, bool)> {
        let cooling = self.cooldowns.list();
        self.targets.keys().map(move |(kind, name)| {
            let is_this = |cooling: &CoolingTarget| {
                (cooling.target.kind(), cooling.target.name()) == (*kind, name)
            };
            let cools = cooling.iter().any(|cooling| is_this(cooling) && cooling.is_passed_over());
            (kind.as_str(), name.as_str(), cools)
        })
    }

    /// The configured models that are passed over now.
    pub(crate) fn passed_over(&self) -> BTreeSet<&str> {
        let cooling = self.cooldowns.list();
        let cooling = cooling.iter().filter(|cooling| cooling.is_passed_over());
        let models = cooling.filter_map(|cooling| {
            let target = &cooling.target;
            self.targets.get(&(target.kind(), target.name().to_owned()))
        });
        models.flatten().map(ModelName::as_str).collect()
    }

    /// What a request falls back to instead of `model`: what was named for it, else the default, else
    /// any that speaks the protocol; `None` where all are drained.
    pub(crate) fn in_place_of(
        &self,
        model: Option<&ModelName>,
        request: &Parts,
    ) -> Option<ModelName> {
        let named = model.and_then(|model| self.drains.successor(model));
        let protocol = Protocol::of(request.uri.path());
        let configured = self.models().map(|provider| &provider.model);
        let mut others = self.default.iter().chain(configured);
        named.or_else(|| {
            let is_open = |model: &&ModelName| !self.drains.holds(model);
            others.find(|model| is_open(model) && self.speaks(model, protocol)).cloned()
        })
    }

    /// Whether `model` is configured, by its name or by a wildcard.
    pub(crate) fn serves(&self, model: &ModelName) -> bool {
        self.provider(model).is_some()
    }

    /// Who serves `model`.
    pub(crate) fn provider(&self, model: &ModelName) -> Option<&Provider> {
        self.providers.get(self.place(model)?)
    }

    /// Who is behind `model`.
    pub(crate) fn vendor(&self, model: &ModelName) -> Option<Vendor> {
        self.provider(model).map(Vendor::of)
    }

    /// The index of the provider of `model` among [`providers`](Self::providers).
    pub(crate) fn place(&self, model: &ModelName) -> Option<usize> {
        let name = model.as_str();
        self.by_model.get(name).copied().or_else(|| {
            let covers = |provider: &Provider| provider.is_wildcard() && provider.serves(name);
            if name.ends_with("/*") { None } else { self.providers.iter().position(covers) }
        })
    }

    /// The model that the layers above chose, and its provider.
    pub(crate) fn target<'a>(
        &'a self,
        request: &'a Extensions,
        protocol: Protocol,
    ) -> Result<Target<'a>, ApiError> {
        let Some(model) = request.get::<PinnedModel>() else {
            if self.drains.any() {
                let text = "every model that could serve this is being drained";
                let status = StatusCode::SERVICE_UNAVAILABLE;
                return Err(ApiError::new(status, "models_drained", text));
            }
            let text = "no route matches, and no model is configured as the default";
            return Err(ApiError::new(StatusCode::NOT_FOUND, "model_not_found", text));
        };
        let place = self.place(model.model());
        let found = place.and_then(|place| Some((place, self.providers.get(place)?)));
        let found = found.filter(|(_, provider)| provider.speaks(protocol));
        let (place, provider) = found.ok_or_else(|| {
            let text = "no provider of the model speaks the protocol of this path";
            // A failure of the candidate, so that a pin that was just made for it goes.
            ApiError::invalid("protocol_not_supported", text).lasting()
        })?;
        Ok(Target { model, provider, place })
    }

    /// Whether some model cannot take every request.
    pub(crate) fn are_limited(&self) -> bool {
        let all = (Protocols::default(), Inputs::ALL);
        self.have_vendors()
            || self.providers.iter().any(|provider| (provider.protocols, provider.input) != all)
    }

    /// Where a request goes that `model` does not accept: to the first of `candidates` that does, else to
    /// the requested model, else to any configured one. If none does, one that speaks the protocol will
    /// do. `None` leaves the request where it is.
    ///
    /// A client that names a model which does not speak its protocol gets an error, not another model.
    pub(crate) fn elsewhere(
        &self,
        request: &Parts,
        model: &ModelName,
        candidates: &[ModelName],
    ) -> Option<ModelName> {
        if self.takes(model, request) {
            return None;
        }
        self.another(request, model, candidates)
    }

    /// The same for a request of a session that has the model: one that is only too long for it moves the
    /// session, which is [failover's](affinity_layer::FailoverLayer::outgrown).
    pub(crate) fn detour(
        &self,
        request: &Parts,
        model: &ModelName,
        candidates: &[ModelName],
    ) -> Option<ModelName> {
        if self.handles(model, request) {
            return None;
        }
        self.another(request, model, candidates)
    }

    fn another(
        &self,
        request: &Parts,
        model: &ModelName,
        candidates: &[ModelName],
    ) -> Option<ModelName> {
        let protocol = Protocol::of(request.uri.path());
        let speaks = |model: &&ModelName| self.speaks(model, protocol);
        let asked_for = request.extensions.get().map(|RequestedModel(model)| model);
        let is_named = request.extensions.get::<AnyModel>().is_none() && asked_for == Some(model);
        let known = (!is_named || speaks(&model)).then_some(&self.known).into_iter().flatten();
        let others = || candidates.iter().chain(asked_for).chain(known.clone());
        let is_able = |model: &&ModelName| self.takes(model, request) && !self.drains.holds(model);
        let able = others().find(is_able);
        able.or_else(|| std::iter::once(model).chain(others()).find(speaks)).cloned()
    }

    /// Whether any provider speaks `protocol`.
    pub(crate) fn have(&self, protocol: Protocol) -> bool {
        self.providers.iter().any(|provider| provider.speaks(protocol))
    }

    /// Whether `model` can take a request, and the request is not too long for it.
    pub(crate) fn takes(&self, model: &ModelName, request: &Parts) -> bool {
        let fits = |place| self.windows.fits(place, &request.extensions);
        self.handles(model, request) && self.place(model).is_some_and(fits)
    }

    /// Whether `model` can take a request: it is served in the protocol, takes every kind of
    /// input that the body holds, and its provider has what the body names.
    fn handles(&self, model: &ModelName, request: &Parts) -> bool {
        let inputs = request.extensions.get().copied().unwrap_or_default();
        let held = request.extensions.get::<HeldAt>();
        let protocol = Protocol::of(request.uri.path());
        let place = self.place(model);
        let found = place.and_then(|place| Some((place, self.providers.get(place)?)));
        found.is_some_and(|(place, provider)| {
            provider.speaks(protocol)
                && provider.input.cover(inputs)
                && held.is_none_or(|HeldAt(vendor)| self.vendor_at(place) == Some(*vendor))
        })
    }

    /// The proxies on the way to them.
    pub(crate) fn proxies(&self) -> &ForwardProxies {
        &self.proxies
    }

    /// Whether `model` is served in `protocol`.
    pub(crate) fn speaks(&self, model: &ModelName, protocol: Protocol) -> bool {
        self.provider(model).is_some_and(|provider| provider.speaks(protocol))
    }
}
