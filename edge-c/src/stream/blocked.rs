//! The last requests that the allow list refused, for operators: with the rule that would allow each.
//!
//! Nothing of the user and no query; the path stands in the rule, as the operator must judge it.

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};

use common::limits;
use common::net::Origin;
use common::runtime::clock;
use common::time::UnixTime;
use serde_json::{Value, json};

/// What was refused last.
#[derive(Debug, Default)]
pub struct Blocked(Mutex<VecDeque<Entry>>);

#[derive(Debug)]
struct Entry {
    at: UnixTime,
    method: String,
    origin: String,
    reason: String,
    rule: String,
}

impl Blocked {
    /// One more; with more than [`limits::BLOCKED_SHOWN_MAX`] the oldest goes.
    pub fn note(&self, method: &str, origin: &Origin, reason: &dyn Display, rule: &str) {
        let entry = Entry {
            at: clock::unix_now(),
            method: method.to_owned(),
            origin: origin.to_string(),
            reason: reason.to_string(),
            rule: rule.to_owned(),
        };
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The same again is the same wish: it moves to the end and leaves the others their place.
        entries.retain(|known| known.method != entry.method || known.rule != entry.rule);
        while entries.len() >= limits::BLOCKED_SHOWN_MAX {
            entries.pop_front();
        }
        entries.push_back(entry);
    }

    /// All of them, the last one first.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = entries.iter().rev().map(|entry| {
            json!({ "unix_time": entry.at.0, "method": entry.method, "origin": entry.origin,
                "reason": entry.reason, "rule_needed": entry.rule })
        });
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use common::net::{Host, Scheme};

    use super::*;

    #[test]
    fn the_last_refusals_are_kept_once_each_and_the_newest_comes_first() {
        let blocked = Blocked::default();
        let origin = Origin {
            scheme: Scheme::Https,
            host: Host::parse("a.example.com").unwrap(),
            port: NonZeroU16::new(8443).unwrap(),
        };
        for number in 0..limits::BLOCKED_SHOWN_MAX * 2 {
            blocked.note("GET", &origin, &"no rule", &format!("rule {number}"));
        }
        let again = limits::BLOCKED_SHOWN_MAX + 3;
        blocked.note("GET", &origin, &"no rule", &format!("rule {again}"));

        let shown = blocked.to_json();

        let shown = shown.as_array().unwrap();
        assert_eq!(shown.len(), limits::BLOCKED_SHOWN_MAX);
        assert_eq!(shown[0]["rule_needed"], format!("rule {again}"));
        assert_eq!(shown[0]["origin"], "https://a.example.com:8443");
    }
}
