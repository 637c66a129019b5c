//! What attackers try.

mod flood;
mod media;
mod signalling;
