//! Every bound of the product, with its reason. Nothing a peer sends grows without one of these.

use std::time::Duration;

// --- names (RFC 1035 section 2.3.4) ---

/// Longest label of a DNS name, in octets.
pub const DNS_LABEL_BYTES_MAX: usize = 63;
/// Longest DNS name in text form, in octets.
pub const DNS_NAME_BYTES_MAX: usize = 253;

// --- link ---

/// A link that heard nothing for this long sends a keep-alive.
pub const LINK_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// A link that heard nothing for this long is dead: three keep-alives lost.
pub const LINK_DEAD_AFTER: Duration = Duration::from_secs(15);

// --- policy ---

/// Longest request target, in octets: RFC 9112 section 3 asks for 8,000 at least, and no client of ours comes near.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;
