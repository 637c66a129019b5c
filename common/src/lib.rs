//! What both edges need, and every protocol core.
//!
//! Code map, in order of dependence: **a module may use only those above it.**
//!
//! | module | what it holds |
//! |---|---|
//! | [`limits`] | every bound, with its reason |
//! | [`time`], [`redact`], [`net`], [`id`] | small types that cannot be confused |
//! | [`wire`] | bounds-checked reading and writing of binary fields |
//! | [`http`] | the request target in its one normalised form |
//! | [`sdp`] | session descriptions: reading, byte-exact editing, SRTP keys in them |
//! | [`policy`] | allow list, domains, rate limits: pure decisions |
//! | [`tls`] | TLS configurations and the names in certificates |
//! | [`mra`] | what only this product speaks: edge paths, edge verbs, the `X-Auth` cookie |
//! | [`sip`] | SIP messages, transactions and the proxy core |
//! | [`media`] | offer and answer over ports of the pair, RTP and SRTP, what crosses the media trunk |
//! | [`dns`] | authoritative DNS: zones, answers, cookies, rate limit |
//! | [`oauth`] | access tokens, key sets, introspection answers, an issuer's metadata and pages |
//! | [`link`] | control commands, the greeting and the preface on the link between the edges |
//! | [`xmpp`] | XMPP until authentication is done: streams, features, SASL as it passes |
//! | [`session`] | who is signed in; owns no socket |
//! | [`telemetry`] | names and labels of metrics and log fields |
//! | [`config`] | reading configuration files and saying what is wrong with them |
//! | [`runtime`] | feature `io`: the shells around the cores; the only part that knows tokio |
//!
//! Nothing outside [`runtime`] reads a clock, opens a socket or spawns a task.

pub mod config;
pub mod dns;
pub mod http;
pub mod id;
pub mod limits;
pub mod link;
pub mod media;
pub mod mra;
pub mod net;
pub mod oauth;
pub mod policy;
pub mod redact;
#[cfg(feature = "io")]
pub mod runtime;
pub mod sdp;
pub mod session;
pub mod sip;
pub mod telemetry;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
pub mod time;
pub mod tls;
pub mod wire;
pub mod xmpp;
