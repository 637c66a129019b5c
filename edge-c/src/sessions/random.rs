//! Where random octets come from; tests put a counted source in its place.

use std::fmt;

/// The source failed, which the operating system's never should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no random octets to be had")]
pub struct RandomError;

/// A source of octets that nobody can foresee.
pub trait Random: fmt::Debug + Send + Sync {
    /// Fills `octets`.
    ///
    /// # Errors
    /// [`RandomError`] if there are none; `octets` must not be used then.
    fn fill(&self, octets: &mut [u8]) -> Result<(), RandomError>;
}

/// The source of the crypto library.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, octets: &mut [u8]) -> Result<(), RandomError> {
        aws_lc_rs::rand::fill(octets).map_err(|_| RandomError)
    }
}

pub(super) fn draw<const LENGTH: usize>(random: &dyn Random) -> Result<[u8; LENGTH], RandomError> {
    let mut octets = [0; LENGTH];
    random.fill(&mut octets)?;
    Ok(octets)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Counts: never the same octets twice, and the same in every run.
    #[derive(Debug, Default)]
    pub(in crate::sessions) struct CountedRandom(AtomicU64);

    impl Random for CountedRandom {
        fn fill(&self, octets: &mut [u8]) -> Result<(), RandomError> {
            let count = self.0.fetch_add(1, Ordering::Relaxed);
            for (octet, value) in octets.iter_mut().zip(count.to_le_bytes().iter().cycle()) {
                *octet = *value;
            }
            Ok(())
        }
    }

    #[test]
    fn the_system_source_gives_something_else_each_time() {
        let one: [u8; 32] = draw(&SystemRandom).unwrap();

        assert_ne!(one, draw(&SystemRandom).unwrap());
        assert_ne!(one, [0; 32]);
    }
}
