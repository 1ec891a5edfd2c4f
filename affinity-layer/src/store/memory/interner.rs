//! Equal selections are stored once: a gateway has few routes and millions of sessions.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use crate::Selection;

/// Distinct selections that are kept for sharing. A router that answers with ever new ones costs
/// their own memory and no more than this here.
const MAX_SELECTIONS: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Interner(RwLock<HashSet<Arc<Selection>>>);

impl Interner {
    pub(super) fn intern(&self, selection: Arc<Selection>) -> Arc<Selection> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = known.get(&selection) {
            return shared.clone();
        }
        drop(known);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_SELECTIONS {
            known.clear();
        }
        known.insert(selection.clone());
        selection
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelName;

    fn selection(name: usize) -> Arc<Selection> {
        Arc::new(Selection::of(ModelName::new(&format!("m/{name}")).unwrap()))
    }

    #[test]
    fn equal_selections_are_one_and_their_number_is_bounded() {
        let interner = Interner::default();
        let first = interner.intern(selection(0));
        for name in 1..MAX_SELECTIONS {
            interner.intern(selection(name));
        }
        assert!(Arc::ptr_eq(&interner.intern(selection(0)), &first));
        interner.intern(selection(MAX_SELECTIONS));
        assert_eq!(interner.0.read().unwrap().len(), 1);
        assert!(!Arc::ptr_eq(&interner.intern(selection(0)), &first));
    }
}
