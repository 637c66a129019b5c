//! Long answers that wait for edge-e to fetch them over a pooled connection.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use http::Response;

use crate::limits;
use crate::runtime::body::Body;

/// Answers by token, for a short while.
#[derive(Debug, Default)]
pub struct Kept(Mutex<Answers>);

#[derive(Debug, Default)]
struct Answers {
    /// In the order they came: tokens only grow.
    by_token: BTreeMap<u64, (Instant, Response<Body>)>,
    last: u64,
}

impl Kept {
    /// Keeps an answer; `None` if too many wait, and this one is dropped.
    pub fn keep(&self, answer: Response<Body>, now: Instant) -> Option<u64> {
        let mut answers = self.answers();
        if answers.by_token.len() >= limits::EXCHANGES_KEPT_MAX {
            return None;
        }
        answers.last = answers.last.wrapping_add(1);
        let token = answers.last;
        answers.by_token.insert(token, (now, answer));
        Some(token)
    }

    /// Hands an answer out, once.
    pub fn take(&self, token: u64) -> Option<Response<Body>> {
        let (_, answer) = self.answers().by_token.remove(&token)?;
        Some(answer)
    }

    /// Drops the answers that nobody has fetched in time.
    pub fn tidy(&self, now: Instant) {
        let mut late = Vec::new();
        let mut answers = self.answers();
        while let Some(oldest) = answers.by_token.first_entry() {
            let (since, _) = oldest.get();
            if now.saturating_duration_since(*since) < limits::EXCHANGE_KEPT_FOR {
                break;
            }
            late.push(oldest.remove());
        }
        // Closing connections needs no lock.
        drop(answers);
        drop(late);
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::clock;

    fn answer() -> Response<Body> {
        Response::new(Body::from("long"))
    }

    #[test]
    fn an_answer_is_handed_out_once_and_only_for_a_while() {
        let (kept, now) = (Kept::default(), clock::now());
        let first = kept.keep(answer(), now).unwrap();
        let second = kept
            .keep(answer(), now + limits::EXCHANGE_KEPT_FOR / 2)
            .unwrap();
        let third = kept
            .keep(answer(), now + limits::EXCHANGE_KEPT_FOR)
            .unwrap();

        assert!(kept.take(second).is_some());
        assert!(kept.take(second).is_none());
        kept.tidy(now + limits::EXCHANGE_KEPT_FOR);
        assert!(kept.take(first).is_none());
        assert!(kept.take(third).is_some());
    }

    #[test]
    fn no_more_are_kept_than_allowed() {
        let kept = Kept::default();
        let tokens =
            (0..=limits::EXCHANGES_KEPT_MAX).filter_map(|_| kept.keep(answer(), clock::now()));

        assert_eq!(tokens.count(), limits::EXCHANGES_KEPT_MAX);
    }
}
