//! Every bound of the product, with its reason. Nothing a peer sends grows without one of these.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

// --- names (RFC 1035 section 2.3.4) ---

/// Longest label of a DNS name, in octets.
pub const DNS_LABEL_BYTES_MAX: usize = 63;
/// Longest DNS name in text form, in octets.
pub const DNS_NAME_BYTES_MAX: usize = 253;
/// Longest DNS name in a packet, in octets.
pub const DNS_WIRE_NAME_BYTES_MAX: usize = 255;

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

// --- TLS ---

/// Session tickets sent after a TLS 1.3 handshake: tickets are stateless here, so one serves any number of resumptions.
pub const TLS_TICKETS_PER_HANDSHAKE: usize = 1;
/// TLS sessions remembered towards inner servers: a few per node, for hundreds of nodes.
pub const INSIDE_TLS_SESSIONS_MAX: usize = 1024;
/// Names read from one certificate.
pub const CERTIFICATE_NAMES_MAX: usize = 256;
/// A TLS handshake must be done within this time; it holds a connection slot meanwhile.
pub const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// What a peer may send before a handshake is done: a certificate chain of the longest message there can be (64 KiB, TLS's
/// own limit is 16 MiB), and one record more.
pub const TLS_HANDSHAKE_BYTES_MAX: usize = 96 * 1024;
/// A ticket to go on with a session later (RFC 8446 section 4.6.1): servers put certificates of clients in there at most.
pub const TLS_TICKET_BYTES_MAX: usize = 16 * 1024;
/// The longest record of any version, with its head (RFC 5246 section 6.2.3).
pub const TLS_RECORD_BYTES_MAX: usize = 5 + 16 * 1024 + 2048;
/// Records that are made, and sent by one system call, where long answers cross. The system hands on at most 64 KiB at a time,
/// heads included: of four full records a piece of 150 octets would be left over, and wake the peer for itself.
pub const TLS_BATCH_RECORDS: usize = 3;
/// What is read at a time: as many full records of TLS 1.3, to the octet, so that of a long answer no piece of a record is
/// left over to be kept.
pub const TLS_READ_BYTES_MAX: usize = TLS_BATCH_RECORDS * (5 + 16 * 1024 + 1 + 16);

// --- sockets ---

/// Connections that the kernel holds until they are accepted: a few seconds of a reconnect storm.
pub const LISTEN_BACKLOG: i32 = 4096;
/// Pause after an accept that failed for want of descriptors: connections must end before the next can begin.
pub const ACCEPT_BACK_OFF: Duration = Duration::from_millis(50);
/// A TCP connection idle for this long is probed.
pub const TCP_KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// Time between two probes.
pub const TCP_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Probes lost before the connection is dead.
pub const TCP_KEEPALIVE_RETRIES: u32 = 3;
/// A connection that is silent for hours is probed after this time: a probe wakes a phone's radio.
pub const TCP_QUIET_KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// What such a peer has not acknowledged for so long, it will not.
pub const TCP_QUIET_USER_TIMEOUT: Duration = Duration::from_secs(60);

// --- HTTP ---

/// Fields of one head: real clients send about twenty.
pub const HTTP_FIELDS_MAX: usize = 100;
/// Fields that are read of one head: room for those that edge-e adds on the link.
pub const HTTP_FIELDS_READ_MAX: usize = HTTP_FIELDS_MAX + 8;
/// All fields of a request from a client. What edge-e lets through must fit into a head on the link with its target and
/// what edge-e adds, or a client could end link connections: as text, and with HTTP/2's 32 octets more for each field.
pub const HTTP_FIELDS_BYTES_MAX: usize = 48 * 1024;
const _: () = assert!(
    HTTP_FIELDS_BYTES_MAX + EDGE_TARGET_BYTES_MAX + 32 * HTTP_FIELDS_READ_MAX + 512
        <= HTTP_HEAD_BYTES_MAX
);
/// Path and query of a request from a client: the first segment, and the target for the inner server.
pub const EDGE_TARGET_BYTES_MAX: usize = EDGE_SEGMENT_BYTES_MAX + 1 + TARGET_BYTES_MAX;
/// Read buffer of an HTTP/1.1 connection, and so the longest head.
pub const HTTP_HEAD_BYTES_MAX: usize = 64 * 1024;
/// Streams of one HTTP/2 client connection: what browsers expect; more are refused by the protocol.
pub const HTTP2_STREAMS_MAX: u32 = 128;
/// Decoded header section of an HTTP/2 request.
pub const HTTP2_HEADER_LIST_BYTES_MAX: u32 = 64 * 1024;
/// What one stream may send unasked.
pub const HTTP2_STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// What one connection may send unasked; a stopped upload holds at most this much memory.
pub const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// What is buffered for one stream that its peer does not read.
pub const HTTP2_SEND_BUFFER_BYTES: usize = 256 * 1024;
/// Streams reset by the client before they were looked at (rapid reset, CVE-2023-44487).
pub const HTTP2_PENDING_RESETS_MAX: usize = 50;
/// Streams reset by us for the client's errors over the life of a connection.
pub const HTTP2_LOCAL_ERROR_RESETS_MAX: usize = 1024;

/// Bytes of the control stream that wait to be written; the rest waits in its bounded queue.
pub const CONTROL_WRITE_BUFFER_BYTES: usize = 64 * 1024;
/// Bytes of the control stream that are read in one; some messages.
pub const CONTROL_READ_BUFFER_BYTES: usize = 4 * 1024;

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

// --- what several edge-c share ---

/// For how long after the shared store fell silent known sessions go on. Longer than a restart or a failover of it; short
/// enough that somebody whose session was ended elsewhere meanwhile is not let in for long.
pub const STORE_GRACE: Duration = Duration::from_mins(5);
/// How long connecting to the shared store may take, TLS and signing in included.
pub const STORE_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the shared store may take for one answer; it takes less than a millisecond as a rule.
pub const STORE_ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a question about news waits in the store for some, which is also how soon a dead connection is asked again.
pub const STORE_NEWS_WAIT: Duration = Duration::from_millis(500);
/// The first pause before connecting again; doubled up to [`STORE_BACK_OFF_MAX`].
pub const STORE_BACK_OFF_MIN: Duration = Duration::from_millis(50);
/// The longest pause before connecting again.
pub const STORE_BACK_OFF_MAX: Duration = Duration::from_secs(1);
/// How long a start waits for the shared store before it goes on with what the snapshot has.
pub const STORE_FIRST_SYNC_MAX: Duration = Duration::from_secs(5);
/// How long a revocation waits until this node has read everything that was in the store when it was asked for.
pub const STORE_CATCH_UP_MAX: Duration = Duration::from_secs(2);
/// Changes that the store remembers for nodes that were away; who was away for more of them reads everything anew.
pub const STORE_NEWS_MAX: usize = 100_000;
/// Changes, or records, that are read at once.
pub const STORE_BATCH: usize = 500;
/// How often a node tells the others that it is there.
pub const NODE_TELL_INTERVAL: Duration = Duration::from_secs(1);
/// After this time without a word a node counts as gone.
pub const NODE_GONE_AFTER: Duration = Duration::from_secs(5);
/// The password of the shared store, in octets.
pub const STORE_PASSWORD_BYTES_MAX: usize = 1_024;
/// Refreshes of tokens under way at a time on one edge-c, and answers that are kept for others.
pub const REFRESH_FLIGHTS_MAX: usize = 4_096;
/// How long the right to refresh a token lasts while nothing was sent.
pub const REFRESH_CLAIM_LIFETIME: Duration = Duration::from_secs(10);
/// How long it is remembered that a token was sent and no answer came: longer than a client tries again.
pub const REFRESH_DEPARTED_LIFETIME: Duration = Duration::from_secs(60);
/// How long the answer is kept for others with the same token: a client that got no answer comes again within that time.
pub const REFRESH_ANSWER_LIFETIME: Duration = Duration::from_secs(30);
/// How long somebody waits for a refresh that is under way: longer than [`REFRESH_CLAIM_LIFETIME`], so that a turn nobody used
/// comes round.
pub const REFRESH_WAIT_MAX: Duration = Duration::from_secs(12);
/// How often whoever waits asks.
pub const REFRESH_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Refused addresses that one edge-c passes on.
pub const BANS_MAX: usize = 20_000;
/// Refused users at an address that one edge-c passes on: apart from addresses, which no number of users may push out.
pub const USER_BANS_MAX: usize = 20_000;
/// Refused addresses that a link may lag behind before it is told all of them again.
pub const BAN_QUEUE_MAX: usize = 256;
/// Refused addresses in one message.
pub const BANS_PER_MESSAGE: usize = 500;
/// Two bans of one address that end this close to each other are the same.
pub const BAN_SLACK: Duration = Duration::from_secs(5);
/// The longest ban that one edge-e may ask the others for: an edge that was taken over must not lock people out for long.
pub const BAN_SHARED_MAX: Duration = Duration::from_mins(60);
/// Bans of addresses, and as many of users, that one edge-e may ask the others for at a time, for the same reason.
pub const BANS_PER_EDGE_MAX: u32 = 200;
/// One more such ban in this time.
pub const BAN_PER_EDGE_INTERVAL: Duration = Duration::from_secs(1);

const _: () = assert!(NODE_TELL_INTERVAL.as_millis() * 3 < NODE_GONE_AFTER.as_millis());
const _: () = assert!(STORE_ANSWER_TIMEOUT.as_millis() > STORE_NEWS_WAIT.as_millis());
const _: () = assert!(FILTER_KEY_LEAD.as_secs() < FILTER_KEY_INTERVAL.as_secs());
const _: () = assert!(SESSION_LIFETIME_DEFAULT.as_secs() <= SESSION_LIFETIME_MAX.as_secs());
const _: () = assert!(SESSION_CREDENTIAL_BYTES_MAX * 2 < SESSION_RECORD_BYTES_MAX);

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

/// Wrong passwords of one user at one address, and forgeries and nameless failures of one address, that are forgiven; the
/// next one blocks.
pub const JAIL_FAILURES_MAX: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);
/// Wrong passwords of one address that are forgiven, whoever's they are: the day after passwords expire, an office behind
/// one NAT has many users with two or three each.
pub const JAIL_ADDRESS_FAILURES_MAX: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);
/// Most failures that configuration may forgive: each counted one is remembered.
pub const JAIL_FAILURES_SETTING_MAX: u32 = 900;
/// Most refused addresses that the status shows.
pub const JAIL_SHOWN_MAX: usize = 50;
/// How long an authorisation failure counts.
pub const JAIL_WINDOW: Duration = Duration::from_secs(600);
/// How long an address is refused.
pub const JAIL_BLOCK: Duration = Duration::from_secs(600);
/// Most addresses that are remembered for forgeries, as many users at an address for wrong passwords, and as many of each
/// that are refused: some 40 MB at worst.
pub const JAIL_ADDRESSES_MAX: usize = 50_000;
/// Most addresses that are remembered for the wrong passwords of all their users, of which there may be many: some 20 MB at
/// worst.
pub const JAIL_PASSWORD_ADDRESSES_MAX: usize = 10_000;

/// Most service domains: a table of them goes to every edge-e.
pub const DOMAINS_MAX: usize = 10_000;

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

// --- link connections and cores ---

/// Most refused requests that edge-c remembers for its status.
pub const BLOCKED_SHOWN_MAX: usize = 50;
/// How early certificates in use that expire are told of in the log, once a day.
pub const CERTIFICATE_EXPIRY_ALARM: Duration = Duration::from_hours(14 * 24);
/// How often gauges are brought up to date.
pub const GAUGE_INTERVAL: Duration = Duration::from_secs(1);

/// Link connections for short exchanges: two for each processor of a common machine, so that each worker has one near.
pub const EXCHANGE_CONNECTIONS: usize = 4;
/// Short exchanges under way on one connection; what is more takes the pool.
pub const EXCHANGES_MAX: usize = 512;
/// Longest frame: a head of any length that passes, or a short answer.
pub const EXCHANGE_FRAME_BYTES_MAX: usize = 96 * 1024;
/// Longest body of a short answer: one TLS record. Longer ones gain nothing by being sent together.
pub const EXCHANGE_BODY_BYTES_MAX: usize = 16 * 1024;
/// Long answers that wait to be fetched; each holds a connection to an inner server.
pub const EXCHANGES_KEPT_MAX: usize = 256;
/// How long they wait: edge-e fetches at once, unless no connection is free.
pub const EXCHANGE_KEPT_FOR: Duration = Duration::from_secs(10);

/// How long a pooled connection may take until it can carry the next request: one turn of its task, under load.
pub const POOL_READY_TIMEOUT: Duration = Duration::from_millis(500);

/// Idle link connections above [`LINK_IDLE_KEPT`] are closed after this time.
pub const LINK_IDLE_MAX: Duration = Duration::from_secs(60);
/// Idle link connections per core that are kept however old: the next burst must not wait for dials.
pub const LINK_IDLE_KEPT: usize = 16;
/// A request waits for a free link connection no longer than this: edge-c dials more within milliseconds.
pub const LINK_LEASE_TIMEOUT: Duration = Duration::from_secs(2);
/// Requests that wait for a link connection; beyond it the answer is 503 at once.
pub const LINK_WAITING_MAX: usize = 1024;
/// HTTPS connections that one core keeps to one edge: one per request under way.
pub const LINK_POOL_MAX: usize = 1024;
/// Free HTTPS connections that edge-c holds ready.
pub const LINK_POOL_SPARE: usize = 8;
/// Dials under way at once to one edge.
pub const LINK_DIALS_MAX: usize = 16;
/// Link connections that one edge-e accepts at once from all cores, handshakes included.
pub const LINK_CONNECTIONS_ACCEPTED_MAX: usize = 8192;
/// First wait before dialling again.
pub const LINK_BACK_OFF_MIN: Duration = Duration::from_millis(100);
/// Longest wait before dialling again.
pub const LINK_BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// Read buffer of a link connection on edge-e: what a stopped download holds.
pub const LINK_READ_BUFFER_BYTES: usize = 128 * 1024;
/// Messages waiting for the control stream's task.
pub const CONTROL_CHANNEL_MAX: usize = 256;
/// Times a request is sent again on another link connection when it was not sent on.
pub const LINK_RETRIES_MAX: usize = 3;
/// What a client is told to wait when nobody inside can be asked.
pub const LINK_DOWN_RETRY_AFTER: Duration = Duration::from_secs(5);
/// A core without a link may be restarting for so long; after that its sessions are told to sign in at another one.
pub const CORE_GONE_AFTER: Duration = Duration::from_secs(30);
/// Streams of one shared link connection; more wait for the next connection, since `h2` queues without a bound.
pub const LINK_STREAMS_MAX: usize = 1000;
/// What one stream of a shared link connection may send unasked.
pub const LINK_STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Connection window of a shared link: every stream may be stopped at once and others still move.
pub const LINK_CONNECTION_WINDOW_BYTES: u32 = 1_001 * LINK_STREAM_WINDOW_BYTES;
/// What is buffered for one stream of a shared link connection.
pub const LINK_SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Reset streams remembered, so that late frames for them are not taken for errors.
pub const LINK_RESETS_KEPT: usize = 1000;

// --- operation ---

/// How often watched files are compared with what they were: an operator who saves a file looks up within seconds.
pub const RELOAD_POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Largest watched file: that of an allow list ([`ALLOW_LIST_FILE_BYTES_MAX`]), the largest of all.
pub const WATCHED_FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;
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
/// Addresses whose rates are remembered; the ones nearest to a clean slate are forgotten first.
pub const ADDRESSES_LIMITED_MAX: usize = 50_000;
/// First byte to last of a request head from a client.
pub const HTTP_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A client connection without a request is closed after this time.
pub const HTTP_IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// A request on which no byte moves in either direction is given up after this time: above what inner servers may take.
pub const HTTP_STALL_TIMEOUT: Duration = Duration::from_secs(330);
/// The most that configuration may set for it: a request that stands still holds a place on the link.
pub const HTTP_STALL_TIMEOUT_SETTING_MAX: Duration = Duration::from_secs(3_600);
// --- sign-in: UDS ---

/// How long a TCP connection to an inner node may take: inside networks answer in milliseconds, and the next node waits.
pub const UDS_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A further address of the same name is tried when the first has not answered in this time (RFC 8305 section 5).
pub const CONNECT_ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Most addresses of one name that are tried.
pub const ADDRESSES_MAX: usize = 16;
/// How long the TLS handshake with an inner node may take.
pub const UDS_TLS_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a whole UDS answer may take, from the request's first byte: UCM asks LDAP for passwords.
pub const UDS_ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
/// Longest UDS answer: 100 devices with every field take 60 KB.
pub const UDS_ANSWER_BYTES_MAX: usize = 512 * 1024;
/// Longest head of a UDS answer.
pub const UDS_HEAD_BYTES_MAX: usize = 32 * 1024;
/// Connections kept open to one node between requests.
pub const UDS_IDLE_CONNECTIONS_MAX: usize = 4;
/// A kept connection older than this is not used again: UCM closes idle ones after 20 to 60 s.
pub const UDS_IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Requests under way to one node; more wait, so that a storm of sign-ins doesn't become one on UCM.
pub const UDS_REQUESTS_PER_NODE_MAX: usize = 64;
/// Nodes a UDS answer may list: a UCM cluster has at most 20 to 40.
pub const UDS_SERVERS_MAX: usize = 128;
/// Devices read from one UDS answer.
pub const UDS_DEVICES_MAX: usize = 256;
/// Longest user id or mail address: 128 at UCM, 254 in RFC 5321.
pub const USER_ID_BYTES_MAX: usize = 254;

// --- sign-in: discovery ---

/// Most inner nodes known at once, over all deployments.
pub const NODES_MAX: usize = 512;
/// Most SRV records taken from one answer.
pub const SRV_RECORDS_MAX: usize = EDGE_CONFIG_SERVERS_MAX;
/// Longest time an answer is served while no name server can be reached (RFC 8767 section 5 names 1 to 3 days).
pub const DNS_LAST_GOOD_AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// After a failed look-up the last good answer is served at once for this long, without asking again.
pub const DNS_OUTAGE_HOLD: Duration = Duration::from_secs(5);
/// Longest time a record is cached whatever its TTL says.
pub const DNS_POSITIVE_TTL_MAX: Duration = Duration::from_secs(3600);
/// Longest time the absence of a record is cached: a record that an admin adds works within a minute.
pub const DNS_NEGATIVE_TTL_MAX: Duration = Duration::from_secs(60);
/// Names whose last answer is kept.
pub const DNS_NAMES_MAX: usize = 1_024;
/// UDP payload that name servers are told to stay below: no fragments on any path.
pub const DNS_UDP_PAYLOAD_BYTES_MAX: u16 = 1_232;
/// How often services and node lists are looked up again; DNS answers come from the cache until their TTL ends.
pub const NODE_REFRESH_INTERVAL: Duration = Duration::from_secs(60);
/// A discovered node that no answer has named for this long is forgotten.
pub const NODE_DISCOVERED_KEPT: Duration = Duration::from_secs(15 * 60);
/// A node that a user's sign-in named is kept as long as the longest session.
pub const NODE_LEARNED_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// The file in which learned nodes outlive a restart: [`NODES_MAX`] of 512 octets.
pub const NODES_FILE_BYTES_MAX: u64 = 256 * 1024;
/// A node that is only named again is written anew when what the file says is this old.
pub const NODES_FILE_AGE_SECONDS: u64 = 24 * 3600;
/// How often a node that is up is probed, so that a dead one leaves the answers within seconds.
pub const NODE_PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// First wait before a node that went down is probed.
pub const NODE_PROBE_BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Longest wait between probes of a node that is down.
pub const NODE_PROBE_BACKOFF_MAX: Duration = Duration::from_secs(5);
/// How long one probe may take.
pub const NODE_PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the links wait for the first look-up of the nodes, so that nobody is refused for a rule that is still to come.
pub const NODE_FIRST_LOOK_UP_MAX: Duration = Duration::from_secs(5);
/// Probes under way at once.
pub const NODE_PROBES_MAX: usize = 16;

// --- inner servers ---

/// Different origins with connections at one time: a large site has some hundred nodes.
pub const UPSTREAM_ORIGINS_MAX: usize = 4096;
/// An origin that was not asked for this long is forgotten with its pool.
pub const UPSTREAM_FORGOTTEN_AFTER: Duration = Duration::from_mins(10);
/// Requests that wait for a connection to one origin; beyond it the answer is 503 at once.
pub const UPSTREAM_WAITING_MAX: usize = 1024;
/// Read buffer of a connection to an inner server: what a stopped download holds.
pub const UPSTREAM_READ_BUFFER_BYTES: usize = 128 * 1024;
/// A connection idle for this long may be closing at its other end just now.
pub const UPSTREAM_STALE_AFTER: Duration = Duration::from_millis(500);
/// How often pools are looked through for connections that are too old.
pub const TIDY_INTERVAL: Duration = Duration::from_secs(5);
/// From the first byte to the last of a request head on the link.
pub const LINK_HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// An HTTPS connection of the link that edge-e has forgotten; edge-e closes idle ones far sooner.
pub const LINK_HTTPS_IDLE_TIMEOUT: Duration = Duration::from_hours(24);
/// TCP connection to edge-e.
pub const LINK_DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Revoked sessions told in one control message.
pub const TOMBSTONES_PER_MESSAGE: usize = 1000;
// --- sign-in: home clusters and proofs ---

/// How long a user's home cluster is remembered: users move rarely, and a refused password looks it up afresh.
pub const HOME_CACHE_TTL: Duration = Duration::from_secs(10 * 60);
/// Most nodes of a home cluster that are asked for its list of nodes.
pub const HOME_SERVERS_ASKED_MAX: usize = 3;
/// Users whose home cluster or proved credentials are remembered: a large cluster has 40,000.
pub const SIGN_IN_USERS_MAX: usize = 50_000;
/// Most nodes asked for one user's home: more clusters than that are found through those that know each other.
pub const HOME_NODES_ASKED_MAX: usize = 16;
/// Different credentials under proof at once; beyond, sign-ins are refused with 503.
pub const SIGN_IN_FLIGHTS_MAX: usize = 4_096;
/// How long a sign-in may take as a whole, with every retry on other nodes.
pub const SIGN_IN_DEADLINE: Duration = Duration::from_secs(20);
/// A refusal of credentials is answered no sooner than this: else its time would tell unknown users from wrong passwords.
pub const SIGN_IN_REFUSAL_MIN: Duration = Duration::from_millis(500);
/// Proofs from one address with one user name are limited to this many times the login limit, whatever devices the client
/// says it is.
pub const LOGIN_LIMIT_DEVICES_FACTOR: u32 = 4;
/// Keys of the login limit that are remembered.
pub const LOGIN_LIMIT_KEYS_MAX: usize = 65_536;
/// Longest password: 128 characters at UCM, more in some directories.
pub const PASSWORD_BYTES_MAX: usize = 1_024;
/// How long the doctor waits for one peer or one name.
pub const DOCTOR_DEADLINE: Duration = Duration::from_secs(5);
/// Open files beside one for each client connection: links, inner connections, listeners, logs.
pub const OPEN_FILES_RESERVE: u64 = 1_024;

/// Of a refused request's body this much is read before the answer, so that the client gets to see it.
pub const REFUSED_BODY_BYTES_MAX: usize = 64 * 1024;
/// And for this long.
pub const REFUSED_BODY_TIMEOUT: Duration = Duration::from_secs(1);

// --- sip proxy ---

/// Nodes of one registrar: a cluster of the largest kind has 21 servers.
pub const SIP_NODES_MAX: usize = 32;
// --- link streams ---

/// Longest message in a frame of a stream on the link: a SIP message of 64 KiB with everything that edge-c adds to it.
pub const FLOW_MESSAGE_BYTES_MAX: usize = 96 * 1024;
/// Streams that edge-e opens on one connection: `h2` queues more without a bound, so they are counted and refused.
pub const LINK_STREAMS_PER_CONNECTION_MAX: usize = 16_384;
/// Streams that edge-c takes on one connection: more than edge-e opens, because edge-e forgets one that it has reset
/// before edge-c hears of it.
pub const LINK_STREAMS_TAKEN_MAX: u32 = 2 * 16_384;
const _: () = assert!(LINK_STREAMS_PER_CONNECTION_MAX as u64 * 2 <= LINK_STREAMS_TAKEN_MAX as u64);
/// What one stream may send unasked, and all that a client who doesn't read makes edge-e hold: a few SIP messages.
pub const FLOW_WINDOW_BYTES: u32 = 16 * 1024;
/// Window of a connection with streams: every stream may be stopped and the others still move. 256 MiB, and that at
/// worst, since edge-c closes a client that does not read.
pub const FLOW_CONNECTION_WINDOW_BYTES: u32 = 16_384 * FLOW_WINDOW_BYTES + 64 * 1024;
const _: () = assert!(
    FLOW_CONNECTION_WINDOW_BYTES as u64
        > LINK_STREAMS_PER_CONNECTION_MAX as u64 * FLOW_WINDOW_BYTES as u64
        && FLOW_CONNECTION_WINDOW_BYTES < (1 << 31)
);
/// What `h2` holds of one stream before it goes out.
pub const FLOW_SEND_BUFFER_BYTES: usize = 32 * 1024;
/// Header fields of a stream: addresses, names of 253 octets, and 32 octets for each that HTTP/2 counts.
pub const STREAM_PREFACE_BYTES_MAX: u32 = 4 * 1024;
/// Streams that were reset and are remembered, so that late frames are not taken for a broken peer, which would end the
/// connection with every stream on it: all that can be open.
pub const LINK_STREAM_RESETS_KEPT: usize = LINK_STREAMS_PER_CONNECTION_MAX;
/// Streams in the life of one connection: HTTP/2 ends at 2^30, so another is dialled long before.
pub const LINK_STREAM_IDS_MAX: u32 = 1 << 28;
/// How long edge-c may take to answer for a new stream: it only looks at the preface.
pub const LINK_STREAM_OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections for streams that edge-c keeps to one edge-e: one is a processor's work and dies as one.
pub const LINK_STREAM_CONNECTIONS: usize = 2;
/// Frames that leave together on a connection for streams: the longest frame behind as much as `h2` gathers by itself.
pub const LINK_STREAM_GATHERED_BYTES: usize = 36 * 1024;
// --- sdp ---

/// Public ports that one edge-e holds ready for audio, and as many for video: what arrives in the round trips that it
/// takes to make new ones, in a burst of calls. Rarer kinds of media have a half to an eighth of it. New ones are made when
/// a quarter was taken.
pub const MEDIA_SPARE_PORTS: usize = 32;
/// Inside ports of one address family that are held ready: five m-lines for each of a burst of calls.
pub const MEDIA_SPARE_INNER_PORTS: usize = 96;
/// Longest session description: five m-lines with all their codecs take 6 KiB.
pub const SDP_BYTES_MAX: usize = 32 * 1024;
/// Most m-lines of one session description: Jabber sends five.
pub const SDP_MEDIA_MAX: usize = 16;
/// Most call legs anchored at a time: twice what one core relays, so that calls that still ring count too.
pub const ANCHORED_LEGS_MAX: usize = 8_192;
/// Most called parties of one leg that answer before one has won; later ones get no media.
pub const ANCHORED_FORKS_MAX: usize = 4;
/// What a caller is told to wait when no media port is ready: they are made within a second.
pub const MEDIA_PORTS_RETRY_AFTER: Duration = Duration::from_secs(2);
// --- wire ---

/// A whole SIP message: SDP of the largest video systems takes 16 KiB, with several bodies 32 KiB.
pub const SIP_MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Everything before the body. Positions in a head are kept in 16 bits.
pub const SIP_HEAD_BYTES_MAX: usize = 16 * 1024;
/// One header with its folded lines, or the first line.
pub const SIP_LINE_BYTES_MAX: usize = 8 * 1024;
/// Header fields of one message: real ones have 15 to 40.
pub const SIP_HEADERS_MAX: usize = 128;
/// Via values: each is a hop, and `Max-Forwards` begins at 70 (RFC 3261 section 8.1.1.6).
pub const SIP_VIAS_MAX: usize = 70;
/// Route values, and as many of Record-Route and of Path.
pub const SIP_ROUTES_MAX: usize = 16;
/// Contact values: a registrar tells all bindings of a number, a shared line has some dozen.
pub const SIP_CONTACTS_MAX: usize = 64;
/// A URI, with its parameters and headers: a Refer-To carries a Replaces.
pub const SIP_URI_BYTES_MAX: usize = 2 * 1024;
/// Parameters of one value.
pub const SIP_PARAMETERS_MAX: usize = 64;
/// The token of a method: the longest that RFC 4475 tries has 43.
pub const SIP_METHOD_BYTES_MAX: usize = 64;
/// Digits of a `Content-Length`: far more than a message may have, far less than overflows.
pub const SIP_CONTENT_LENGTH_DIGITS_MAX: usize = 8;
/// A STUN message on a SIP connection: a Binding request with every attribute that clients add has 100 to 200 octets.
pub const SIP_STUN_BYTES_MAX: usize = 576;
/// From the first octet of a SIP message to the end of its head: it fits into a few packets.
pub const SIP_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// From the first octet of a SIP message to the end of its body.
pub const SIP_BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// A client that has not registered may be silent for this long: two transactions that time out (RFC 3261 section 17).
pub const SIP_UNREGISTERED_SILENCE_MAX: Duration = Duration::from_secs(64);
/// A registered client that was told no `Flow-Timer` may be silent for this long: registrations last an hour at most and
/// are refreshed before; the kernel's keep-alives find dead connections sooner.
pub const SIP_REGISTERED_SILENCE_MAX: Duration = Duration::from_secs(65 * 60);
/// Time that a keep-alive may take on its way, beyond one and a half `Flow-Timer` (RFC 5626 section 4.4.1).
pub const SIP_FLOW_TIMER_SLACK: Duration = Duration::from_secs(10);
/// Malformed messages that a client connection may send: an honest client sends none.
pub const SIP_MALFORMED_MAX: u32 = 8;
/// SIP messages a second that a client connection may send: a busy one sends a few.
pub const SIP_MESSAGES_PER_SECOND_DEFAULT: u32 = 20;
/// SIP messages at once after a pause: a client that comes up registers and subscribes to everything.
pub const SIP_MESSAGES_BURST_DEFAULT: u32 = 60;
/// Most of both that may be set.
pub const SIP_MESSAGES_SETTING_MAX: u32 = 10_000;
/// Answers that wait to be written to a client; beyond it the client is not read on.
pub const SIP_ANSWERS_WAITING_MAX: usize = 16;
/// A client that takes nothing of what is written to it for this long is gone, or wants to be a burden.
pub const SIP_WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the last answer and the goodbye to a client may take.
pub const SIP_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// While the edge drains, a client connection without a message for this long is closed: the client finds another edge.
pub const SIP_DRAIN_QUIET: Duration = Duration::from_secs(5);
/// A WebSocket is pinged this often, so that nothing on its way forgets it (RFC 7118 section 6).
pub const SIP_WEBSOCKET_PING_INTERVAL: Duration = Duration::from_secs(30);
/// Read buffer of a WebSocket: it is held as long as the connection, and larger messages are read in pieces.
pub const SIP_WEBSOCKET_READ_BUFFER_BYTES: usize = 2 * 1024;
/// Origins of web pages that may open a SIP WebSocket.
pub const SIP_ORIGINS_MAX: usize = 64;

// --- media: ports and candidates of edge-e ---

/// Public ports of media, if nothing else is set: what firewalls in the field are open for.
pub const MEDIA_PORTS_DEFAULT: RangeInclusive<u16> = 36_000..=59_999;
/// Pairs of public ports in use at once: all that the default range has (36000 to 59999).
pub const MEDIA_ALLOCATIONS_MAX: usize = 12_000;
/// A pair of ports is not used again for so long: packets of the last call may still be on their way.
pub const MEDIA_PORT_QUARANTINE: Duration = Duration::from_secs(30);
/// Pairs that are tried when another process has the ports.
pub const MEDIA_BIND_TRIES: usize = 16;
/// Allocations of an edge-c without a control stream live on for so long: calls survive a re-dial.
pub const MEDIA_ORPHANS_KEPT: Duration = Duration::from_secs(30);
/// Sources of one port that are looked at beside the latched one; one of them is kept for the SIP flow's address.
pub const MEDIA_CANDIDATES_MAX: usize = 4;
/// One packet of a candidate passes in this time: 10 a second are enough to authenticate one, and nothing to relay.
pub const MEDIA_CANDIDATE_INTERVAL: Duration = Duration::from_millis(100);
/// So much of a candidate's pace may be used up at once: the ten packets of a second.
pub const MEDIA_CANDIDATE_BURST: Duration = Duration::from_millis(900);
/// A candidate that was neither latched nor rejected makes room for another one after this time: several round trips.
pub const MEDIA_CANDIDATE_HOLD: Duration = Duration::from_secs(1);
/// A rejected source is no candidate for so long, so that its place goes to another one.
pub const MEDIA_REFUSED_FOR: Duration = Duration::from_secs(1);
/// Rejected sources that are remembered for one port.
pub const MEDIA_REFUSED_KEPT: usize = 8;
/// One packet of a latched source passes in this time: 5,000 a second are more than the largest video m-line sends.
pub const MEDIA_SOURCE_INTERVAL: Duration = Duration::from_micros(200);
/// So much of a latched source's pace may be used up at once: a key frame, or what a network held back.
pub const MEDIA_SOURCE_BURST: Duration = Duration::from_millis(200);

// --- packet ---

/// Longest media packet, with what protection adds: beyond what any path carries whole.
pub const MEDIA_PACKET_BYTES_MAX: usize = 2048;
/// Sources (SSRCs) of one stream under one key that are followed at a time: layers and repair streams of a video.
pub const MEDIA_SOURCES_MAX: usize = 8;
/// Sources that were displaced by others and must not begin anew: a call of hours with music on hold has some dozens.
pub const MEDIA_SOURCES_DISPLACED_MAX: usize = 256;
/// Packets of a candidate that may fail before its slot is freed: one may have been overtaken by a change of keys.
pub const MEDIA_CANDIDATE_FAILURES_MAX: u8 = 3;
/// A candidate that goes on sending after it was latched is latched again after this time; the command takes milliseconds.
pub const MEDIA_LATCH_REPEAT: Duration = Duration::from_millis(500);
/// After a latch has moved it stays for so long: two devices that both have the key must not pull a call to and fro.
pub const MEDIA_RELATCH_INTERVAL: Duration = Duration::from_secs(2);
/// A stream without an authentic packet from its client for so long is over, if nothing else is set.
pub const MEDIA_SILENCE_MAX: Duration = Duration::from_mins(5);
/// What may be set instead: a client that sends nothing while nobody speaks is heard by its reports every 5 s.
pub const MEDIA_SILENCE_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(5)..=Duration::from_hours(4);
/// Calls that fell silent and wait to be ended: if more do at once, the rest is told again a second later.
pub const MEDIA_DEAD_CALLS_MAX: usize = 1024;
/// The same for a stream from which nothing is expected, because it is on hold or goes outward only.
pub const MEDIA_HELD_MAX: Duration = Duration::from_hours(4);
/// Inner media ports if nothing else is set: those that Unified CM's own devices use.
pub const MEDIA_INNER_PORTS_DEFAULT: RangeInclusive<u16> = 16_384..=32_766;
/// Orders that wait for the media engine, which takes them every few milliseconds: some hundred calls at once.
pub const MEDIA_ORDERS_MAX: usize = 4096;
/// Media commands that wait for a link to come back; if there are more, edge-e is told anew what lives.
pub const MEDIA_COMMANDS_MAX: usize = 4096;
/// How often streams are looked through for silent ones, and ports counted.
pub const MEDIA_SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Between a change of media and what follows from it for ports, which is done together for all calls: far shorter than the
/// spare ones last.
pub const MEDIA_DESK_PAUSE: Duration = Duration::from_millis(60);
/// The same once ports are to be made.
pub const MEDIA_DESK_PAUSE_PORTS: Duration = Duration::from_millis(20);
const _: () = assert!(MEDIA_DESK_PAUSE_PORTS.as_millis() < MEDIA_DESK_PAUSE.as_millis());
/// Orders after which the media engine is woken at once, not when the pause is over.
pub const MEDIA_ORDERS_AT_ONCE: usize = MEDIA_ORDERS_MAX / 8;
/// Public ports that edge-e has not answered for after this time are asked for again.
pub const MEDIA_ALLOCATION_TIMEOUT: Duration = Duration::from_secs(20);
// --- media: trunk and threads ---

/// Send and receive buffer asked for the trunk's socket: what arrives at 100 Mbit/s while the thread is kept away for
/// 300 ms.
pub const TRUNK_SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// What one read of the trunk's socket takes: as much as the system puts together.
pub const TRUNK_RECEIVE_BYTES: usize = 64 * 1024;
/// Packets in one write to the trunk's socket: the system takes 64, and 64 KiB.
pub const TRUNK_SEGMENTS_MAX: usize = 44;
/// Sockets that are reported as readable at once; the others come the next time.
pub const MEDIA_EVENTS_AT_ONCE: usize = 1024;
/// Largest UDP payload of the trunk: an Ethernet frame less IPv6 and UDP.
pub const TRUNK_MTU: u16 = 1452;
/// Bytes on their way without an acknowledgement before the trunk holds its peace: the peer is gone then.
pub const TRUNK_WINDOW_BYTES: u64 = 4 * 1024 * 1024;
/// Media that waits inside QUIC; what is older goes first.
pub const TRUNK_DATAGRAM_BUFFER_BYTES: usize = 256 * 1024;
/// The peer acknowledges every so many packets: nothing is sent again, it only shows that the path is alive.
pub const TRUNK_PACKETS_PER_ACKNOWLEDGEMENT: u32 = 64;
/// And after this time, so that round trips are measured.
pub const TRUNK_ACKNOWLEDGEMENT_DELAY: Duration = Duration::from_millis(100);
/// A packet overtaken by so many others is lost.
pub const TRUNK_REORDERING_MAX: u32 = 256;
/// Datagrams of one marking that leave in one turn; more are dropped.
pub const TRUNK_DATAGRAMS_MAX: usize = 160;
const _: () = assert!(TRUNK_DATAGRAMS_MAX * TRUNK_MTU as usize <= TRUNK_DATAGRAM_BUFFER_BYTES);
/// Padding that a datagram gets to be as long as the others of its turn.
pub const TRUNK_PADDING_MAX: usize = 192;
/// What buffers of datagrams grow by.
pub const TRUNK_ARENA_BYTES: usize = 64 * 1024;
/// Frames in two parts that wait for the second one: a key frame of video in one turn.
pub const TRUNK_PARTS_WAITING_MAX: usize = 64;
/// Longest frame that crosses the trunk: the largest UDP payload on any path, and its head.
pub const MEDIA_FRAME_BYTES_MAX: usize = 2048;
/// Reads of the trunk's socket in one turn, each of up to 64 KiB; the other sockets wait meanwhile.
pub const TRUNK_READS_AT_ONCE: usize = 32;
/// Trunks that one edge-e serves at once, handshakes included.
pub const TRUNKS_MAX: usize = 64;
/// Handshakes under way beyond which a peer must first prove that it receives at its address.
pub const TRUNK_HANDSHAKES_UNPROVED_MAX: usize = 4;
/// From the first packet of a trunk to the end of its greeting.
pub const TRUNK_DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// A trunk that could not be had for so long is replaced by a TCP connection.
pub const TRUNK_FALLBACK_AFTER: Duration = Duration::from_secs(3);
/// Media that has waited for so long in front of a TCP connection is of no use to anybody.
pub const TRUNK_TCP_AGE_MAX: Duration = Duration::from_millis(40);
/// Frames that wait in front of a TCP connection: 40 ms of 300 calls with video.
pub const TRUNK_TCP_FRAMES_MAX: usize = 2048;

// --- SIP on edge-c ---

/// Connections towards the inside, dialled and accepted: some hundred nodes, and gateways that call back.
pub const SIP_INNER_CONNECTIONS_MAX: usize = 1024;
/// Messages that wait for one connection inside, while it is dialled or its peer is slow.
pub const SIP_INNER_QUEUE_MESSAGES: usize = 4096;
/// And their octets: what a node takes in seconds.
pub const SIP_INNER_QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// What is handed to the system in one write.
pub const SIP_INNER_WRITE_BYTES: usize = 64 * 1024;
/// And read in one: a few messages.
pub const SIP_INNER_READ_BYTES: usize = 16 * 1024;
/// Messages that are told as lost when a connection breaks before its peer has said anything: a burst of registrations.
pub const SIP_INNER_UNCONFIRMED_MAX: usize = 1024;
/// A connection inside on which nothing moves either way is closed: those to nodes are probed far more often.
pub const SIP_INNER_IDLE_TIMEOUT: Duration = Duration::from_mins(10);
/// A connection inside that takes nothing is dead: well before a client gives its transaction up (32 s).
pub const SIP_INNER_DEAD_AFTER: Duration = Duration::from_secs(10);
/// Largest datagram there is.
pub const SIP_DATAGRAM_BYTES_MAX: usize = 65_535;
/// In this much of an answer to a probe its Via is found.
pub const SIP_PROBE_HEAD_BYTES: usize = 4096;
/// Messages that wait for one client; beyond it the client doesn't read, and is closed rather than waited for.
pub const SIP_FLOW_QUEUE_MESSAGES: usize = 128;
/// And their octets: a few of the largest.
pub const SIP_FLOW_QUEUE_BYTES: usize = 512 * 1024;
const _: () = assert!(SIP_FLOW_QUEUE_BYTES > 4 * FLOW_MESSAGE_BYTES_MAX);
/// How much later than asked for a timer of SIP may fire, so that one wake serves many: far shorter than T1.
pub const SIP_TIMER_SLACK: Duration = Duration::from_millis(20);
/// Octets that are sent in one: one TLS record.
pub const SIP_FLOW_WRITE_BYTES: usize = 16 * 1024;
/// How long edge-e may take to close a client that it was told to close.
pub const SIP_FLOW_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Clients that a drain sends away at a time, and how long it waits before the next ones: they come back through another
/// edge-c, which should not get them all at once.
pub const SIP_DRAIN_BATCH: usize = 200;
/// Passwords that edge-c keeps hashes of for phones: as many as it takes clients.
pub const SIP_DIGESTS_MAX: usize = 100_000;
/// Longest user name or realm of one, in octets.
pub const SIP_DIGEST_NAME_BYTES_MAX: usize = 256;
/// Largest sealed file of them: some 250 octets each.
pub const SIP_DIGEST_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How often the nodes of registrars are looked up: answers come from the cache until their TTL ends.
pub const SIP_REGISTRARS_INTERVAL: Duration = Duration::from_secs(10);
/// How often clients are told to say that they are there: well below the minutes that NAT keeps a mapping.
pub const SIP_FLOW_TIMER_DEFAULT: Duration = Duration::from_mins(2);
/// Shortest that may be set: phones would spend their battery on it.
pub const SIP_FLOW_TIMER_MIN: Duration = Duration::from_secs(10);
/// Longest that may be set.
pub const SIP_FLOW_TIMER_MAX: Duration = Duration::from_hours(1);
/// See [`SIP_DRAIN_BATCH`].
pub const SIP_DRAIN_INTERVAL: Duration = Duration::from_millis(100);
/// Registrars of one configuration.
pub const SIP_REGISTRARS_MAX: usize = 256;
/// Flows of one edge-c: about 1 KB each.
pub const SIP_FLOWS_MAX: usize = 100_000;
/// Flows that are remembered after they closed, so that a call finds its client on the next one.
pub const SIP_FLOWS_GONE_MAX: usize = 65_536;
/// AoRs that one flow may speak for: a phone with every line key in use.
pub const SIP_BINDINGS_PER_FLOW_MAX: usize = 16;
/// Contacts of one REGISTER: a client that registers more is an attack or a gateway.
pub const SIP_CONTACTS_PER_REGISTER_MAX: usize = 2;
/// Contact URIs that stand for the flow in Contact mode.
pub const SIP_CONTACTS_PER_FLOW_MAX: usize =
    SIP_BINDINGS_PER_FLOW_MAX * SIP_CONTACTS_PER_REGISTER_MAX;
/// Further AoRs that a registrar gives a client with one registration (P-Associated-URI).
pub const SIP_IMPLICIT_AORS_MAX: usize = 8;
/// Service-Route values of one binding.
pub const SIP_SERVICE_ROUTES_MAX: usize = 8;
/// Transactions at once: each holds its request and the message that was forwarded, about 4 KB.
pub const SIP_TRANSACTIONS_MAX: u32 = 65_536;
/// Transactions at once of one flow: a phone that refreshes everything after a restart has about 20.
pub const SIP_TRANSACTIONS_PER_FLOW_MAX: usize = 64;
/// Nodes that one request is tried on.
pub const SIP_FORKS_MAX: usize = 8;
/// Challenges that are gathered from all nodes that were tried (RFC 3261 section 16.7 step 7).
pub const SIP_CHALLENGES_MAX: usize = 16;
/// Forks of one INVITE that are ended here when they answer too late; more than any user has phones.
pub const SIP_FORKS_DECLINED_MAX: usize = 8;
/// Calls at once, each with the dialogs of its forks.
pub const SIP_CALLS_MAX: u32 = 16_384;
/// A call without a session timer is forgotten after this time; real ones are refreshed or end.
pub const SIP_CALL_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// A call that began and has no answer, or was challenged, is kept for this long after its last message: a little more
/// than the longest ringing.
pub const SIP_CALL_SETUP_LIFETIME: Duration = Duration::from_secs(200);
/// A challenge is good for the REGISTER that comes within this time: somebody may have to type a password.
pub const SIP_CHALLENGE_LIFETIME: Duration = Duration::from_secs(300);
/// Longest request that goes over UDP (RFC 3261 section 18.1.1).
pub const SIP_DATAGRAM_REQUEST_BYTES_MAX: usize = 1300;
/// Elements inside that refused TCP for a long request: nodes, gateways, phones that speak for themselves.
pub const SIP_ONLY_UDP_MAX: usize = 1024;
/// For how long such an element gets everything over UDP.
pub const SIP_ONLY_UDP_LIFETIME: Duration = Duration::from_mins(10);
/// Nonces of one flow whose counts are remembered: a nonce that was forgotten is not taken any more.
pub const SIP_NONCES_PER_FLOW_MAX: usize = 8;
/// Nonces of edge-c are good for this long, then a fresh one is given (`stale=true`).
pub const SIP_NONCE_LIFETIME: Duration = Duration::from_secs(600);
/// A node that says nothing at all for this long is given up for another one, if there is another one.
pub const SIP_NODE_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// A node that failed gets no new request for this long.
pub const SIP_NODE_PAUSE: Duration = Duration::from_secs(10);
/// The longest Retry-After of a node that is believed.
pub const SIP_NODE_PAUSE_MAX: Duration = Duration::from_secs(600);
/// Retry-After of refusals for overload, at least; up to twice as much, so that clients don't come back at once.
pub const SIP_OVERLOAD_RETRY_AFTER: Duration = Duration::from_secs(10);
/// Routes of the inside that are sealed into one Record-Route; longer ones stay visible.
pub const SIP_HIDDEN_ROUTE_BYTES_MAX: usize = 1_024;
/// Timers of finished transactions are swept when they are more than this and more than those of living ones.
pub const SIP_STALE_TIMERS_MAX: usize = 16_384;
/// A client registers anew this long after its registration ended at the latest; until then its binding stays.
pub const SIP_EXPIRY_GRACE: Duration = Duration::from_secs(5);
/// The lifetime of a registration if neither side says one (RFC 3261 section 10.2).
pub const SIP_EXPIRES_DEFAULT: u32 = 3_600;
/// The longest lifetime of a registration that is believed.
pub const SIP_EXPIRES_MAX: u32 = 7 * 24 * 3_600;
/// How deep multipart bodies may be nested: one in another.
pub const MULTIPART_DEPTH_MAX: usize = 2;
/// Most parts of one multipart body: a description, a picture, a location, and room.
pub const MULTIPART_PARTS_MAX: usize = 16;
/// Most `a=crypto` lines of one m-line that are read: there are nine suites.
pub const SDP_CRYPTO_LINES_MAX: usize = 16;
/// Most keys of one `a=crypto` line: as many as one stream can try.
pub const SRTP_KEYS_PER_LINE_MAX: usize = 4;
/// Longest fragment of an ICE user name (RFC 8839 section 5.4).
pub const ICE_FRAGMENT_BYTES_MAX: usize = 256;
/// Messages of one leg whose rewritten bodies are kept for retransmissions: the last of each kind.
pub const ANCHORED_MESSAGES_KEPT: usize = 6;
/// Lines that could not be relayed and were not told of yet; more are forgotten, the oldest first.
pub const ANCHOR_REFUSALS_KEPT: usize = 64;
/// An offer without answer stands in the way of others no longer than this: above the longest wait for a final answer.
pub const OFFER_AGE_MAX: Duration = Duration::from_secs(200);
/// Longest connectivity check that is looked at: clients send about 100 octets.
pub const ICE_CHECK_BYTES_MAX: usize = 548;
/// Longest username fragment and password of ICE (RFC 8445 section 5.3), in octets.
pub const ICE_CREDENTIAL_BYTES_MAX: usize = 256;

// --- media: edge-e's thread ---

/// While packets flow, edge-e looks at its public ports this often: more packets share the cost, and nobody hears two and a
/// half milliseconds. A packet waits at one edge only.
pub const MEDIA_GATHER_OUTSIDE: Duration = Duration::from_micros(2500);
/// The same for the inner ports of edge-c. A little longer, so that packets of edge-e come before it is over, and one wake
/// serves both.
pub const MEDIA_GATHER_INSIDE: Duration = Duration::from_micros(3000);
/// How often each socket is asked in one turn: a key frame of video comes as tens of packets at once.
pub const MEDIA_PASSES_MAX: usize = 64;
/// Commands that wait for the media thread, and reports for a control stream: the calls of a minute.
pub const MEDIA_INPUTS_MAX: usize = 8192;
/// Send and receive buffer asked for a public media socket: half a second of the largest video m-line.
pub const MEDIA_SOCKET_BUFFER_BYTES: usize = 1024 * 1024;

// --- xmpp ---

/// A name, an attribute's value, or a piece of text before authentication: certificates never are in there, tokens are.
pub const XMPP_TOKEN_BYTES_MAX: usize = 8192;
/// All of the dialogue before TLS: a header and one element, with room for long names and some whitespace.
pub const XMPP_OPENING_BYTES_MAX: usize = 4096;
/// One element of a client before authentication; a lower limit is forbidden (RFC 6120 section 13.12).
pub const XMPP_ELEMENT_BYTES_MAX: usize = 10_000;
/// A node's feature list: entity capabilities and dozens of mechanisms fit.
pub const XMPP_FEATURES_BYTES_MAX: usize = 32 * 1024;
/// All that a client may send before it is authenticated: three attempts with long tokens.
pub const XMPP_LOGIN_BYTES_MAX: usize = 64 * 1024;
/// Elements within elements before authentication; real ones have five.
pub const XMPP_DEPTH_MAX: usize = 32;
/// Nodes that a node may point at, one after the other: home, backup, and one that has just changed.
pub const XMPP_REDIRECTIONS_MAX: u32 = 3;
/// Failed attempts on one stream; RFC 6120 section 6.4.5 wants two to five retries.
pub const SASL_FAILURES_MAX: u32 = 3;
/// A mechanism's name (RFC 4422 section 3.1 allows 20; some in use are longer).
pub const SASL_MECHANISM_BYTES_MAX: usize = 40;
// --- authoritative DNS ---

/// The longest answer over UDP for a client that does not say what it takes (RFC 1035 section 4.2.1).
pub const DNS_UDP_BYTES_WITHOUT_EDNS: u16 = 512;
/// Records of one zone: some hundreds of edges and domains, with signatures.
pub const DNS_ZONE_RECORDS_MAX: usize = 10_000;
/// Records of one name and type, in octets: half of the longest message, so that signatures fit too.
pub const DNS_RECORD_SET_BYTES_MAX: usize = 32 * 1024;
/// Names that lead to each other in one answer; more is a ring.
pub const DNS_ALIASES_MAX: usize = 8;
/// Keys that cookies are checked with: one in use, one coming, one going, and room.
pub const DNS_COOKIE_KEYS_MAX: usize = 4;
/// A cookie is good for an hour (RFC 9018 section 4.3), in seconds.
pub const DNS_COOKIE_AGE_MAX_SECONDS: u32 = 3_600;
/// Clocks of a cluster may differ by five minutes (RFC 9018 section 4.3), in seconds.
pub const DNS_COOKIE_FUTURE_MAX_SECONDS: u32 = 300;
/// The same answer to the same network of clients, so many times a second: a resolver asks again after the TTL only.
pub const DNS_RESPONSES_PER_SECOND_DEFAULT: u32 = 20;
/// Every second answer over the rate goes out truncated, so that a client whose address is abused still gets through.
pub const DNS_SLIP_DEFAULT: u32 = 2;
/// Buckets of the rate limit are kept in sets, and a new client takes the place of the quietest of its set: with
/// [`DNS_RATE_WAYS`] in each, 64 Ki buckets of 32 octets.
pub const DNS_RATE_SETS: usize = 16_384;
/// Buckets of one set.
pub const DNS_RATE_WAYS: usize = 4;
/// Packets that are answered before other tasks have their turn: a tenth of a millisecond.
pub const DNS_TURN_PACKETS: usize = 32;
/// That answers were held back is told this often at most.
pub const DNS_LIMITED_LOG_INTERVAL: Duration = Duration::from_secs(60);
/// TCP connections for DNS: they are for what does not fit into a packet.
pub const DNS_TCP_CONNECTIONS_MAX: usize = 64;
/// TCP connections for DNS of one address, so that nobody takes all of them.
pub const DNS_TCP_CONNECTIONS_PER_ADDRESS_MAX: usize = 16;
/// Queries on one TCP connection.
pub const DNS_TCP_QUERIES_MAX: usize = 200;
/// Longest query over TCP: a question and EDNS options.
pub const DNS_TCP_QUERY_BYTES_MAX: usize = 4_096;
/// A TCP connection without a whole query for this long is closed (RFC 7766 section 6.2.3).
pub const DNS_TCP_IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest life of a TCP connection for DNS, whatever it does.
pub const DNS_TCP_LIFETIME: Duration = Duration::from_secs(60);
/// The highest rate of answers that can be set.
pub const DNS_RESPONSES_PER_SECOND_SETTING_MAX: u32 = 1_000_000;
/// The highest share of answers over the rate that can be set to go out truncated, as one of so many.
pub const DNS_SLIP_SETTING_MAX: u32 = 10;
/// Answers about edges may be kept this long if the configuration does not say: an edge that drains is out of use after it.
pub const DNS_TTL_DEFAULT: Duration = Duration::from_secs(60);
/// That there is nothing may be kept this long: when the only edge is linked again, clients find it after it.
pub const DNS_NEGATIVE_TTL_DEFAULT: Duration = Duration::from_secs(30);
/// The shortest time that can be set for both.
pub const DNS_TTL_MIN: Duration = Duration::from_secs(1);
/// The longest time that can be set for both.
pub const DNS_TTL_SETTING_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// An edge whose last link is gone stays in DNS for this long: edge-c dials again within seconds.
pub const DNS_LINK_GONE_AFTER: Duration = Duration::from_secs(10);
/// Edges of a cluster that an edge-c tells of.
pub const CLUSTER_EDGES_MAX: usize = 256;
/// XMPP clients of all addresses that are connected and not authenticated: at some 50 KiB while TLS begins, 50 MiB.
pub const XMPP_UNAUTHENTICATED_DEFAULT: u32 = 1_024;
/// And of one address: an office after a power cut comes in so many at a time. A small share of
/// [`XMPP_UNAUTHENTICATED_DEFAULT`], so that nobody keeps others out.
pub const XMPP_UNAUTHENTICATED_PER_ADDRESS_DEFAULT: u32 = 64;
const _: () =
    assert!(XMPP_UNAUTHENTICATED_PER_ADDRESS_DEFAULT * 16 <= XMPP_UNAUTHENTICATED_DEFAULT);
/// Most of either that may be set.
pub const XMPP_UNAUTHENTICATED_SETTING_MAX: u32 = 100_000;
/// From the first byte of a connection to the end of authentication, however busy the client is: a phone on a bad line
/// needs ten round trips of a second.
pub const XMPP_LOGIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Shortest and longest that may be set for it.
pub const XMPP_LOGIN_TIMEOUT_MIN: Duration = Duration::from_secs(2);
/// See [`XMPP_LOGIN_TIMEOUT_MIN`].
pub const XMPP_LOGIN_TIMEOUT_MAX: Duration = Duration::from_secs(300);
/// How long a client that is told goodbye may take to read it.
pub const XMPP_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// A stop closes XMPP clients one after the other over this time, so that they do not all come back at once.
pub const XMPP_DRAIN_SPREAD: Duration = Duration::from_secs(5);
/// Octets of a client that are read and sent on at a time: what a stream of the link may send unasked is no less.
pub const XMPP_PIECE_BYTES: usize = FLOW_WINDOW_BYTES as usize;
/// How often a name is hashed again for the proofs of a signed zone. RFC 9276 section 3.1 wants none; resolvers give up
/// beyond this, and every question about a name that is not there costs three times as many.
pub const DNS_NSEC3_ITERATIONS_MAX: u16 = 50;
/// The own key of DNS cookies is made anew this often (RFC 9018 section 5); the one before stays good.
pub const DNS_COOKIE_KEY_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// Namespaces that a server declares for all of its stream: two, and a few of extensions.
pub const XMPP_NAMESPACES_MAX: usize = 8;
/// What one read of a node takes while a client signs in; feature lists mostly fit.
pub const XMPP_READ_BYTES: usize = 4 * 1024;
/// What one read of a stream takes afterwards: a TLS record. One such space for each thread.
pub const XMPP_SPLICE_BYTES: usize = 16 * 1024;
/// Streams of one edge-c: the users of a cluster of IM and Presence, some with two clients.
pub const XMPP_STREAMS_MAX: usize = 100_000;
/// Nodes of one domain; a cluster of IM and Presence has six.
pub const XMPP_NODES_MAX: usize = 16;
/// From a client's first byte on edge-c until it is in: a person may be asked for a second factor meanwhile.
pub const XMPP_LOGIN_TIMEOUT: Duration = Duration::from_mins(1);
/// Until an address of a node takes TCP, and again until TLS is up; a client gives up after some ten seconds.
pub const XMPP_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Every so often each node is asked how it is.
pub const XMPP_PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// A node that takes longer for a feature list is of no use.
pub const XMPP_PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// Failures in a row until a node is down.
pub const XMPP_NODE_FAILURES: u32 = 2;
/// A node that does not acknowledge what was sent to it is gone: a client must not be on a dead stream for longer.
pub const XMPP_NODE_DEAD_AFTER: Duration = Duration::from_secs(5);
/// A connection to a node on which nothing moved is asked after; dead nodes are found by probes before that.
pub const XMPP_NODE_KEEPALIVE_IDLE: Duration = Duration::from_mins(1);
/// As often as inner nodes are looked up; answers come from the cache until their TTL ends.
pub const XMPP_NODES_INTERVAL: Duration = Duration::from_secs(30);
/// How long a client that is faster than edge-c's first look-up of nodes waits for it: a few tries of a name server.
pub const XMPP_FIRST_LOOK_UP_TIMEOUT: Duration = Duration::from_secs(5);
/// A user whose HTTPS session is missing hears so after this: as slow as a password that a node refuses.
pub const XMPP_DENY_DELAY: Duration = Duration::from_secs(1);
/// Users whose node is remembered: as many as a cluster has, and some more.
pub const XMPP_HOMES_MAX: usize = 100_000;
/// Nodes in that memory.
pub const XMPP_HOME_PLACES_MAX: usize = 1024;
/// How long a node's word on where a user is at home counts.
pub const XMPP_HOME_KEPT: Duration = Duration::from_hours(24);
/// How long a user is led back to the last node: streams are resumed within some minutes (XEP-0198).
pub const XMPP_LAST_NODE_KEPT: Duration = Duration::from_mins(10);
/// Streams that a drain ends at once, ten times a second: 25,000 clients come to other cores within five seconds.
pub const XMPP_DRAIN_BATCH: usize = 500;
/// Between two of these.
pub const XMPP_DRAIN_INTERVAL: Duration = Duration::from_millis(100);
/// How often it is looked whose session or token, by which a stream was let in, is over: sessions end by the second.
pub const XMPP_EXPIRY_INTERVAL: Duration = Duration::from_secs(1);
// --- tokens ---

/// Longest access token, in octets: large ones with groups in them are 4 KiB; fields of clients end at 48 KiB in all.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
const _: () = assert!(TOKEN_BYTES_MAX + 64 <= SESSION_CREDENTIAL_BYTES_MAX);
/// Longest name of a key in a token's header: a cluster's name and a hash.
pub const TOKEN_KID_BYTES_MAX: usize = 128;
/// Most audiences of one token.
pub const TOKEN_AUDIENCES_MAX: usize = 16;
/// How far an issuer's clock may differ, if nothing else is set: both ends keep time.
pub const TOKEN_SKEW_DEFAULT: Duration = Duration::from_secs(5);
/// Most that may be set: what is over is over.
pub const TOKEN_SKEW_MAX: Duration = Duration::from_secs(60);
/// Verdicts that are remembered: one for each user of a large site.
pub const TOKEN_VERDICTS_MAX: usize = 50_000;
/// How long a verdict is believed at most, however long the token lives: a key that was withdrawn ends it.
pub const TOKEN_VERDICT_AGE_MAX: Duration = Duration::from_mins(10);
/// How long the answer of an introspection or of UDS is believed: it may be revoked meanwhile.
pub const TOKEN_ANSWER_AGE_MAX: Duration = Duration::from_secs(30);
/// How long a refusal by an issuer is remembered, so that a client in a loop doesn't ask on.
pub const TOKEN_REFUSAL_AGE: Duration = Duration::from_secs(5);
/// Longest key set, in octets.
pub const JWKS_BYTES_MAX: usize = 256 * 1024;
/// Most keys of one set.
pub const JWKS_KEYS_MAX: usize = 64;
/// Most keys without a name: each is tried for a token whose key has none.
pub const JWKS_NAMELESS_MAX: usize = 8;
/// Older keys than this are stale: they still serve, and the operator is told.
pub const JWKS_AGE: Duration = Duration::from_mins(10);
/// Keys are fetched anew at this age, so that no request ever waits for it.
pub const JWKS_REFRESH_AGE: Duration = Duration::from_mins(8);
/// Between two fetches that tokens with an unknown key cause: strangers can make up such tokens.
pub const JWKS_MISS_INTERVAL: Duration = Duration::from_secs(30);
/// Between two fetches while the issuer is away.
pub const JWKS_RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// How long the last good keys serve through an outage.
pub const JWKS_STALE_MAX: Duration = Duration::from_hours(24);
/// How long an issuer may take for one answer: a client waits for the sign-in.
pub const ISSUER_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest metadata of an issuer, in octets: real ones have 10 KB.
pub const METADATA_BYTES_MAX: usize = 64 * 1024;
/// How long an issuer's metadata is believed.
pub const METADATA_AGE: Duration = Duration::from_mins(10);
/// Longest answer of an introspection, in octets.
pub const INTROSPECTION_BYTES_MAX: usize = 32 * 1024;
/// Most issuers of one configuration.
pub const ISSUERS_MAX: usize = 32;
/// Longest cookie of an issuer's page, attributes included, and all of them in one request.
pub const SSO_COOKIE_BYTES_MAX: usize = 8 * 1024;
/// Longest page of an issuer whose links are turned to the edge, in octets; a sign-in page is below 100 KB.
pub const SSO_PAGE_BYTES_MAX: usize = 1024 * 1024;
/// Longest form that a client sends to an issuer through the edge, in octets: a SAML assertion is the longest.
pub const SSO_FORM_BYTES_MAX: usize = 128 * 1024;
/// Requests for single sign-on from one address, if nothing else is set: a sign-in takes about ten.
pub const SSO_COUNT_DEFAULT: u32 = 300;
/// Window of [`SSO_COUNT_DEFAULT`].
pub const SSO_WINDOW_DEFAULT: Duration = Duration::from_mins(1);
/// Addresses whose requests for single sign-on are counted.
pub const SSO_ADDRESSES_MAX: usize = 50_000;
/// Requests for single sign-on under way at once, from everybody together.
pub const SSO_REQUESTS_MAX: usize = 256;
/// How long a client may take to send a form.
pub const SSO_BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// How long an issuer may take for a page: it asks LDAP for passwords.
pub const SSO_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the word of a home cluster on single sign-on is believed.
pub const SSO_STATE_AGE: Duration = Duration::from_mins(1);
