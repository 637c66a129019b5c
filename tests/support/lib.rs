//! What end-to-end tests, benchmarks and the demo share: the world inside, real peers, zones of
//! the network, and a pair of edges to put between them.
//!
//! | module | what it holds |
//! |---|---|
//! | [`place`], [`process`], [`wait`] | where things run, children that end, waiting with a deadline |
//! | [`world`] | the company behind the edges, as a description |
//! | [`netns`] | client, DMZ and inside as network namespaces with a packet filter |
//! | [`dns`], [`bind`] | zones as a description; a real BIND 9 |
//! | [`files`], [`nginx`] | photos and configuration files; a real nginx |
//! | [`curl`], [`tls_client`], [`tls_forwarder`] | the client; one that sends what no client should; TLS for those without |
//! | [`pair`] | the edges themselves: configured, started, stopped, killed |
//! | [`http_server`], [`uds`] | the UDS simulator, the only home-made server in the tests |
//! | [`redis`] | a real Redis, the store that several edge-c share |
//! | [`sip`] | a registrar, phones and load for calls |
//! | [`xmpp`] | IM and Presence nodes and clients for chat |
//! | [`command_line`], [`mod@bench`] | how the programs here start; what the measuring programs share |
//! | [`embedded_dns`], [`inner_world`] | everything inside as one process without root, for the demo |

#![expect(
    clippy::missing_errors_doc,
    reason = "every error here fails the test that meets it, with its whole chain"
)]
#![expect(
    clippy::missing_panics_doc,
    reason = "nothing here panics but by a mistake of its own"
)]
#![expect(
    clippy::expect_used,
    reason = "test support: a broken invariant ends the test"
)]

pub mod bench;
pub mod bind;
pub mod command_line;
pub mod curl;
pub mod dns;
pub mod embedded_dns;
pub mod files;
pub mod http_server;
pub mod inner_world;
mod installed;
pub mod netns;
pub mod nginx;
pub mod oidc;
pub mod pair;
pub mod place;
pub mod process;
pub mod redis;
pub mod sip;
mod template;
pub mod tls_client;
pub mod tls_forwarder;
pub mod uds;
pub mod wait;
pub mod world;
pub mod xmpp;
