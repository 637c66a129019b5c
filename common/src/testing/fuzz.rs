//! What the fuzz targets in `tests/fuzz` call: one function for each target, taking the raw bytes. The same functions
//! replay the committed corpora in an ordinary test, so a new target is: a function here or beside the code that it
//! tries, a line in [`TARGETS`], a one-line file in `tests/fuzz/fuzz_targets`, a folder in `tests/fuzz/corpus`.
//!
//! A function returns on input that it has nothing to say about and panics on a broken promise.

mod allow_list;
mod http_target;
mod sip;

pub use allow_list::allow_list;
pub use http_target::http_target;
pub use sip::{sip_forward, sip_framing};

pub use crate::dns::fuzz::packet as dns;
pub use crate::link::exchange::fuzz as exchange;
pub use crate::link::flow::fuzz as flow;
pub use crate::media::anchor::fuzz::steps as anchor;
pub use crate::media::relay::fuzz::steps as media_relay;
pub use crate::media::session::fuzz::steps as media_session;
pub use crate::mra::cookie::fuzz_cookie as cookie;
pub use crate::mra::edge_config::fuzz_round_trip as edge_config;
pub use crate::mra::edge_path::fuzz as edge_path;
pub use crate::oauth::fuzz::token;
#[cfg(feature = "io")]
pub use crate::runtime::lean_tls::fuzz::records as lean_tls;
pub use crate::sdp::fuzz::sdp_rewrite;

pub use crate::sip::proxy::fuzz::steps as sip_proxy;
pub use crate::xmpp::fuzz::{
    features as xmpp_features, login as xmpp_login, opening as xmpp_opening, sasl as xmpp_sasl,
};

use crate::link::control::fuzz::{frames, messages, steps};

/// A fuzz target: raw bytes in, a panic if a promise is broken.
pub type Target = fn(&[u8]);

/// Every target that needs nothing but this crate, by the name of its file and its corpus.
pub const TARGETS: [(&str, Target); 21 + cfg!(feature = "io") as usize] = [
    ("allow_list", allow_list),
    ("anchor", anchor),
    ("control", control),
    ("cookie", cookie),
    ("dns", dns),
    ("edge_config", edge_config),
    ("edge_path", edge_path),
    ("exchange", exchange),
    ("flow", flow),
    ("http_target", http_target),
    #[cfg(feature = "io")]
    ("lean_tls", lean_tls),
    ("sdp_rewrite", sdp_rewrite),
    ("sip_forward", sip_forward),
    ("sip_framing", sip_framing),
    ("media_relay", media_relay),
    ("media_session", media_session),
    ("sip_proxy", sip_proxy),
    ("token", token),
    ("xmpp_features", xmpp_features),
    ("xmpp_login", xmpp_login),
    ("xmpp_opening", xmpp_opening),
    ("xmpp_sasl", xmpp_sasl),
];

/// A control message if it begins like one; else control frames as raw bytes, or as steps of two sides that lose
/// connections: the lowest bit of the first byte says which.
pub fn control(bytes: &[u8]) {
    match bytes.split_first() {
        Some((b'{', _)) => messages(bytes),
        Some((first, rest)) if first % 2 == 1 => steps(rest),
        Some((_, rest)) => frames(rest),
        None => {}
    }
}
