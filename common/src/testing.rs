//! What tests of the cores share. Compiled for tests only.

use std::time::Instant;

pub mod allow_list;
pub mod fuzz;
pub mod issuer;

/// A point in time for tests: the one place outside `runtime` that reads a clock.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "an Instant can only be made from the clock"
)]
pub fn epoch() -> Instant {
    Instant::now()
}
