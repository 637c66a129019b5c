use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::limits;
use crate::testing::issuer::{Issuer, hmac_token, jwe, unsigned_token};

const NOW: UnixTime = UnixTime(1_000_000);
const ISSUER: &str = "https://idp.example.com";

fn rules(algorithm: Algorithm) -> Rules {
    Rules {
        issuer: Some(ISSUER.to_owned()),
        audiences: vec!["urn:edge".to_owned()],
        scopes: Vec::new(),
        algorithms: vec![algorithm],
        types: vec!["at+jwt".to_owned()],
        user_claim: "sub".to_owned(),
        skew: Duration::from_secs(5),
    }
}

fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": "urn:edge", "sub": "alice", "exp": NOW.0 + 600, "iat": NOW.0, "scope": "uc im" })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn keys(issuer: &Issuer) -> KeySet {
    KeySet::from_jwks(issuer.jwks().as_bytes()).unwrap()
}

fn verdict(issuer: &Issuer, token: &str) -> Result<String, TokenError> {
    let algorithm = issuer.algorithm().parse();
    let rules = rules(algorithm.map_err(|_| TokenError::Algorithm)?);
    let verified = verify(token, &keys(issuer), None, &rules, NOW);
    verified.map(|verified| verified.user.reveal().clone())
}

#[test]
fn a_good_token_names_its_user_and_its_end() {
    for issuer in [Issuer::ec("k1"), Issuer::rsa("k1")] {
        let algorithm = issuer.algorithm().parse().unwrap();
        let token = issuer.token(&claims());

        let verified = verify(&token, &keys(&issuer), None, &rules(algorithm), NOW).unwrap();

        assert_eq!(verified.user.reveal(), "alice");
        assert_eq!(verified.expires, Some(UnixTime(NOW.0 + 600)));
        assert!(!format!("{verified:?}").contains("alice"));
    }
}

#[test]
fn claims_are_checked_one_by_one() {
    let issuer = Issuer::ec("k1");
    let soon = NOW.0 + 5;
    for (claims, expected) in [
        (claims(), Ok("alice".to_owned())),
        (
            with("aud", json!(["x", "urn:edge"])),
            Ok("alice".to_owned()),
        ),
        (with("exp", json!(NOW.0 - 4)), Ok("alice".to_owned())),
        (with("exp", json!(1_000_600.5)), Ok("alice".to_owned())),
        (with("nbf", json!(soon)), Ok("alice".to_owned())),
        (with("exp", json!(NOW.0 - 5)), Err(TokenError::Expired)),
        (with("exp", json!("1000600")), Err(TokenError::Malformed)),
        (with("exp", json!(-1)), Err(TokenError::Malformed)),
        (with("exp", json!(1e300)), Err(TokenError::Malformed)),
        (without("exp"), Err(TokenError::NoExpiry)),
        (with("nbf", json!(soon + 1)), Err(TokenError::NotYetValid)),
        (with("iat", json!(soon + 1)), Err(TokenError::NotYetValid)),
        (with("nbf", json!([])), Err(TokenError::Malformed)),
        (without("aud"), Err(TokenError::Audience)),
        (
            with("aud", json!("urn:edge:other")),
            Err(TokenError::Audience),
        ),
        (with("aud", json!([])), Err(TokenError::Audience)),
        (
            with("aud", json!(vec!["x"; 17])),
            Err(TokenError::Malformed),
        ),
        (without("iss"), Err(TokenError::Issuer)),
        (
            with("iss", json!("https://idp.example.com/")),
            Err(TokenError::Issuer),
        ),
        (
            with("iss", json!(["https://evil", ISSUER])),
            Err(TokenError::Malformed),
        ),
        (without("sub"), Err(TokenError::NoUser)),
        (with("sub", json!("")), Err(TokenError::NoUser)),
        (with("sub", json!(7)), Err(TokenError::NoUser)),
        (with("sub", json!("al\nice")), Err(TokenError::NoUser)),
        (with("sub", json!("a".repeat(513))), Err(TokenError::NoUser)),
        (json!([]), Err(TokenError::Malformed)),
    ] {
        assert_eq!(
            verdict(&issuer, &issuer.token(&claims)),
            expected,
            "{claims}"
        );
    }
}

#[test]
fn scopes_that_are_asked_for_must_be_granted() {
    let issuer = Issuer::ec("k1");
    let asked = Rules {
        scopes: vec!["uc".to_owned()],
        ..rules(Algorithm::Es256)
    };
    let verdict = |claims| verify(&issuer.token(&claims), &keys(&issuer), None, &asked, NOW);

    assert!(verdict(claims()).is_ok());
    assert!(verdict(with("scope", json!(["uc"]))).is_ok());
    let mut azure = without("scope");
    azure["scp"] = json!("uc");
    assert!(verdict(azure).is_ok());
    for claims in [without("scope"), with("scope", json!("ucx im"))] {
        assert_eq!(verdict(claims).unwrap_err(), TokenError::Scope);
    }
}

#[test]
fn no_header_talks_its_way_past_the_pinned_algorithm() {
    let issuer = Issuer::rsa("k1");
    let payload = claims().to_string();
    let header = |alg: &str| format!(r#"{{"alg":"{alg}","typ":"at+jwt","kid":"k1"}}"#);
    let jwk = issuer.jwk();
    let modulus = jwk["n"].as_str().unwrap();

    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let token = unsigned_token(&header(alg), &payload);
        assert_eq!(
            verdict(&issuer, &token),
            Err(TokenError::Algorithm),
            "{alg}"
        );
    }
    for key in [
        issuer.pem().as_bytes(),
        modulus.as_bytes(),
        issuer.jwks().as_bytes(),
    ] {
        let token = hmac_token(&header("HS256"), &payload, key);
        assert_eq!(verdict(&issuer, &token), Err(TokenError::Algorithm));
        let token = hmac_token(&header("RS256"), &payload, key);
        assert_eq!(verdict(&issuer, &token), Err(TokenError::Signature));
    }
    for alg in ["PS256", "RS384", "RS512", "ES256", "EdDSA"] {
        let token = issuer.sign(&header(alg), &payload);
        assert_eq!(
            verdict(&issuer, &token),
            Err(TokenError::Algorithm),
            "{alg}"
        );
    }
    let unsigned = unsigned_token(&header("RS256"), &payload);
    assert_eq!(verdict(&issuer, &unsigned), Err(TokenError::Signature));
}

#[test]
fn a_key_set_that_changes_its_mind_does_not_move_the_pin() {
    let issuer = Issuer::rsa("k1");
    let mut jwk = issuer.jwk();
    jwk.as_object_mut().unwrap().remove("alg");
    let set = json!({ "keys": [jwk, { "kty": "oct", "k": "AAAA", "kid": "k2", "alg": "HS256" }] });
    let keys = KeySet::from_jwks(set.to_string().as_bytes()).unwrap();
    assert_eq!(keys.len(), 1, "a symmetric key is never taken from a set");

    let header = r#"{"alg":"HS256","typ":"at+jwt","kid":"k2"}"#;
    let token = hmac_token(header, &claims().to_string(), &[0, 0, 0]);

    let found = verify(&token, &keys, None, &rules(Algorithm::Rs256), NOW);
    assert_eq!(found.unwrap_err(), TokenError::Algorithm);
}

#[test]
fn headers_cannot_bring_or_find_keys() {
    let (issuer, stranger) = (Issuer::ec("k1"), Issuer::ec("k1"));
    let payload = claims().to_string();
    let jwk = stranger.jwk().to_string();
    for (header, expected) in [
        (r#""kid":"k1""#.to_owned(), TokenError::Signature),
        (format!(r#""kid":"k1","jwk":{jwk}"#), TokenError::Signature),
        (
            r#""kid":"k1","jku":"https://evil.example/jwks""#.to_owned(),
            TokenError::Signature,
        ),
        (
            r#""kid":"k1","x5u":"https://evil.example/x","x5c":["AA"]"#.to_owned(),
            TokenError::Signature,
        ),
        (r#""kid":"k2""#.to_owned(), TokenError::UnknownKey),
        (
            r#""kid":"../../../dev/null""#.to_owned(),
            TokenError::KeyName,
        ),
        (
            r#""kid":"https://evil.example/jwks.json""#.to_owned(),
            TokenError::KeyName,
        ),
        (
            r#""kid":"' UNION SELECT 'x""#.to_owned(),
            TokenError::KeyName,
        ),
        (r#""kid":"""#.to_owned(), TokenError::KeyName),
        (
            r#""kid":"k1","crit":["exp"]"#.to_owned(),
            TokenError::Critical,
        ),
        (r#""kid":"k1","b64":false"#.to_owned(), TokenError::Critical),
        (r#""kid":7"#.to_owned(), TokenError::Malformed),
    ] {
        let header = format!(r#"{{"alg":"ES256","typ":"at+jwt",{header}}}"#);
        let token = stranger.sign(&header, &payload);
        assert_eq!(verdict(&issuer, &token), Err(expected), "{header}");
    }
}

#[test]
fn a_token_without_a_key_name_is_checked_with_the_only_key() {
    let (one, two) = (Issuer::ec("k1"), Issuer::ec("k2"));
    let header = r#"{"alg":"ES256","typ":"at+jwt"}"#;
    let token = one.sign(header, &claims().to_string());
    let both = json!({ "keys": [one.jwk(), two.jwk()] }).to_string();
    let both = KeySet::from_jwks(both.as_bytes()).unwrap();

    assert!(verdict(&one, &token).is_ok());
    assert_eq!(verdict(&two, &token), Err(TokenError::Signature));
    let found = verify(&token, &both, None, &rules(Algorithm::Es256), NOW);
    assert_eq!(found.unwrap_err(), TokenError::UnknownKey);
}

#[test]
fn an_id_token_is_no_access_token() {
    let issuer = Issuer::ec("k1");
    for (typ, is_good) in [
        (r#","typ":"at+jwt""#, true),
        (r#","typ":"AT+JWT""#, true),
        (r#","typ":"application/at+jwt""#, true),
        (r#","typ":"JWT""#, false),
        (r#","typ":"logout+jwt""#, false),
        ("", false),
    ] {
        let header = format!(r#"{{"alg":"ES256","kid":"k1"{typ}}}"#);
        let token = issuer.sign(&header, &claims().to_string());
        let expected = if is_good {
            Ok("alice".to_owned())
        } else {
            Err(TokenError::Type)
        };
        assert_eq!(verdict(&issuer, &token), expected, "{typ}");
    }
}

#[test]
fn a_changed_octet_anywhere_is_noticed() {
    let issuer = Issuer::ec("k1");
    let token = issuer.token(&claims());
    for place in (0..token.len()).step_by(7) {
        let mut octets = token.clone().into_bytes();
        octets[place] = if octets[place] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(octets).unwrap();
        assert!(verdict(&issuer, &changed).is_err(), "{place}");
    }
}

#[test]
fn what_is_no_token_is_refused_by_its_size_or_form() {
    let issuer = Issuer::ec("k1");
    let long = issuer.token(&with("x", json!("x".repeat(limits::TOKEN_BYTES_MAX))));
    assert_eq!(verdict(&issuer, &long), Err(TokenError::TooLarge));
    let list = issuer.sign(r#"["ES256","at+jwt","k1"]"#, &claims().to_string());
    assert_eq!(verdict(&issuer, &list), Err(TokenError::Malformed));
    for text in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "e30.e30.",
        "e30=.e30.AA",
        "\u{e9}.e30.AA",
    ] {
        assert_eq!(verdict(&issuer, text), Err(TokenError::Malformed), "{text}");
    }
    let deep = format!("{}{}", "[".repeat(3000), "]".repeat(3000));
    let token = issuer.token(&json!({ "iss": ISSUER, "x": 1 }));
    assert_eq!(verdict(&issuer, &token), Err(TokenError::Audience));
    let token = issuer.sign(r#"{"alg":"ES256","typ":"at+jwt","kid":"k1"}"#, &deep);
    assert_eq!(verdict(&issuer, &token), Err(TokenError::Malformed));
}

#[test]
fn only_what_nobody_honest_sends_counts_as_forged() {
    use TokenError as E;
    for honest in [
        E::Expired,
        E::NotYetValid,
        E::UnknownKey,
        E::Audience,
        E::Malformed,
        E::Inactive,
    ] {
        assert!(!honest.is_forged(), "{honest}");
    }
    for forged in [
        E::Algorithm,
        E::Signature,
        E::KeyName,
        E::Sealed,
        E::Critical,
    ] {
        assert!(forged.is_forged(), "{forged}");
    }
}

mod self_describing {
    use super::*;

    const KEY: [u8; 32] = *b"0123456789abcdef0123456789abcdef";
    const JWE: &str = r#"{"alg":"dir","cty":"JWT","enc":"A128CBC-HS256"}"#;
    const HEADER: &str = r#"{"alg":"RS256","typ":"JWT","kid":"cluster1:9f86d081"}"#;

    fn own_rules() -> Rules {
        Rules {
            issuer: None,
            audiences: Vec::new(),
            types: vec!["jwt".to_owned()],
            user_claim: "uid".to_owned(),
            ..rules(Algorithm::Rs256)
        }
    }

    fn verdict(issuer: &Issuer, private: &str) -> Result<String, TokenError> {
        let payload = json!({ "private": private }).to_string();
        let token = issuer.sign(HEADER, &payload);
        // PEM keys have no name: whatever the cluster calls it, it is tried.
        let keys = KeySet::from_file(issuer.pem().as_bytes()).unwrap_or_default();
        let verified = verify(&token, &keys, Some(&SealKey::new(KEY)), &own_rules(), NOW)?;
        Ok(verified.user.reveal().clone())
    }

    #[test]
    fn the_claims_inside_are_read_plain_or_wrapped_once_more() {
        let issuer = Issuer::rsa("ignored");
        let inner = json!({ "uid": "alice", "exp": NOW.0 + 60 });
        let wrapped = unsigned_token(r#"{"alg":"none"}"#, &inner.to_string());

        for plain in [inner.to_string(), wrapped] {
            let found = verdict(&issuer, &jwe(JWE, plain.as_bytes(), &KEY));
            assert_eq!(found, Ok("alice".to_owned()), "{plain}");
        }
        let over = json!({ "uid": "alice", "exp": NOW.0 - 60 }).to_string();
        let found = verdict(&issuer, &jwe(JWE, over.as_bytes(), &KEY));
        assert_eq!(found, Err(TokenError::Expired));
    }

    #[test]
    fn an_encrypted_part_of_another_form_is_refused_before_it_is_opened() {
        let issuer = Issuer::rsa("ignored");
        let plain = json!({ "uid": "alice", "exp": NOW.0 + 60 }).to_string();
        let made = |header: &str| jwe(header, plain.as_bytes(), &KEY);
        for (private, error) in [
            (
                made(r#"{"alg":"dir","enc":"A128CBC-HS256","zip":"DEF"}"#),
                TokenError::Critical,
            ),
            (
                made(r#"{"alg":"dir","enc":"A128CBC-HS256","crit":["x"]}"#),
                TokenError::Critical,
            ),
            (
                made(r#"{"alg":"PBES2-HS256+A128KW","enc":"A128CBC-HS256","p2c":2147483647}"#),
                TokenError::Algorithm,
            ),
            (
                made(r#"{"alg":"RSA1_5","enc":"A128CBC-HS256"}"#),
                TokenError::Algorithm,
            ),
            (
                made(r#"{"alg":"dir","enc":"A256GCM"}"#),
                TokenError::Algorithm,
            ),
            (jwe(JWE, plain.as_bytes(), &[9; 32]), TokenError::Sealed),
            (made(JWE).replacen("..", ".AAAA.", 1), TokenError::Malformed),
            ("a.b.c".to_owned(), TokenError::Malformed),
            (format!("{}.x", made(JWE)), TokenError::Malformed),
            (
                jwe(JWE, b"nothing of the kind", &KEY),
                TokenError::Malformed,
            ),
            (jwe(JWE, &[0xff; 40], &KEY), TokenError::Sealed),
        ] {
            assert_eq!(verdict(&issuer, &private), Err(error), "{private}");
        }
    }

    #[test]
    fn the_keys_of_files_are_read() {
        let text = "30313233343536373839616263646566".repeat(2);
        for content in [
            &KEY[..],
            text.as_bytes(),
            b"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n",
        ] {
            assert_eq!(SealKey::from_file(content), Ok(SealKey::new(KEY)));
        }
        for content in [&b"short"[..], &[b'z'; 64], b""] {
            assert!(SealKey::from_file(content).is_err());
        }
    }
}

mod key_sets {
    use super::*;
    use crate::oauth::KeySetError;

    #[test]
    fn what_is_no_key_for_signatures_is_passed_over() {
        let issuer = Issuer::ec("k1");
        let mut encryption = issuer.jwk();
        encryption["use"] = json!("enc");
        let mut small = Issuer::rsa("k3").jwk();
        small["n"] = json!("AQAB");
        let mut named = issuer.jwk();
        named["kid"] = json!("../k");
        let odd = json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "k4" });
        let set = |keys: Value| KeySet::from_jwks(json!({ "keys": keys }).to_string().as_bytes());

        let all = set(json!([issuer.jwk(), encryption, small, named, odd])).unwrap();

        assert_eq!(all.len(), 1);
        assert_eq!(set(json!([])).unwrap_err(), KeySetError::Empty);
        assert_eq!(
            set(json!(vec![issuer.jwk(); 65])).unwrap_err(),
            KeySetError::TooMany
        );
        let read = |text: &[u8]| KeySet::from_file(text).map(|set| set.len());
        assert_eq!(
            read(&vec![b'{'; limits::JWKS_BYTES_MAX + 1]),
            Err(KeySetError::TooLarge)
        );
        assert_eq!(read(b"{"), Err(KeySetError::Malformed));
        assert_eq!(read(b"nothing"), Err(KeySetError::Empty));
        let both = format!("{}{}", issuer.pem(), Issuer::rsa("x").pem());
        assert_eq!(read(both.as_bytes()), Ok(2));
    }
}
