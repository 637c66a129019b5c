//! An issuer of tokens for tests: signs what it is told, good or bad, with the crypto library itself and not with the one
//! that verifies.

use aws_lc_rs::cipher::{AES_128, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// A key pair that signs tokens.
#[derive(Debug)]
pub struct Issuer {
    kid: String,
    pair: Pair,
}

#[derive(Debug)]
enum Pair {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

#[expect(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a helper of tests: what fails here fails the test"
)]
impl Issuer {
    /// One with an ES256 key of that name.
    #[must_use]
    pub fn ec(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self {
            kid: kid.to_owned(),
            pair: Pair::Ec(pair),
        }
    }

    /// One with an RS256 key of that name.
    #[must_use]
    pub fn rsa(kid: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        Self {
            kid: kid.to_owned(),
            pair: Pair::Rsa(pair),
        }
    }

    /// The member of a JWK set for its public key.
    #[must_use]
    pub fn jwk(&self) -> serde_json::Value {
        let text = |octets: &[u8]| URL_SAFE_NO_PAD.encode(octets);
        match &self.pair {
            Pair::Ec(pair) => {
                let (x, y) = pair.public_key().as_ref().split_at(1).1.split_at(32);
                serde_json::json!({ "kty": "EC", "crv": "P-256", "x": text(x), "y": text(y), "kid": self.kid,
                    "use": "sig", "alg": "ES256" })
            }
            Pair::Rsa(pair) => {
                let n = pair.public_key().modulus();
                let e = pair.public_key().exponent();
                serde_json::json!({ "kty": "RSA", "n": text(n.big_endian_without_leading_zero()),
                    "e": text(e.big_endian_without_leading_zero()), "kid": self.kid, "use": "sig", "alg": "RS256" })
            }
        }
    }

    /// The JWK set with this key alone.
    #[must_use]
    pub fn jwks(&self) -> String {
        serde_json::json!({ "keys": [self.jwk()] }).to_string()
    }

    /// The public key in PEM form.
    #[must_use]
    pub fn pem(&self) -> String {
        let der = match &self.pair {
            Pair::Ec(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
            Pair::Rsa(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
        };
        let text = STANDARD.encode(der);
        let lines = text
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap());
        let lines: Vec<_> = lines.collect();
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            lines.join("\n")
        )
    }

    /// Its algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Ec(_) => "ES256",
            Pair::Rsa(_) => "RS256",
        }
    }

    /// An access token with these claims.
    #[must_use]
    pub fn token(&self, claims: &serde_json::Value) -> String {
        let header =
            serde_json::json!({ "alg": self.algorithm(), "typ": "at+jwt", "kid": self.kid });
        self.sign(&header.to_string(), &claims.to_string())
    }

    /// A token with this header and this payload, signed with this key whatever they say.
    #[must_use]
    pub fn sign(&self, header: &str, payload: &str) -> String {
        let signed = signed_part(header, payload);
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Ec(pair) => {
                let signature = pair.sign(&random, signed.as_bytes()).unwrap();
                signature.as_ref().to_vec()
            }
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &random,
                    signed.as_bytes(),
                    &mut signature,
                )
                .unwrap();
                signature
            }
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A token with an HMAC over it in the place of a signature.
#[must_use]
pub fn hmac_token(header: &str, payload: &str, key: &[u8]) -> String {
    let signed = signed_part(header, payload);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

/// A token without a signature.
#[must_use]
pub fn unsigned_token(header: &str, payload: &str) -> String {
    format!("{}.", signed_part(header, payload))
}

fn signed_part(header: &str, payload: &str) -> String {
    let [header, payload] = [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part));
    format!("{header}.{payload}")
}

/// A JWE of the form `dir` with `A128CBC-HS256` around `plain`, with a header of the caller's.
#[must_use]
#[expect(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a helper of tests: what fails here fails the test"
)]
pub fn jwe(header: &str, plain: &[u8], key: &[u8; 32]) -> String {
    let header = URL_SAFE_NO_PAD.encode(header);
    let (authenticating, encrypting) = key.split_at(16);
    let cipher = UnboundCipherKey::new(&AES_128, encrypting).unwrap();
    let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(cipher).unwrap();
    let mut text = plain.to_vec();
    let context = cipher.encrypt(&mut text).unwrap();
    let iv: &[u8] = (&context).try_into().unwrap();
    let bits = u64::try_from(header.len()).unwrap() * 8;
    let data = [header.as_bytes(), iv, &text, &bits.to_be_bytes()].concat();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, authenticating), &data);
    let (tag, _) = tag.as_ref().split_at(16);
    let [iv, text, tag] = [iv, &text, tag].map(|part| URL_SAFE_NO_PAD.encode(part));
    format!("{header}..{iv}.{text}.{tag}")
}
