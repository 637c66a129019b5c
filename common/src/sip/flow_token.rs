//! Flow tokens (RFC 5626 section 5.2): which flow a request from inside is for, sealed so that nobody else can make
//! one. Names no address.

use std::fmt;

use aws_lc_rs::{constant_time, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use smallvec::SmallVec;

use super::topology::Sealer;

/// Characters of a token: 25 octets in base64url without padding.
pub const TOKEN_CHARS: usize = 34;
const VERSION: u8 = 1;
const PLAIN_BYTES: usize = 13;
/// Of the HMAC this much stands in the token: a forger has one chance in 2^96.
const TAG_BYTES: usize = 12;
const TOKEN_BYTES: usize = PLAIN_BYTES + TAG_BYTES;

/// Keys of flow tokens and of what is hidden in routes: the first makes and verifies, the others verify only.
#[derive(Clone)]
pub struct FlowTokenKeys {
    keys: SmallVec<[KeySet; 2]>,
}

#[derive(Clone)]
struct KeySet {
    token: hmac::Key,
    sealer: Sealer,
}

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowToken {
    /// The flow, as the shell numbered it.
    pub flow: u64,
    /// The start of the process that made it.
    pub epoch: u32,
}

/// A token in its text form.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenText([u8; TOKEN_CHARS]);

/// Not a token of this pair, or one made under a key that is no longer known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a flow token of this pair")]
pub struct Forged;

impl FlowTokenKeys {
    /// `current` makes tokens; those made under `previous` are still good.
    #[must_use]
    pub fn new(current: &[u8; 32], previous: Option<&[u8; 32]>) -> Self {
        let keys = std::iter::once(current).chain(previous);
        Self {
            keys: keys.map(KeySet::new).collect(),
        }
    }

    /// Makes a token.
    #[must_use]
    pub fn make(&self, token: FlowToken) -> TokenText {
        let mut bytes = [0; TOKEN_BYTES];
        let (plain, tag) = bytes.split_at_mut(PLAIN_BYTES);
        plain.copy_from_slice(&plain_bytes(token));
        if let Some(keys) = self.keys.first() {
            let full = hmac::sign(&keys.token, plain);
            tag.iter_mut()
                .zip(full.as_ref())
                .for_each(|(to, from)| *to = *from);
        }
        let mut text = [0; TOKEN_CHARS];
        // The slice is exactly as long as the text of 25 octets.
        drop(URL_SAFE_NO_PAD.encode_slice(bytes, &mut text));
        TokenText(text)
    }

    /// Reads and verifies a token.
    ///
    /// # Errors
    /// [`Forged`] if it is not one of this pair.
    pub fn verify(&self, text: &[u8]) -> Result<FlowToken, Forged> {
        let mut bytes = [0; TOKEN_BYTES];
        let length = URL_SAFE_NO_PAD
            .decode_slice(text, &mut bytes)
            .map_err(|_| Forged)?;
        let (plain, tag) = bytes.split_at(PLAIN_BYTES);
        let is_ours = length == TOKEN_BYTES
            && self.keys.iter().any(|keys| {
                let full = hmac::sign(&keys.token, plain);
                let ours = full.as_ref().get(..TAG_BYTES).unwrap_or_default();
                constant_time::verify_slices_are_equal(ours, tag).is_ok()
            });
        let (flow, rest) = plain.split_first_chunk::<8>().ok_or(Forged)?;
        let (epoch, version) = rest.split_first_chunk::<4>().ok_or(Forged)?;
        if is_ours && version == [VERSION] {
            Ok(FlowToken {
                flow: u64::from_be_bytes(*flow),
                epoch: u32::from_be_bytes(*epoch),
            })
        } else {
            Err(Forged)
        }
    }

    pub(super) fn sealers(&self) -> impl Iterator<Item = &Sealer> {
        self.keys.iter().map(|keys| &keys.sealer)
    }
}

impl KeySet {
    fn new(master: &[u8; 32]) -> Self {
        let master = hmac::Key::new(hmac::HMAC_SHA256, master);
        let token = hmac::sign(&master, b"flow token");
        Self {
            token: hmac::Key::new(hmac::HMAC_SHA256, token.as_ref()),
            sealer: Sealer::new(&master),
        }
    }
}

fn plain_bytes(token: FlowToken) -> [u8; PLAIN_BYTES] {
    let mut plain = [VERSION; PLAIN_BYTES];
    let fields = token
        .flow
        .to_be_bytes()
        .into_iter()
        .chain(token.epoch.to_be_bytes());
    plain
        .iter_mut()
        .zip(fields)
        .for_each(|(to, from)| *to = from);
    plain
}

impl TokenText {
    /// The text.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.0).unwrap_or_default())
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for FlowTokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} keys]", self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: FlowToken = FlowToken {
        flow: 0x0123_4567_89ab_cdef,
        epoch: 77,
    };

    #[test]
    fn a_token_reads_back_and_fits_into_a_user_part() {
        let keys = FlowTokenKeys::new(&[1; 32], None);

        let text = keys.make(TOKEN).to_string();

        assert_eq!(text.len(), TOKEN_CHARS);
        assert!(
            text.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        );
        assert_eq!(keys.verify(text.as_bytes()), Ok(TOKEN));
    }

    #[test]
    fn whoever_changes_a_character_forges_a_token() {
        let keys = FlowTokenKeys::new(&[1; 32], None);
        let text = keys.make(TOKEN);

        for at in 0..TOKEN_CHARS {
            let mut forged = text.as_bytes().to_vec();
            forged[at] = if forged[at] == b'A' { b'Q' } else { b'A' };
            assert_eq!(keys.verify(&forged), Err(Forged), "character {at}");
        }
        for text in [
            &b""[..],
            b"x",
            &[b'A'; TOKEN_CHARS + 4],
            &[b'A'; TOKEN_CHARS],
        ] {
            assert_eq!(keys.verify(text), Err(Forged));
        }
    }

    #[test]
    fn tokens_of_the_key_before_are_still_good_and_those_of_others_are_not() {
        let old = FlowTokenKeys::new(&[1; 32], None).make(TOKEN);
        let rolled = FlowTokenKeys::new(&[2; 32], Some(&[1; 32]));
        let other = FlowTokenKeys::new(&[3; 32], None);

        assert_eq!(rolled.verify(old.as_bytes()), Ok(TOKEN));
        assert_eq!(other.verify(old.as_bytes()), Err(Forged));
    }
}
