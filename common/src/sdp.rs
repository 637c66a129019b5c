//! Session descriptions (RFC 8866) as they pass in SIP bodies: reading what matters, and rewriting single lines so that
//! every other byte stays as it came. Knows nothing of calls; offer and answer live in [`crate::media::anchor`].
//!
//! [`body`] finds the description in a body, [`description`] finds its lines, [`rewrite`] writes it anew. Values are read
//! by `sdp-types`; its model is not used for writing, because it sorts lines, drops foreign ones and needs UTF-8.

pub mod body;
pub mod crypto;
pub mod description;
#[cfg(any(test, feature = "test-util"))]
pub mod fuzz;
pub mod profile;
pub mod rewrite;

#[cfg(test)]
mod tests;
