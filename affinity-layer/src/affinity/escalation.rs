//! The order of models in which a session may move by a new decision.

use crate::ModelName;

/// Models from the weakest to the strongest; empty when every move is allowed.
#[derive(Clone, Debug, Default)]
pub(super) struct Escalation(Box<[ModelName]>);

impl Escalation {
    pub(super) fn new(models: impl IntoIterator<Item = ModelName>) -> Self {
        Self(models.into_iter().collect())
    }

    /// Whether a session may move. A model that is not listed counts as weaker than those that are.
    pub(super) fn allows(&self, from: &ModelName, to: &ModelName) -> bool {
        self.0.is_empty() || self.strength(to) > self.strength(from)
    }

    fn strength(&self, model: &ModelName) -> Option<usize> {
        self.0.iter().position(|listed| listed == model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_stronger_model_is_moved_to() {
        let model = |name: &str| ModelName::new(name).unwrap();
        let order = Escalation::new(["v/small", "v/large"].map(model));
        let allows = |from: &str, to: &str| order.allows(&model(from), &model(to));
        assert!(allows("v/small", "v/large") && !allows("v/large", "v/small"));
        assert!(!allows("v/small", "v/small"));
        assert!(allows("v/other", "v/small") && !allows("v/small", "v/other"));
        assert!(!allows("v/other", "v/another"));
        assert!(Escalation::default().allows(&model("v/large"), &model("v/small")));
    }
}
