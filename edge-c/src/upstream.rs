//! Connections to inner servers.

pub mod http;
pub mod sip;
pub mod xmpp;
