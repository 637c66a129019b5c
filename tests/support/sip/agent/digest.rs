//! The answer to a digest challenge (RFC 7616 with MD5, as Kamailio asks).

use md5::{Digest as _, Md5};

use super::Message;

/// What a registrar asks for. It may be answered more than once, and in advance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    realm: String,
    nonce: String,
}

impl Challenge {
    /// Reads the value of `WWW-Authenticate` or `Proxy-Authenticate`.
    #[must_use]
    pub fn read(value: &str) -> Option<Self> {
        let parameter = |name: &str| {
            let (_, rest) = value.split_once(&format!("{name}=\""))?;
            rest.split('"').next().map(str::to_owned)
        };
        Some(Self {
            realm: parameter("realm")?,
            nonce: parameter("nonce")?,
        })
    }

    /// The value of `Authorization` or `Proxy-Authorization`.
    #[must_use]
    pub fn answer(&self, (user, password): (&str, &str), method: &str, uri: &str) -> String {
        let Self { realm, nonce } = self;
        let (count, client) = ("00000001", "c0ffee");
        let secret = hash(&format!("{user}:{realm}:{password}"));
        let request = hash(&format!("{method}:{uri}"));
        let proof = hash(&format!("{secret}:{nonce}:{count}:{client}:auth:{request}"));
        format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{proof}\", \
             algorithm=MD5, qop=auth, nc={count}, cnonce=\"{client}\""
        )
    }
}

/// The header line that answers the challenge of a 401 or 407; `None` for every other response.
pub(super) fn answer(
    response: &Message,
    who: (&str, &str),
    method: &str,
    uri: &str,
) -> Option<String> {
    let (asks, answers) = match response.status()? {
        401 => ("www-authenticate", "Authorization"),
        407 => ("proxy-authenticate", "Proxy-Authorization"),
        _ => return None,
    };
    let challenge = Challenge::read(response.header(asks)?)?;
    Some(format!(
        "{answers}: {}\r\n",
        challenge.answer(who, method, uri)
    ))
}

fn hash(text: &str) -> String {
    Md5::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
