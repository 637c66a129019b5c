//! The origin-form request target (RFC 9112 section 3.2.1), read strictly and normalised once.
