//! `[xmpp]`: chat clients, over TLS and in web pages.

use std::net::SocketAddr;
use std::time::Duration;

use common::config::{Table, Value};
use common::limits;

use super::{Origin, origin};

/// `[xmpp]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xmpp {
    /// XMPP with STARTTLS and with direct TLS, each address for both; empty for none.
    pub listen: Vec<SocketAddr>,
    /// Whether edge-c ends the TLS of clients over TCP, so that this edge reads nothing of what they say.
    pub is_passthrough: bool,
    /// Web pages that may open a WebSocket; of nobody if there are none.
    pub websocket_origins: Vec<Origin>,
    /// From the first byte of a connection to the end of authentication.
    pub login_timeout: Duration,
    /// Clients that are connected and not authenticated.
    pub unauthenticated_max: u32,
    /// And of one address.
    pub unauthenticated_per_address_max: u32,
}

impl Xmpp {
    pub(super) fn read(table: &Table<'_>) -> Self {
        let range = 1..=limits::XMPP_UNAUTHENTICATED_SETTING_MAX;
        let count = |key, default| table.or(key, default, |value| value.integer(&range));
        let times = limits::XMPP_LOGIN_TIMEOUT_MIN..=limits::XMPP_LOGIN_TIMEOUT_MAX;
        let read = Self {
            listen: table.list("listen", Value::socket_addr),
            is_passthrough: table.or("passthrough", false, Value::boolean),
            websocket_origins: table.list("websocket_origins", origin),
            login_timeout: table.or(
                "login_timeout",
                limits::XMPP_LOGIN_TIMEOUT_DEFAULT,
                |value| value.duration(&times),
            ),
            unauthenticated_max: count("unauthenticated_max", limits::XMPP_UNAUTHENTICATED_DEFAULT),
            unauthenticated_per_address_max: count(
                "unauthenticated_per_address_max",
                limits::XMPP_UNAUTHENTICATED_PER_ADDRESS_DEFAULT,
            ),
        };
        if read.is_passthrough && !read.websocket_origins.is_empty() {
            table.warn(
                "passthrough",
                "does not hold for web pages: TLS of WebSockets ends at this edge",
                "leave websocket_origins out if no password may be seen here",
            );
        }
        if read.unauthenticated_per_address_max >= read.unauthenticated_max {
            table.warn(
                "unauthenticated_per_address_max",
                "is not below unauthenticated_max: a single address can keep everybody else out",
                "set it to a small share of unauthenticated_max",
            );
        }
        read
    }
}
