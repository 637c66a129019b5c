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

// --- sign-in: XML ---

/// Deepest element of an XML answer from inside: UDS nests 5 deep, the edge configuration 6.
pub const XML_DEPTH_MAX: usize = 16;
/// Most elements of one XML answer: a cluster of 20 nodes or a user of 100 devices stays below 3,000.
pub const XML_ELEMENTS_MAX: usize = 8_192;
/// Most attributes of one XML element.
pub const XML_ATTRIBUTES_MAX: usize = 32;
/// Longest edge configuration that is read back: ten times a large real one.
pub const EDGE_CONFIG_BYTES_MAX: usize = 128 * 1024;
/// Most services of one edge configuration: three are known, the others get a refusal each.
pub const EDGE_CONFIG_SERVICES_MAX: usize = 16;
/// Most servers in one list of an edge configuration.
pub const EDGE_CONFIG_SERVERS_MAX: usize = 64;
/// Longest name of a service that a client may ask for: an SRV label with its underscore.
pub const SERVICE_NAME_BYTES_MAX: usize = DNS_LABEL_BYTES_MAX;
/// Longest `Route` value handed to clients: they send it back in every SIP request.
pub const SIP_ROUTE_BYTES_MAX: usize = 512;
