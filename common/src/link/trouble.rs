//! Why there is no link, kept for whoever asks: the readiness of either edge.

use std::sync::{Arc, Mutex, PoisonError};

/// What went wrong last. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct LastTrouble(Arc<Mutex<Option<Trouble>>>);

/// What went wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// In words for an operator.
    pub reason: String,
    /// In words for an operator.
    pub remedy: String,
}

impl LastTrouble {
    /// Notes what went wrong.
    pub fn note(&self, reason: impl Into<String>, remedy: impl Into<String>) {
        let trouble = Trouble {
            reason: reason.into(),
            remedy: remedy.into(),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
    }

    /// Forgets it: there is a link.
    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What went wrong last, if anything did.
    #[must_use]
    pub fn last(&self) -> Option<Trouble> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
