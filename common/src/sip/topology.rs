//! What clients need not see: the route through the inside, sealed into a parameter of the own Record-Route. Keeps no
//! state, so that a dialog outlives a restart.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use smallvec::SmallVec;

use super::flow_token::FlowTokenKeys;
use crate::limits;

/// Seals under a nonce that comes from the content (RFC 8452 has the idea): the same content gives the same text, which is
/// what retransmissions need, and no counter has to be kept.
#[derive(Clone)]
pub(super) struct Sealer {
    nonce: hmac::Key,
    seal: Arc<LessSafeKey>,
}

impl Sealer {
    pub(super) fn new(master: &hmac::Key) -> Self {
        let nonce = hmac::sign(master, b"route nonce");
        let seal = hmac::sign(master, b"route seal");
        let key = UnboundKey::new(&AES_256_GCM, seal.as_ref());
        #[expect(
            clippy::expect_used,
            reason = "AES-256 takes 32 octets and HMAC-SHA-256 makes 32"
        )]
        let key = key.expect("a key of the right length");
        Self {
            nonce: hmac::Key::new(hmac::HMAC_SHA256, nonce.as_ref()),
            seal: Arc::new(LessSafeKey::new(key)),
        }
    }

    fn nonce_of(&self, context: &[u8], plain: &[u8]) -> [u8; NONCE_LEN] {
        let mut signing = hmac::Context::with_key(&self.nonce);
        signing.update(&context.len().to_be_bytes());
        signing.update(context);
        signing.update(plain);
        let tag = signing.sign();
        let mut nonce = [0; NONCE_LEN];
        nonce
            .iter_mut()
            .zip(tag.as_ref())
            .for_each(|(to, from)| *to = *from);
        nonce
    }
}

/// The inner part of a client's route, and who the client is in the dialog.
///
/// Sealed for one Call-ID: under another one the seal is broken, so that a route of one dialog opens no door for another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HiddenRoute {
    /// Of the AoR that the client has in From or To, see [`identity_mark`].
    pub identity: IdentityMark,
    /// Values of Route for requests of the client, each in `<` and `>`, parted by commas; may be empty.
    pub routes: Vec<u8>,
}

/// Tells whether two AoRs are the same without naming them.
pub type IdentityMark = [u8; 8];

/// The mark of a SIP URI as an AoR: user and host; port and parameters have no say.
#[must_use]
pub fn identity_mark(user: &[u8], host: &[u8]) -> IdentityMark {
    let mut hashing = digest::Context::new(&digest::SHA256);
    hashing.update(user);
    hashing.update(b"@");
    let lower: SmallVec<[u8; 64]> = host.iter().map(u8::to_ascii_lowercase).collect();
    hashing.update(&lower);
    let hash = hashing.finish();
    let mut mark = IdentityMark::default();
    mark.iter_mut()
        .zip(hash.as_ref())
        .for_each(|(to, from)| *to = *from);
    mark
}

impl HiddenRoute {
    /// The text for a URI parameter; `None` if the route is over [`limits::SIP_HIDDEN_ROUTE_BYTES_MAX`].
    #[must_use]
    pub fn seal(&self, keys: &FlowTokenKeys, call_id: &[u8]) -> Option<String> {
        if self.routes.len() > limits::SIP_HIDDEN_ROUTE_BYTES_MAX {
            return None;
        }
        let sealer = keys.sealers().next()?;
        let mut sealed = Vec::with_capacity(self.routes.len().saturating_add(32));
        sealed.extend_from_slice(&self.identity);
        sealed.extend_from_slice(&self.routes);
        let nonce = sealer.nonce_of(call_id, &sealed);
        sealer
            .seal
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(call_id),
                &mut sealed,
            )
            .ok()?;
        let mut whole = nonce.to_vec();
        whole.append(&mut sealed);
        Some(URL_SAFE_NO_PAD.encode(whole))
    }

    /// Reads it back; `None` if it was not made by this pair for this Call-ID.
    #[must_use]
    pub fn open(text: &[u8], keys: &FlowTokenKeys, call_id: &[u8]) -> Option<Self> {
        if text.len() > limits::SIP_HIDDEN_ROUTE_BYTES_MAX.saturating_mul(2) {
            return None;
        }
        let whole = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = whole.split_first_chunk::<NONCE_LEN>()?;
        keys.sealers().find_map(|sealer| {
            let mut sealed = sealed.to_vec();
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let plain = sealer
                .seal
                .open_in_place(nonce, Aad::from(call_id), &mut sealed)
                .ok()?;
            let (identity, routes) = plain.split_first_chunk()?;
            Some(Self {
                identity: *identity,
                routes: routes.to_vec(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(text: &str) -> HiddenRoute {
        HiddenRoute {
            identity: identity_mark(b"1001", b"lab.test"),
            routes: text.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_hidden_route_reads_back_and_shows_nothing() {
        let keys = FlowTokenKeys::new(&[7; 32], None);
        let hidden = route("<sip:10.0.0.10;transport=tcp;lr>");

        let text = hidden.seal(&keys, b"call").unwrap();

        assert!(!text.contains("10.0.0.10"));
        assert_eq!(Some(text.clone()), hidden.seal(&keys, b"call"));
        assert_eq!(
            HiddenRoute::open(text.as_bytes(), &keys, b"call"),
            Some(hidden)
        );
    }

    #[test]
    fn the_mark_of_an_identity_knows_the_letter_case_of_users_only() {
        assert_eq!(
            identity_mark(b"1001", b"LAB.test"),
            identity_mark(b"1001", b"lab.test")
        );
        assert_ne!(
            identity_mark(b"alice", b"lab.test"),
            identity_mark(b"Alice", b"lab.test")
        );
    }

    #[test]
    fn a_hidden_route_opens_in_its_own_dialog_only() {
        let keys = FlowTokenKeys::new(&[7; 32], None);
        let text = route("").seal(&keys, b"call").unwrap();
        let mut changed = text.clone().into_bytes();
        changed[3] ^= 1;

        assert_eq!(HiddenRoute::open(text.as_bytes(), &keys, b"other"), None);
        assert_eq!(HiddenRoute::open(&changed, &keys, b"call"), None);
        assert_eq!(HiddenRoute::open(b"", &keys, b"call"), None);
    }

    #[test]
    fn a_route_that_is_too_long_is_not_hidden() {
        let keys = FlowTokenKeys::new(&[7; 32], None);
        let long = "x".repeat(limits::SIP_HIDDEN_ROUTE_BYTES_MAX + 1);

        assert_eq!(route(&long).seal(&keys, b"call"), None);
    }
}
