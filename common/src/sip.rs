//! SIP (RFC 3261): messages, transactions and the proxy core. Owns no socket.

pub mod digest;
pub mod flow_token;
pub mod identity;
pub mod proxy;
pub mod transaction;
