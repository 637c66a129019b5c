//! Real peers for chat: IM and Presence nodes, clients, and an edge of somebody else's.
//!
//! | module | what it holds |
//! |---|---|
//! | [`prosody`], [`ejabberd`] | IM and Presence nodes |
//! | [`imp`] | one that speaks what they can't: CISCO-VTG-TOKEN, one-time passwords, hints of nodes |
//! | [`reference_edge`] | `HAProxy` in the DMZ, in place of the pair |
//! | [`chatter`] | slixmpp outside: signs in, talks, resumes |
//! | [`page`] | `@xmpp/client`, over WebSocket |
//! | [`told_node`] | `HAProxy` before a node, which wants to be told the client's address |
//! | [`wire`] | a client that says what it is told, byte for byte |

pub mod chatter;
mod daemon;
pub mod ejabberd;
pub mod imp;
pub mod page;
pub mod prosody;
pub mod reference_edge;
pub mod told_node;
pub mod wire;

pub use daemon::Daemon;
