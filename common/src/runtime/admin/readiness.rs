//! Whether traffic may come: a list of named conditions, each with the reason if it is not met.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

/// The conditions of one process. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, Unmet>>>);

/// Why a condition is not met, and what to do; `None` if it is.
type Unmet = Option<(String, String)>;

/// One condition, in the hands of whoever knows about it.
#[derive(Clone, Debug)]
pub struct Condition {
    name: &'static str,
    readiness: Readiness,
}

impl Readiness {
    /// Adds a condition that is not met yet; `remedy` says what to do if that lasts.
    #[must_use]
    pub fn condition(&self, name: &'static str, remedy: &str) -> Condition {
        let condition = Condition {
            name,
            readiness: self.clone(),
        };
        condition.unmet("not reached yet", remedy);
        condition
    }

    /// Whether every condition is met.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let conditions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        conditions.values().all(Option::is_none)
    }

    /// The conditions in JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let conditions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = conditions.iter().map(|(name, unmet)| match unmet {
            None => json!({ "name": name, "ready": true }),
            Some((reason, remedy)) => {
                json!({ "name": name, "ready": false, "reason": reason, "remedy": remedy })
            }
        });
        lines.collect()
    }

    fn set(&self, name: &'static str, unmet: Unmet) {
        let mut conditions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        conditions.insert(name, unmet);
    }
}

impl Condition {
    /// The condition is met.
    pub fn met(&self) {
        self.readiness.set(self.name, None);
    }

    /// The condition is not met: why, and what to do.
    pub fn unmet(&self, reason: impl Into<String>, remedy: impl Into<String>) {
        let why = (reason.into(), remedy.into());
        self.readiness.set(self.name, Some(why));
    }
}
