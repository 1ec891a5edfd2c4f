//! Equal selections are stored once: a gateway has few routes and millions of sessions.
//!
//! A selection with its candidates takes some hundred bytes, more than the rest of an entry. It is
//! looked up by value when a pin is stored, under a read lock; hits never come here.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use crate::Selection;

/// Distinct selections that are kept for sharing. A router that answers with ever new ones costs
/// their own memory and no more than this here.
const MAX_SELECTIONS: usize = 1024;

/// A set of the selections that were seen. When it is full it is emptied as a whole: pins keep
/// theirs by their `Arc`, and the common ones are back after a few inserts. To evict one at a time
/// would need an order of use, and all it could save is that.
#[derive(Debug, Default)]
pub(super) struct Interner(RwLock<HashSet<Arc<Selection>>>);

impl Interner {
    /// The selection that is shared by all that are equal to this one; this one, if it is the
    /// first.
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
