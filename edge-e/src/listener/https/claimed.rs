//! Who a client says it is, as far as a limit by user needs to know: the name in front of the colon, and nothing of the
//! password.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use common::limits;
use common::policy::jail::UserTag;
use common::redact::Redacted;
use http::HeaderMap;
use http::header::AUTHORIZATION;

/// A name that nobody has proved.
#[derive(Debug)]
pub(super) struct Claimed {
    /// What it is counted by.
    pub(super) tag: UserTag,
    /// For the log.
    pub(super) name: Redacted<String>,
}

impl Claimed {
    /// Reads the user name of Basic credentials (RFC 7617), if there are any. Whether they are well-formed is for edge-c to
    /// say.
    pub(super) fn read(fields: &HeaderMap) -> Option<Self> {
        let value = fields.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, encoded) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let name = name(encoded.trim_matches(' ').as_bytes())?;
        Some(Self {
            tag: UserTag::of(&name),
            name: Redacted::new(name),
        })
    }
}

/// Three octets at a time, so that no more than two octets of a password are ever decoded.
fn name(encoded: &[u8]) -> Option<String> {
    let mut name = Vec::new();
    for digits in encoded.chunks(4) {
        let mut octets = [0_u8; 3];
        let len = LENIENT.decode_slice(digits, &mut octets).ok()?;
        for octet in octets.iter().take(len) {
            if *octet == b':' {
                return String::from_utf8(name).ok();
            }
            name.push(*octet);
        }
        if name.len() > limits::USER_ID_BYTES_MAX {
            return None;
        }
    }
    None
}

/// Clients differ about the padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;

    fn claimed(value: &str) -> Option<String> {
        let fields = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
        Claimed::read(&fields).map(|claimed| claimed.name.reveal().clone())
    }

    #[test]
    fn the_name_in_front_of_the_first_colon_is_read() {
        for (text, name) in [
            ("alice:secret", "alice"),
            ("al:ice:secret", "al"),
            ("älice@example.com:pass:wörd", "älice@example.com"),
            (":x", ""),
            ("a:", "a"),
        ] {
            let value = STANDARD.encode(text);

            let read = claimed(&format!("Basic {value}"));
            assert_eq!(read.as_deref(), Some(name), "{text}");
            let unpadded = claimed(&format!("basic {}", value.trim_end_matches('=')));
            assert_eq!(unpadded.as_deref(), Some(name), "{text}");
        }
    }

    #[test]
    fn anything_else_names_nobody() {
        let long = format!("Basic {}", STANDARD.encode("a".repeat(5_000)));
        for value in ["Bearer YTpi", "Basic", "Basic !!!!", "Basic YWI=", &long] {
            assert_eq!(claimed(value), None, "{value}");
        }
    }

    #[test]
    fn the_spelling_of_a_name_makes_no_difference() {
        let tag = |text: &str| UserTag::of(text);

        assert_eq!(tag("Alice"), tag("aLICE"));
        assert_ne!(tag("alice"), tag("bob"));
    }
}
