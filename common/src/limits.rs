//! Every bound of the product, with its reason. Nothing a peer sends grows without one of these.

use std::num::NonZeroU32;
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

/// Longest name of a deployment, in octets: it stands in every rule, log line and metric label.
pub const DEPLOYMENT_BYTES_MAX: usize = 64;

/// Most rules in an allow list: ten times the largest list in the field, a few megabytes once compiled.
pub const ALLOW_LIST_RULES_MAX: usize = 100_000;
/// Most tests in an allow list: one for each rule.
pub const ALLOW_LIST_TESTS_MAX: usize = 100_000;
/// Longest allow-list file, TOML or CSV, in octets: the most rules with some 300 octets each.
pub const ALLOW_LIST_FILE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most methods in one rule: more than HTTP and its extensions for files know together.
pub const ALLOW_LIST_METHODS_MAX: usize = 32;
/// Longest method name, in octets.
pub const ALLOW_LIST_METHOD_BYTES_MAX: usize = 32;
/// Longest description of a rule or test, in octets.
pub const ALLOW_LIST_DESCRIPTION_BYTES_MAX: usize = 1024;
/// Most problems that one reading of a file reports: more would not be read.
pub const ALLOW_LIST_PROBLEMS_MAX: usize = 50;
/// How much of a wrong value a message shows, in characters.
pub const ALLOW_LIST_SHOWN_CHARS_MAX: usize = 120;

/// Most events that one sliding window counts: each costs 16 octets for each key.
pub const RATE_LIMIT_COUNT_MAX: usize = 1000;

/// Authorisation failures of one address that are forgiven; the next one blocks it.
pub const JAIL_FAILURES_MAX: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);
/// How long an authorisation failure counts.
pub const JAIL_WINDOW: Duration = Duration::from_secs(600);
/// How long an address is refused.
pub const JAIL_BLOCK: Duration = Duration::from_secs(600);
/// Most addresses that are remembered for their failures, and as many that are refused: some 20 MB at worst.
pub const JAIL_ADDRESSES_MAX: usize = 50_000;

/// Most service domains: a table of them goes to every edge-e.
pub const DOMAINS_MAX: usize = 10_000;
