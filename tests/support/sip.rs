//! Real peers for calls: a registrar, phones, load, and an edge of somebody else's.
//!
//! | module | what it holds |
//! |---|---|
//! | [`registrar`] | Kamailio inside, which every user registers with |
//! | [`reference_edge`] | Kamailio in the DMZ, in place of the pair |
//! | [`phone`] | baresip, outside or inside |
//! | [`browser`] | `JsSIP`, over WebSocket |
//! | [`tone`], [`ear`] | what a phone has heard; what comes in at it, on the wire |
//! | [`sipp`] | thousands of users |
//! | [`agent`], [`voice`] | a user agent that says what it is told, and its media |
//! | [`srtp`] | to look into sealed media, and to forge it |

pub mod agent;
pub mod browser;
pub mod ear;
mod kamailio;
pub mod phone;
pub mod reference_edge;
pub mod registrar;
pub mod sipp;
pub mod srtp;
pub mod tone;
pub mod voice;

pub use kamailio::{Kamailio, TlsFiles};
