//! Tokens, key sets, answers and pages made of anything at all: nothing panics, nothing grows, nobody unsigned gets in.

use std::sync::LazyLock;
use std::time::Duration;

use super::{
    Algorithm, CookieScope, KeySet, Metadata, Rules, SealKey, introspected, replace_origin, shape,
    verify,
};
use crate::time::UnixTime;

/// The key of RFC 7515 appendix A.3: its private half is public, but no input is signed with it by accident.
const JWKS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"k1",
    "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

static KEYS: LazyLock<KeySet> =
    LazyLock::new(|| KeySet::from_jwks(JWKS.as_bytes()).unwrap_or_default());

/// The first octet says what the rest is read as.
#[expect(
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a fuzz target reports by panicking"
)]
pub fn token(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let now = UnixTime(1_000_000);
    match first % 5 {
        0 => {
            let Ok(text) = std::str::from_utf8(rest) else {
                return;
            };
            drop(shape(text));
            let seal = SealKey::new([7; SealKey::BYTES]);
            for seal in [None, Some(&seal)] {
                if let Ok(verified) = verify(text, &KEYS, seal, &rules(), now) {
                    panic!("{text:?} was taken for {verified:?}");
                }
            }
        }
        1 => {
            if let Ok(keys) = KeySet::from_file(rest) {
                assert!(!keys.is_empty());
            }
        }
        2 => drop(introspected(rest, &rules(), now)),
        3 => metadata(rest),
        _ => pages(rest),
    }
}

fn metadata(bytes: &[u8]) {
    let Ok(metadata) = Metadata::read(bytes, "https://idp.test") else {
        return;
    };
    // Nothing that a client outside reads names a server that it must not know.
    let outside = metadata.for_outside(|_, _| None);
    let inner = outside.replacen("https://idp.test", "", 1);
    for start in ["//", "\"http:", "\"https:"] {
        assert!(!inner.contains(start), "{inner}");
    }
}

fn pages(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let scope = CookieScope {
        name: "corp",
        path: "/x/idp/corp",
    };
    if let Some(outside) = scope.outwards(text) {
        assert!(outside.starts_with("sso.corp."), "{outside}");
        assert!(CookieScope::is_taken(outside.as_bytes()), "{outside}");
        assert!(!outside.contains(char::is_control), "{outside:?}");
    }
    drop(scope.inwards(std::iter::once(text)));
    let page = replace_origin(text, "https://idp.test", "https://edge.test/p");
    assert!(page.len() <= text.len().saturating_mul(2));
}

fn rules() -> Rules {
    Rules {
        issuer: Some("https://idp.test".to_owned()),
        audiences: vec!["urn:edge".to_owned()],
        scopes: Vec::new(),
        algorithms: vec![Algorithm::Es256],
        types: vec!["at+jwt".to_owned()],
        user_claim: "sub".to_owned(),
        skew: Duration::from_secs(5),
    }
}
