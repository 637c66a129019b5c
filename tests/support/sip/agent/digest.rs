//! The answer to a digest challenge (RFC 7616 with MD5, as Kamailio asks).

use md5::{Digest as _, Md5};

use super::Message;

/// The header line that answers the challenge of a 401 or 407; `None` for every other response.
pub(super) fn answer(
    response: &Message,
    user: &str,
    password: &str,
    method: &str,
    uri: &str,
) -> Option<String> {
    let (asks, answers) = match response.status()? {
        401 => ("www-authenticate", "Authorization"),
        407 => ("proxy-authenticate", "Proxy-Authorization"),
        _ => return None,
    };
    let challenge = response.header(asks)?;
    let (realm, nonce) = (
        parameter(challenge, "realm")?,
        parameter(challenge, "nonce")?,
    );
    let (count, client) = ("00000001", "c0ffee");
    let secret = hash(&format!("{user}:{realm}:{password}"));
    let request = hash(&format!("{method}:{uri}"));
    let proof = hash(&format!("{secret}:{nonce}:{count}:{client}:auth:{request}"));
    Some(format!(
        "{answers}: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
         response=\"{proof}\", algorithm=MD5, qop=auth, nc={count}, cnonce=\"{client}\"\r\n"
    ))
}

fn parameter<'a>(challenge: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = challenge.split_once(&format!("{name}=\""))?;
    rest.split('"').next()
}

fn hash(text: &str) -> String {
    Md5::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
