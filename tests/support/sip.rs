//! Real peers for calls: a registrar, phones, load, and an edge of somebody else's.
//!
//! | module | what it holds |
//! |---|---|
//! | [`registrar`] | Kamailio inside, which every user registers with |
//! | [`reference_edge`] | Kamailio in the DMZ, in place of the pair |
//! | [`phone`] | baresip, outside or inside |
//! | [`tone`] | what a phone has heard |

mod kamailio;
pub mod phone;
pub mod reference_edge;
pub mod registrar;
pub mod tone;

pub use kamailio::{Kamailio, TlsFiles};
