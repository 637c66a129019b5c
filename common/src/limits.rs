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

// --- sessions ---

/// Cookies called `X-Auth` that are tried in one request. A client may still carry the cookie of an earlier sign-in or
/// of a sibling domain; every further one would cost edge-e an HMAC for nothing.
pub const COOKIE_CANDIDATES_MAX: usize = 4;
/// Revoked sessions that are remembered, on each edge. A tombstone goes when its session would have expired; over this
/// number the soonest to expire goes first, which costs a stream to edge-c and never lets a request through.
pub const TOMBSTONES_MAX: usize = 65_536;
/// A new filter key is made this often, or at the session lifetime if that is longer, so that two are always enough.
pub const FILTER_KEY_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
/// A new filter key is told to every edge-e this long before the first cookie is issued under it.
pub const FILTER_KEY_LEAD: Duration = Duration::from_secs(60);
/// How long a session lasts if the configuration does not say.
pub const SESSION_LIFETIME_DEFAULT: Duration = Duration::from_secs(28_800);
/// The longest lifetime the configuration may ask for.
pub const SESSION_LIFETIME_MAX: Duration = Duration::from_secs(604_800);
/// Sessions that one edge-c keeps: about 1.5 KB each in memory.
pub const SESSIONS_MAX: usize = 100_000;
/// Sessions of one user: a client signs in anew whenever it wakes up and forgets the earlier cookie.
pub const SESSIONS_PER_USER_MAX: usize = 16;
/// Nodes that a session may reach with the user's credential: a home cluster has 20 servers at most, IM and Presence
/// and voicemail clusters fewer.
pub const SESSION_NODES_MAX: usize = 64;
/// One session as it stands in the store, credential included.
pub const SESSION_RECORD_BYTES_MAX: usize = 32 * 1024;
/// The credential that is kept for the home cluster: a Basic value or a Bearer token of 8 KiB with its scheme.
pub const SESSION_CREDENTIAL_BYTES_MAX: usize = 8 * 1024 + 64;
/// Sessions in one page of a listing.
pub const SESSION_PAGE_MAX: usize = 100;
/// Changes are written to the snapshot this often; with the write itself a kill loses less than two seconds.
pub const SESSION_FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Records in one write to the snapshot, so that a revocation never waits long for its turn.
pub const SESSION_FLUSH_BATCH: usize = 2_048;
/// Changes that wait for the snapshot. Over this number (a disk that takes no writes) new sessions are only kept in
/// memory: a restart then asks those users to sign in again.
pub const SESSION_FLUSH_QUEUE_MAX: usize = 2 * SESSIONS_MAX;
/// Revocations that a link may lag behind before it must fetch the whole state again.
pub const TOMBSTONE_QUEUE_MAX: usize = 1_024;
/// A user name, in octets: Unified CM takes 128 characters.
pub const USER_NAME_BYTES_MAX: usize = 512;
/// The name of a client device, in octets: Unified CM takes 128 characters at most.
pub const DEVICE_NAME_BYTES_MAX: usize = 128;
/// The realm of a Basic challenge, in octets.
pub const REALM_BYTES_MAX: usize = 128;
/// The configured body of `get_edge_sso`, in octets.
pub const SSO_TEMPLATE_BYTES_MAX: usize = 16 * 1024;
/// The query of an edge verb, in octets: an e-mail address has at most 254, percent-encoded 762.
pub const VERB_QUERY_BYTES_MAX: usize = 2_048;

const _: () = assert!(FILTER_KEY_LEAD.as_secs() < FILTER_KEY_INTERVAL.as_secs());
const _: () = assert!(SESSION_LIFETIME_DEFAULT.as_secs() <= SESSION_LIFETIME_MAX.as_secs());
const _: () = assert!(SESSION_CREDENTIAL_BYTES_MAX * 2 < SESSION_RECORD_BYTES_MAX);
