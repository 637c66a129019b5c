//! Session descriptions (RFC 8866) as they pass in SIP bodies: reading what matters, and rewriting single lines so that
//! every other byte stays as it came. Knows nothing of calls; offer and answer live in [`crate::media::anchor`].

pub mod crypto;
