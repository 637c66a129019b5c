//! Pure decisions: what is allowed, how often, for which domain. No I/O, no clock.

pub mod allow_list;
pub mod deadlines;
pub mod domain;
pub mod fading;
pub mod jail;
pub mod rate_limit;
