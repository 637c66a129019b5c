//! The public listeners, one file for each port. The same five steps everywhere:
//! accept, admit, identify, authorise, relay.

pub(crate) mod front;
pub mod https;
pub mod media;
pub mod sip;
pub mod websocket;
pub mod xmpp;
