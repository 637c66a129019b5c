//! Which core gets a new request: the one that issued the session, else the least loaded.

use crate::id::CoreId;

/// What is known of a core when a request must be sent to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which core.
    pub core: CoreId,
    /// Requests under way to it.
    pub load: usize,
    /// Connected, and not draining.
    pub is_available: bool,
}

/// Picks a core for a request.
///
/// With a session only the core that issued it will do: another one doesn't know the record. A draining core still
/// serves its own sessions as long as its link stands. Without a session the least loaded is taken; the first
/// among equals.
#[must_use]
pub fn pick(candidates: &[Candidate], session: Option<CoreId>) -> Option<CoreId> {
    if let Some(issuer) = session {
        return candidates
            .iter()
            .map(|c| c.core)
            .find(|core| *core == issuer);
    }
    let available = candidates.iter().filter(|c| c.is_available);
    available.min_by_key(|c| c.load).map(|c| c.core)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(core: u8, load: usize, is_available: bool) -> Candidate {
        Candidate {
            core: CoreId(core),
            load,
            is_available,
        }
    }

    #[test]
    fn a_session_goes_to_the_core_that_issued_it_or_nowhere() {
        let cores = [candidate(1, 9, false), candidate(2, 0, true)];

        assert_eq!(pick(&cores, Some(CoreId(1))), Some(CoreId(1)));
        assert_eq!(pick(&cores, Some(CoreId(3))), None);
    }

    #[test]
    fn without_a_session_the_least_loaded_available_core_is_taken() {
        let cores = [
            candidate(1, 0, false),
            candidate(2, 5, true),
            candidate(3, 4, true),
        ];

        assert_eq!(pick(&cores, None), Some(CoreId(3)));
        assert_eq!(pick(&cores[..1], None), None);
    }
}
