//! SIP (RFC 3261): messages, transactions and the proxy core. Owns no socket.
//!
//! A message is read by location: it is its bytes and an index of where everything stands. Values are read in place, an
//! edit list changes what must change, and everything else goes on byte for byte. From the wire to the wire: [`framing`]
//! cuts a stream into messages, [`message`] indexes and checks one, [`via`], [`address`], [`uri`], [`param`] and [`auth`]
//! read its values, [`edit`] writes the message that goes on, and [`response`] the answers that are made here.

pub mod address;
pub mod auth;
mod dialog;
pub mod digest;
pub mod edit;
pub mod flow_token;
pub mod framing;
pub mod gate;
pub mod identity;
pub mod keep_alive;
mod location;
pub mod message;
pub mod name;
pub mod param;
pub mod proxy;
mod registration;
pub mod response;
mod scan;
pub mod topology;
pub mod transaction;
pub mod uri;
pub mod via;
