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
/// Longest greeting: names and versions only.
pub const LINK_GREETING_BYTES_MAX: usize = 4096;
/// Greeting and its answer must be done within this time, TLS handshake apart.
pub const LINK_GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest control frame: a full list of domains with their sign-in documents.
pub const CONTROL_FRAME_BYTES_MAX: usize = 1 << 20;
/// Most control messages that wait for the peer's acknowledgement; beyond it the whole state is sent anew.
pub const CONTROL_QUEUE_MAX: usize = 4096;
/// The clocks of the two boxes may differ by this much before it is alarmed: cookies and tokens carry times.
pub const CLOCK_SKEW_ALARM: Duration = Duration::from_secs(2);

// --- edge path (reference section 2) ---

/// Longest first path segment: base64 of the decoded form.
pub const EDGE_SEGMENT_BYTES_MAX: usize = 720;
/// Longest decoded first segment: two DNS names, a scheme, a port and three slashes.
pub const EDGE_SEGMENT_DECODED_BYTES_MAX: usize = 540;
const _: () = assert!(EDGE_SEGMENT_DECODED_BYTES_MAX >= 2 * DNS_NAME_BYTES_MAX + 5 + 5 + 3 + 2);
const _: () = assert!(EDGE_SEGMENT_DECODED_BYTES_MAX * 4 / 3 <= EDGE_SEGMENT_BYTES_MAX);
