//! What the first message of a SASL exchange says about who wants in. Proofs and passwords are not looked at.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::framing::Element;
use super::{NS_SASL, NS_SASL2};
use crate::limits;
use crate::redact::Secret;

/// A client's wish to authenticate.
#[derive(Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The mechanism, as the client names it.
    pub mechanism: String,
    /// Who, if the mechanism says it in its first message: without a domain, unless the mechanism has it with one.
    pub user: Option<String>,
    /// The access token that it shows instead of a password, for mechanisms that do.
    pub token: Option<Secret<String>>,
    /// The namespace of the profile: SASL of RFC 6120, or SASL2.
    pub profile: &'static str,
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempt")
            .field("mechanism", &self.mechanism)
            .field("has_user", &self.user.is_some())
            .finish_non_exhaustive()
    }
}

/// Why an attempt is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// No mechanism, or a name that no mechanism has (RFC 4422 section 3.1).
    #[error("the mechanism has no valid name")]
    Mechanism,
    /// Not base64 (RFC 6120 section 6.4.2).
    #[error("the initial response is not base64")]
    Encoding,
}

impl Attempt {
    /// Reads `<auth/>` or `<authenticate/>`; `None` for another element.
    ///
    /// # Errors
    /// [`SaslError`] if it has no mechanism or an initial response that can't be read.
    pub fn read(element: &Element) -> Result<Option<Self>, SaslError> {
        let (profile, response) = if element.is(NS_SASL, "auth") {
            (NS_SASL, Some(element))
        } else if element.is(NS_SASL2, "authenticate") {
            (NS_SASL2, element.child(NS_SASL2, "initial-response"))
        } else {
            return Ok(None);
        };
        let mechanism = element.attribute("mechanism").unwrap_or_default();
        if !is_mechanism(mechanism) {
            return Err(SaslError::Mechanism);
        }
        let response = decode(response.map_or("", |element| element.text.trim()))?;
        Ok(Some(Self {
            mechanism: mechanism.to_owned(),
            user: user(mechanism, &response),
            token: token(mechanism, &response).map(|token| Secret::new(token.to_owned())),
            profile,
        }))
    }

    /// Does the mechanism keep the password from whoever reads along?
    #[must_use]
    pub fn is_scram(&self) -> bool {
        self.mechanism.starts_with("SCRAM-")
    }

    /// Does the mechanism rely on the client's certificate, which ends at the edge?
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.mechanism == "EXTERNAL"
    }

    /// Does the mechanism show the password to whoever reads along?
    #[must_use]
    pub fn is_plain(&self) -> bool {
        matches!(self.mechanism.as_str(), "PLAIN" | "LOGIN")
    }
}

/// Does this `<failure/>` say that the proof was wrong? What else an exchange can end with (RFC 6120 section 6.5) says nothing of
/// a password, or that it was right; a failure without a known reason is taken for the worst.
#[must_use]
pub fn is_wrong_guess(failure: &Element) -> bool {
    let mut reasons = failure.children.iter();
    !reasons.any(|reason| IS_NO_GUESS.contains(&reason.name.as_str()))
}

const IS_NO_GUESS: [&str; 10] = [
    "aborted",
    "account-disabled",
    "credentials-expired",
    "encryption-required",
    "incorrect-encoding",
    "invalid-authzid",
    "invalid-mechanism",
    "malformed-request",
    "mechanism-too-weak",
    "temporary-auth-failure",
];

fn is_mechanism(name: &str) -> bool {
    let is_known = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    (1..=limits::SASL_MECHANISM_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_known)
}

fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, SaslError> {
    if text.is_empty() || text == "=" {
        return Ok(Zeroizing::default());
    }
    let decoded = LENIENT.decode(text).map_err(|_| SaslError::Encoding)?;
    Ok(Zeroizing::new(decoded))
}

fn user(mechanism: &str, response: &[u8]) -> Option<String> {
    let user = match mechanism {
        // RFC 4616 section 2: [authzid] NUL authcid NUL passwd
        "PLAIN" => text(response.split(|b| *b == 0).nth(1)?)?.to_owned(),
        // userid=<jid> NUL token=<one-time password>
        "CISCO-VTG-TOKEN" => field(response, 0, "userid=")?.to_owned(),
        // RFC 7628 section 3.1: the GS2 header n,a=user,
        "OAUTHBEARER" | "OAUTH10A" => unescape(field(response, b',', "a=")?)?,
        // XEP-0484: user NUL hashed token
        token if token.starts_with("HT-") => text(response.split(|b| *b == 0).next()?)?.to_owned(),
        // NUL user NUL token, as several servers have it
        "X-OAUTH2" => text(response.split(|b| *b == 0).nth(1)?)?.to_owned(),
        // RFC 5802 section 7: gs2-header n=user,r=..
        scram if scram.starts_with("SCRAM-") => unescape(field(response, b',', "n=")?)?,
        _ => return None,
    };
    (1..=limits::USER_NAME_BYTES_MAX)
        .contains(&user.len())
        .then_some(user)
}

fn token<'a>(mechanism: &str, response: &'a [u8]) -> Option<&'a str> {
    let token = match mechanism {
        // RFC 7628 section 3.1: kvpairs between octets of value 1; the scheme in any case (RFC 9110 section 11.1).
        "OAUTHBEARER" => {
            let (scheme, token) = field(response, 1, "auth=")?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token)?
        }
        "X-OAUTH2" => text(response.split(|b| *b == 0).nth(2)?)?,
        _ => return None,
    };
    (!token.is_empty()).then_some(token)
}

fn field<'a>(response: &'a [u8], separator: u8, name: &str) -> Option<&'a str> {
    let mut fields = response.split(|b| *b == separator);
    fields.find_map(|field| text(field)?.strip_prefix(name))
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// RFC 5802 section 5.1: `=2C` and `=3D` stand for `,` and `=`; no other `=` may be there.
fn unescape(name: &str) -> Option<String> {
    let plain = name.replace("=2C", ",").replace("=3D", "\u{1}");
    (!plain.contains('=')).then(|| plain.replace('\u{1}', "="))
}

/// Some clients leave the padding out.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xmpp::framing::{Framer, Item};

    fn element(xml: &str) -> Element {
        let open = "<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:client'>";
        let mut framer = Framer::new(10_000);
        framer.push(format!("{open}{xml}").as_bytes());
        loop {
            if let Item::Element { element, .. } = framer.next_item().unwrap().unwrap() {
                return element;
            }
        }
    }

    fn attempt(xml: &str) -> Result<Option<Attempt>, SaslError> {
        Attempt::read(&element(xml))
    }

    fn auth(mechanism: &str, response: &[u8]) -> Result<Option<Attempt>, SaslError> {
        let response = LENIENT.encode(response);
        attempt(&format!(
            "<auth xmlns='{NS_SASL}' mechanism='{mechanism}'>{response}</auth>"
        ))
    }

    #[test]
    fn the_user_is_read_where_the_mechanism_names_one() {
        for (mechanism, response, user) in [
            ("PLAIN", &b"\0alice\0secret"[..], Some("alice")),
            ("PLAIN", b"bob\0alice\0secret", Some("alice")),
            ("PLAIN", b"nothing", None),
            (
                "CISCO-VTG-TOKEN",
                b"userid=alice@example.com\0token=123",
                Some("alice@example.com"),
            ),
            ("SCRAM-SHA-1", b"n,,n=al=2Cice,r=abc", Some("al,ice")),
            (
                "SCRAM-SHA-256-PLUS",
                b"p=tls-exporter,,n=alice,r=abc",
                Some("alice"),
            ),
            ("SCRAM-SHA-1", b"n,,n=al=ice,r=abc", None),
            (
                "OAUTHBEARER",
                b"n,a=alice@example.com,\x01auth=Bearer x\x01\x01",
                Some("alice@example.com"),
            ),
            ("HT-SHA-256-NONE", b"alice\0hash", Some("alice")),
            ("EXTERNAL", b"", None),
        ] {
            let attempt = auth(mechanism, response).unwrap().unwrap();

            assert_eq!(attempt.user.as_deref(), user, "{mechanism}");
        }
    }

    #[test]
    fn a_token_is_read_where_the_mechanism_shows_one() {
        for (mechanism, response, token) in [
            (
                "OAUTHBEARER",
                &b"n,a=alice@example.com,\x01host=x\x01auth=Bearer a.b.c\x01\x01"[..],
                Some("a.b.c"),
            ),
            (
                "OAUTHBEARER",
                b"n,,\x01auth=bearer a.b.c\x01\x01",
                Some("a.b.c"),
            ),
            ("OAUTHBEARER", b"n,,\x01auth=Basic a.b.c\x01\x01", None),
            ("OAUTHBEARER", b"n,,\x01auth=Bearer \x01\x01", None),
            ("X-OAUTH2", b"\0alice\0a.b.c", Some("a.b.c")),
            ("PLAIN", b"\0alice\0a.b.c", None),
        ] {
            let attempt = auth(mechanism, response).unwrap().unwrap();

            let shown = attempt.token.as_ref().map(|token| token.reveal().as_str());
            assert_eq!(shown, token, "{mechanism}");
        }
    }

    #[test]
    fn the_newer_profile_is_read_too() {
        let response = LENIENT.encode(b"\0alice\0secret");
        let xml = format!(
            "<authenticate xmlns='{NS_SASL2}' mechanism='PLAIN'><initial-response>{response}</initial-response></authenticate>"
        );

        let attempt = attempt(&xml).unwrap().unwrap();

        assert_eq!(attempt.user.as_deref(), Some("alice"));
        assert_eq!(attempt.profile, NS_SASL2);
        assert!(attempt.is_plain() && !attempt.is_scram());
    }

    #[test]
    fn what_is_no_attempt_is_told_apart_from_a_bad_one() {
        assert_eq!(attempt("<message/>"), Ok(None));
        assert_eq!(auth("plain", b""), Err(SaslError::Mechanism));
        let bad = format!("<auth xmlns='{NS_SASL}' mechanism='PLAIN'>%</auth>");
        assert_eq!(attempt(&bad), Err(SaslError::Encoding));
    }

    #[test]
    fn only_a_failure_that_is_about_the_proof_is_a_guess() {
        let failed = |reason: &str| {
            is_wrong_guess(&element(&format!(
                "<failure xmlns='{NS_SASL}'>{reason}</failure>"
            )))
        };

        for reason in ["<not-authorized/><text>no</text>", "<bad-auth/>", ""] {
            assert!(failed(reason), "{reason}");
        }
        for reason in IS_NO_GUESS {
            assert!(!failed(&format!("<text>no</text><{reason}/>")), "{reason}");
        }
    }

    #[test]
    fn neither_name_nor_proof_is_in_the_debug_text() {
        let shown = format!("{:?}", auth("PLAIN", b"\0alice\0secret").unwrap());

        assert!(
            !shown.contains("alice") && !shown.contains("secret"),
            "{shown}"
        );
    }
}
