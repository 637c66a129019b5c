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

// --- configuration files ---

/// Largest configuration file: a few hundred domains and nodes are a tenth of this.
pub const CONFIG_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Largest certificate, key or trust anchor file: the public trust store of a system is 250 KB.
pub const PEM_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Most entries of one list in a configuration file.
pub const CONFIG_LIST_MAX: usize = 1024;
/// Longest text value in a configuration file: room for an answer template, not for a file.
pub const CONFIG_TEXT_BYTES_MAX: usize = 16 * 1024;
/// How much of a refused value an error message repeats.
pub const CONFIG_VALUE_SHOWN_CHARS_MAX: usize = 60;
/// Longest duration that a configuration file may state; keeps sums with wall-clock time far from overflow.
pub const CONFIG_DURATION_MAX: Duration = Duration::from_hours(10 * 366 * 24);
/// A certificate that expires sooner than this is warned about: two renewal attempts a week fit in.
pub const CERTIFICATE_EXPIRY_WARNING: Duration = Duration::from_hours(21 * 24);
/// Most modules with a level of their own in a log filter: each is compared with every event that is not cached.
pub const LOG_FILTER_TARGETS_MAX: usize = 32;
/// How long requests in flight may go on after a stop was asked for, if nothing else is set.
pub const DRAIN_GRACE_DEFAULT: Duration = Duration::from_secs(30);
/// Longest grace: service managers and orchestrators give up waiting sooner.
pub const DRAIN_GRACE_MAX: Duration = Duration::from_hours(1);
/// Most worker threads that may be asked for.
pub const WORKER_THREADS_MAX: u16 = 512;
/// Longest window of a rate limit: what is counted is kept in memory for that long.
pub const RATE_WINDOW_MAX: Duration = Duration::from_hours(24);
/// Highest count of a rate limit.
pub const RATE_COUNT_MAX: u32 = 1_000_000;

// --- defaults of edge-e ---

/// Client connections at a time, if nothing else is set: at 40 KiB of TLS and HTTP state each, 400 MiB.
pub const PUBLIC_CONNECTIONS_DEFAULT: u32 = 10_000;
/// Most that may be set: beyond it file descriptors and ephemeral ports run out first.
pub const PUBLIC_CONNECTIONS_MAX: u32 = 1_000_000;
/// Client connections at a time from one address: an office of some hundred people behind one NAT.
pub const PUBLIC_CONNECTIONS_PER_ADDRESS_DEFAULT: u32 = 2_000;
/// New client connections per second from one address: each costs a TLS handshake, about 0.3 ms of a core.
pub const PUBLIC_CONNECTIONS_PER_SECOND_PER_ADDRESS_DEFAULT: u32 = 200;
/// Sign-in verbs from one address within [`SIGN_IN_PER_ADDRESS_WINDOW_DEFAULT`]: a whole office comes in at nine.
pub const SIGN_IN_PER_ADDRESS_DEFAULT: u32 = 600;
/// Window of [`SIGN_IN_PER_ADDRESS_DEFAULT`].
pub const SIGN_IN_PER_ADDRESS_WINDOW_DEFAULT: Duration = Duration::from_mins(1);
/// Admin port of edge-e.
pub const ADMIN_PORT_EDGE_E: u16 = 9001;

// --- defaults of edge-c ---

/// Admin port of edge-c: another than edge-e's, so that both can run on one machine.
pub const ADMIN_PORT_EDGE_C: u16 = 9002;
/// Connections of a link for HTTP/2 streams: one is a bottleneck of its own, more than eight gain nothing.
pub const LINK_CONNECTIONS_DEFAULT: u8 = 4;
/// Most that may be set.
pub const LINK_CONNECTIONS_MAX: u8 = 64;
/// Port of public HTTPS, as clients expect it.
pub const PUBLIC_HTTPS_PORT: u16 = 8443;
/// Port of public SIP, as clients expect it.
pub const PUBLIC_SIP_PORT: u16 = 5061;
/// Port of public XMPP, as clients expect it.
pub const PUBLIC_XMPP_PORT: u16 = 5222;
/// How long an inside name server may take for one answer.
pub const DNS_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
/// Most that may be set: a client waits for the whole sign-in no longer than about 20 s.
pub const DNS_TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// How long an inner server may take to accept a connection: it is in the same building.
pub const INSIDE_CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(3);
/// How long an inner server may take until the head of its answer: directory searches are slow.
pub const INSIDE_RESPONSE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// How long a connection to an inner server waits for its next request; below the 60 s that common servers allow.
pub const INSIDE_IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Most that may be set for any of the three.
pub const INSIDE_TIMEOUT_MAX: Duration = Duration::from_mins(10);
/// Connections to one inner server at a time.
pub const INSIDE_CONNECTIONS_PER_NODE_DEFAULT: u16 = 256;
/// Most that may be set.
pub const INSIDE_CONNECTIONS_PER_NODE_MAX: u16 = 8_192;
/// Proofs of one user's password within [`LOGIN_WINDOW_DEFAULT`]: the vendor's documented value.
pub const LOGIN_COUNT_DEFAULT: u32 = 3;
/// Window of [`LOGIN_COUNT_DEFAULT`]: the vendor's documented value.
pub const LOGIN_WINDOW_DEFAULT: Duration = Duration::from_mins(5);
/// How long a proved password need not be proved again: the vendor's default.
pub const CREDENTIAL_CACHE_DEFAULT: Duration = Duration::from_mins(480);
/// Most that may be set: a changed password must not live on for days.
pub const CREDENTIAL_CACHE_MAX: Duration = Duration::from_hours(24);
/// How long a session lasts: the vendor's default.
pub const SESSION_LIFETIME_DEFAULT: Duration = Duration::from_secs(28_800);
/// Most that may be set: the vendor's upper end, a week.
pub const SESSION_LIFETIME_MAX: Duration = Duration::from_secs(604_800);

// --- operation ---

/// How often watched files are compared with what they were: an operator who saves a file looks up within seconds.
pub const RELOAD_POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How long changed files must be at rest before they count: longer than it takes to write a key after its certificate.
pub const RELOAD_SETTLE: Duration = Duration::from_millis(250);
/// How often files that keep changing are given another [`RELOAD_SETTLE`].
pub const RELOAD_SETTLE_TRIES_MAX: u32 = 8;
/// Most connections to the admin listener at a time: one scraper, one person, one probe, and room.
pub const ADMIN_CONNECTIONS_MAX: usize = 32;
/// Largest body of an admin request: a log filter.
pub const ADMIN_BODY_BYTES_MAX: usize = 4 * 1024;
/// How long an admin request may take as a whole.
pub const ADMIN_REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// How long an admin connection may take to send the head of a request, the next one included.
pub const ADMIN_HEAD_TIMEOUT: Duration = Duration::from_secs(15);
