//! An HTTP request as the protocol sees it: the marks of [`ext`](crate::ext), the head and the body.

use std::borrow::Cow;
use std::sync::Arc;

use http::request::Parts;
use serde::Deserialize;

use super::payload::{Payload, ReadBody};
use super::settings::Settings;
use crate::cooldown::Question;
use crate::decide::{Ask, Rules};
use crate::ext::{AnyModel, FallbackModel, MidTurn, NewTurn, Probe, RequestedModel};
use crate::outcome::Control;
use crate::{AffinityKey, ModelName, Rejection, RouteRequest, Selection, telemetry};

/// A request, and the settings that say what the application makes of it.
pub(super) struct HttpAsk<'a, B> {
    pub(super) settings: &'a Settings,
    pub(super) control: Control,
    pub(super) parts: &'a Parts,
    pub(super) body: &'a mut Payload<B>,
}

impl<B: ReadBody + Send> Ask for HttpAsk<'_, B> {
    type Question = RouteRequest;
    type Error = Rejection;

    fn control(&self) -> Control {
        self.control
    }

    fn is_probe(&self) -> bool {
        self.parts.extensions.get::<Probe>().is_some()
    }

    fn begins_turn(&self) -> bool {
        self.parts.extensions.get::<NewTurn>().is_some()
    }

    fn continues_turn(&self) -> bool {
        self.parts.extensions.get::<MidTurn>().is_some()
    }

    async fn read(&mut self) -> Result<(), Rejection> {
        self.body.read().await.map(drop)
    }

    fn question(&self, key: Option<&AffinityKey>) -> RouteRequest {
        RouteRequest::new(self.parts.clone(), self.body.bytes()).with_key(key.cloned())
    }

    /// In this order: a [`FallbackModel`], which may also say that there is none; a [`RequestedModel`];
    /// `model` in a JSON body, if it can be served; the default. Nothing else of the body is read, and a body
    /// that is no JSON names no model.
    fn requested(&self, rules: &Rules) -> Option<ModelName> {
        #[derive(Deserialize)]
        struct Body<'a> {
            #[serde(borrow)]
            model: Cow<'a, str>,
        }

        // A drained model stays the requested one, for the lane of its sessions; so this comes first.
        if let Some(FallbackModel(model)) = self.parts.extensions.get() {
            return model.clone();
        }
        if let Some(RequestedModel(model)) = self.parts.extensions.get() {
            return Some(model.clone());
        }
        let body = self.body.bytes();
        let named = serde_json::from_slice::<Body<'_>>(&body).ok();
        let named = named.and_then(|body| ModelName::new(&body.model).ok());
        named.filter(|model| rules.accepts(model)).or_else(|| rules.default_model.clone())
    }

    fn adopted(
        &self,
        key: &AffinityKey,
        current: Option<&Selection>,
        decided: Arc<Selection>,
    ) -> Arc<Selection> {
        match &self.settings.on_decision {
            Some(adopt) => adopt(self.parts, key, current, decided),
            None => decided,
        }
    }

    fn rank(&self, candidates: &mut [ModelName]) {
        let cooldowns = self.settings.cooldowns.as_ref().filter(|cooldowns| cooldowns.any());
        let Some(cooldowns) = cooldowns else { return };
        let first = candidates.first().cloned();
        candidates.sort_by_key(|model| cooldowns.cools(model, self.parts));
        if first.as_ref() != candidates.first() {
            telemetry::passed_over();
        }
    }

    fn repeated(&self, key: &AffinityKey, rules: &Rules) -> Option<Arc<Selection>> {
        let last = self.settings.cooldowns.as_ref()?.last_give_up(key)?;
        let is_same = last.asked.is_some() && last.asked == self.asked(rules);
        (is_same && rules.accepts(last.selection.model())).then_some(last.selection)
    }

    fn asked(&self, rules: &Rules) -> Option<Question> {
        self.settings.cooldowns.as_ref()?;
        // One for any model names none.
        let is_any = self.parts.extensions.get::<AnyModel>().is_some();
        let model = if is_any { None } else { self.requested(rules) };
        Some(Question::new(self.parts, model.as_ref()))
    }
}
