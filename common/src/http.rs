//! HTTP as far as `hyper` leaves it to us: the request target in its one normalised form.

pub mod fields;
pub mod target;
