//! Randomness for keys, names of allocations and ports.

use std::sync::atomic::{AtomicU64, Ordering};

/// Fills `octets` with random ones.
///
/// # Panics
/// If the system has no randomness: keys that can be guessed must not exist.
pub(super) fn fill(octets: &mut [u8]) {
    #[expect(
        clippy::expect_used,
        reason = "guessable keys would give calls away; the thread's end stops the process in order"
    )]
    aws_lc_rs::rand::fill(octets).expect("the system has randomness");
}

/// A random number that nobody should guess, but may.
pub(super) fn number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let mut octets = [0; 8];
    match aws_lc_rs::rand::fill(&mut octets) {
        Ok(()) => u64::from_ne_bytes(octets),
        Err(_) => LAST.fetch_add(1, Ordering::Relaxed),
    }
}
