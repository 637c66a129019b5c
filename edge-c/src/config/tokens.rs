//! `[[issuer]]` and `[sso]`: whose tokens count, how they are verified, and which pages of an issuer clients reach.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::config::{ConfigError, ConfigErrors, FileKind, Loaded, Problem, Table, Value};
use common::limits;
use common::net::{Domain, Scheme};
use common::oauth::{Algorithm, KeySet, Rules, SealKey};
use common::policy::allow_list::Url;
use common::redact::Secret;

use super::Config;
use relay::relay;
pub use relay::{SsoRelay, SsoRule};

mod relay;

/// `[[issuer]]`: one whose access tokens count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// In logs, metrics and paths: lower-case letters, digits and `-`. No two issuers have the same.
    pub name: Arc<str>,
    /// Whose users it vouches for; empty for all domains.
    pub domains: Vec<Domain>,
    /// How a token is verified.
    pub kind: IssuerKind,
    /// What it must say.
    pub rules: Rules,
    /// Who edge-c is to the issuer, for introspection and exchange.
    pub client: Option<Client>,
    /// How much longer than its token a session lives.
    pub extra_time: Duration,
    /// Where its endpoints are, if not where its metadata says.
    pub endpoints: Endpoints,
    /// The tokens that edge-c gets for servers inside.
    pub exchanges: Vec<Exchange>,
}

/// How the tokens of an issuer are verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerKind {
    /// The issuer is asked about each token (RFC 7662).
    Introspection {
        /// Where, if not where the metadata says.
        url: Option<Url>,
    },
    /// By the keys that the issuer publishes (RFC 7517).
    Jwks {
        /// Where, if not where the metadata says.
        url: Option<Url>,
    },
    /// By keys in files.
    Static {
        /// JWK sets, public keys or certificates. Never empty.
        keys: Vec<PathBuf>,
        /// The key of the encrypted part, where tokens are of the self-describing form.
        decryption_key: Option<PathBuf>,
    },
    /// The user's home cluster is asked for the user's own record with the token.
    Uds,
}

/// `client_id` and its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// As the issuer knows it.
    pub id: String,
    /// The file with the secret, without line end.
    pub secret_file: Option<PathBuf>,
}

impl Client {
    /// Reads the secret anew.
    ///
    /// # Errors
    /// A text about the file.
    pub fn secret(&self) -> Result<Option<Secret<String>>, String> {
        let Some(path) = &self.secret_file else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{} can't be read: {error}", path.display()))?;
        Ok(Some(Secret::new(text.trim_end().to_owned())))
    }
}

/// Endpoints of an issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Where users sign in (RFC 6749 section 3.1).
    pub authorization: Option<Url>,
    /// Where codes and refresh tokens become access tokens (RFC 6749 section 3.2).
    pub token: Option<Url>,
    /// Where tokens are given up (RFC 7009).
    pub revocation: Option<Url>,
}

/// `[[issuer.exchange]]`: a user's token becomes one for a server inside (RFC 8693).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// For whom the new token is.
    pub audience: String,
    /// Of which servers.
    pub hosts: Vec<common::net::Host>,
    /// What it shall be good for.
    pub scope: Option<String>,
}

/// What one pass over both sections finds.
pub(super) struct Read {
    pub(super) issuers: Vec<Issuer>,
    pub(super) sso: Option<SsoRelay>,
}

pub(super) fn read(root: &Table<'_>) -> Option<Read> {
    let tables = root.tables("issuer");
    if let Some(first) = tables.get(limits::ISSUERS_MAX) {
        let allowed = format!("at most {} issuers", limits::ISSUERS_MAX);
        first.refuse("name", "is one issuer too many", allowed);
    }
    let issuers: Vec<_> = tables.iter().map(issuer).collect();
    let issuers: Option<Vec<_>> = issuers.into_iter().collect();
    let sso = relay(&root.table("sso"), issuers.as_deref());
    let issuers = issuers?;
    let mut names = BTreeSet::new();
    let mut claimed = BTreeSet::new();
    for (table, issuer) in tables.iter().zip(&issuers) {
        if !names.insert(&issuer.name) {
            let why = "is the name of an earlier [[issuer]]";
            table.refuse("name", why, "a name of its own");
        }
        if let Some(claim) = &issuer.rules.issuer
            && !claimed.insert(claim)
        {
            let why = "is that of an earlier [[issuer]]: its tokens would be taken for the other's";
            table.refuse("issuer", why, "each issuer once");
        }
    }
    Some(Read { issuers, sso: sso? })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Introspection,
    Jwks,
    Static,
    Uds,
}

fn issuer(table: &Table<'_>) -> Option<Issuer> {
    let allowed = "a word for logs, metrics and paths, such as name = \"corp\"";
    let name = table.required("name", allowed, name);
    let words = [
        ("jwks", Word::Jwks),
        ("static", Word::Static),
        ("introspection", Word::Introspection),
        ("uds", Word::Uds),
    ];
    let allowed = "kind = \"jwks\", \"static\", \"introspection\" or \"uds\"";
    let word = table.required("kind", allowed, |value| value.choice(&words));
    let keys = table.list("keys", |value| value.file(FileKind::Text));
    let decryption_key = table.optional("decryption_key", |value| value.file(FileKind::Text));
    let jwks_url = table.optional("jwks_url", https);
    let introspection_url = table.optional("introspection_url", https);
    let kind = match word {
        None => None,
        Some(Word::Introspection) => Some(IssuerKind::Introspection {
            url: introspection_url,
        }),
        Some(Word::Jwks) => Some(IssuerKind::Jwks { url: jwks_url }),
        Some(Word::Static) => Some(IssuerKind::Static {
            keys,
            decryption_key,
        }),
        Some(Word::Uds) => Some(IssuerKind::Uds),
    };
    let rules = rules(table, kind.as_ref());
    let client = client(table);
    let extra = Duration::ZERO..=limits::SESSION_LIFETIME_MAX;
    let extra_time = table.or("extra_time", Duration::ZERO, |value| value.duration(&extra));
    let endpoints = Endpoints {
        authorization: table.optional("authorization_url", https),
        token: table.optional("token_url", https),
        revocation: table.optional("revocation_url", https),
    };
    let exchanges: Vec<_> = table.tables("exchange").iter().map(exchange).collect();
    let issuer = Issuer {
        name: name?,
        domains: table.list("domains", Value::domain),
        kind: kind?,
        rules,
        client,
        extra_time,
        endpoints,
        exchanges: exchanges.into_iter().collect::<Option<_>>()?,
    };
    complete(table, &issuer);
    Some(issuer)
}

/// What each kind can't do without.
fn complete(table: &Table<'_>, issuer: &Issuer) {
    let is_self_describing = match &issuer.kind {
        IssuerKind::Static {
            keys,
            decryption_key,
        } => {
            if keys.is_empty() {
                let allowed = "a list of files with public keys, such as keys = [\"signing.pem\"]";
                table.refuse("keys", "is needed for kind \"static\"", allowed);
            }
            decryption_key.is_some()
        }
        IssuerKind::Introspection { .. } => {
            if issuer.client.is_none() {
                let allowed = "who edge-c is to the issuer, such as client_id = \"edge-c\"";
                table.refuse("client_id", "is needed to ask the issuer", allowed);
            }
            false
        }
        IssuerKind::Jwks { .. } | IssuerKind::Uds => false,
    };
    let is_signed = matches!(
        issuer.kind,
        IssuerKind::Jwks { .. } | IssuerKind::Static { .. }
    ) && !is_self_describing;
    if is_signed && issuer.rules.issuer.is_none() {
        let allowed = "the iss of its tokens, such as issuer = \"https://idp.example.com\"";
        table.refuse("issuer", "is needed", allowed);
    }
    let has_audience = !matches!(issuer.kind, IssuerKind::Uds) && !is_self_describing;
    if has_audience && issuer.rules.audiences.is_empty() {
        let why = "is needed: else tokens for any other service would open this one";
        table.refuse("audiences", why, "such as audiences = [\"urn:example:uc\"]");
    }
    if !issuer.exchanges.is_empty() && issuer.client.is_none() {
        let why = "is needed to exchange tokens";
        table.refuse("client_id", why, "who edge-c is to the issuer");
    }
}

fn rules(table: &Table<'_>, kind: Option<&IssuerKind>) -> Rules {
    let skew = Duration::ZERO..=limits::TOKEN_SKEW_MAX;
    let is_sealed = matches!(
        kind,
        Some(IssuerKind::Static {
            decryption_key: Some(_),
            ..
        })
    );
    let types = table.list("token_types", |value| {
        value.text().map(str::to_ascii_lowercase)
    });
    let algorithms = table.list("algorithms", |value| {
        let names: Vec<_> = Algorithm::ALL.iter().map(|one| one.as_str()).collect();
        value.parsed::<Algorithm>(&names.join(", "))
    });
    let standard_type = if is_sealed { "jwt" } else { "at+jwt" };
    let standard_claim = match kind {
        Some(IssuerKind::Introspection { .. }) => "username",
        Some(IssuerKind::Jwks { .. } | IssuerKind::Static { .. } | IssuerKind::Uds) | None => "sub",
    };
    Rules {
        issuer: table.optional("issuer", text),
        audiences: table.list("audiences", text),
        scopes: table.list("scopes", text),
        algorithms: if algorithms.is_empty() {
            vec![Algorithm::Rs256]
        } else {
            algorithms
        },
        types: if types.is_empty() {
            vec![standard_type.to_owned()]
        } else {
            types
        },
        user_claim: table.or("user_claim", standard_claim.to_owned(), text),
        skew: table.or("clock_skew", limits::TOKEN_SKEW_DEFAULT, |value| {
            value.duration(&skew)
        }),
    }
}

fn client(table: &Table<'_>) -> Option<Client> {
    let secret_file = table.optional("client_secret_file", |value| value.file(FileKind::Text));
    let id = table.optional("client_id", text);
    if id.is_none() && secret_file.is_some() {
        let allowed = "client_id beside it";
        table.refuse("client_secret_file", "is a secret without a name", allowed);
    }
    Some(Client {
        id: id?,
        secret_file,
    })
}

fn exchange(table: &Table<'_>) -> Option<Exchange> {
    let allowed = "for whom the token is, such as audience = \"https://unity.example.com\"";
    let audience = table.required("audience", allowed, text);
    let allowed = "the servers that get it, such as hosts = [\"unity1.example.com\"]";
    let hosts = table.required_list("hosts", allowed, Value::host);
    let scope = table.optional("scope", text);
    Some(Exchange {
        audience: audience?,
        hosts,
        scope,
    })
}

fn text(value: &Value<'_>) -> Result<String, Problem> {
    value.text().map(str::to_owned)
}

fn name(value: &Value<'_>) -> Result<Arc<str>, Problem> {
    let text = value.text()?;
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if text.len() <= limits::DNS_LABEL_BYTES_MAX && text.bytes().all(is_plain) {
        return Ok(text.into());
    }
    let allowed = "up to 63 lower-case letters, digits and '-'";
    Err(Problem::invalid("is no name for paths", allowed))
}

/// Tokens, codes and passwords go there.
fn https(value: &Value<'_>) -> Result<Url, Problem> {
    let allowed = "a URL such as \"https://idp.example.com/token\"";
    let url = Url::parse(value.text()?).map_err(|error| Problem::invalid(error, allowed))?;
    if url.origin.scheme != Scheme::Https {
        return Err(Problem::invalid("is not an https URL", allowed));
    }
    Ok(url)
}

/// Looks into the files of keys.
///
/// # Errors
/// [`ConfigErrors`] with every file that holds none.
pub(super) fn check(loaded: &Loaded<Config>) -> Result<(), ConfigErrors> {
    let mut errors = Vec::new();
    let mut refuse = |path: &PathBuf, why: String, allowed: &str| {
        errors.push(ConfigError {
            place: loaded.place_of(path),
            value: Some(path.display().to_string()),
            problem: Problem::invalid(why, allowed),
        });
    };
    for issuer in &loaded.config.issuers {
        let IssuerKind::Static {
            keys,
            decryption_key,
        } = &issuer.kind
        else {
            continue;
        };
        for path in keys {
            if let Err(why) = read_keys(path) {
                let allowed = "a file with a JWK set, or with public keys in PEM form";
                refuse(path, why, allowed);
            }
        }
        if let Some(path) = decryption_key
            && let Err(why) = read_seal_key(path)
        {
            refuse(path, why, "a file with 256 bits in base64");
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ConfigErrors(errors))
    }
}

/// Reads a file of public keys.
///
/// # Errors
/// A text about the file.
pub fn read_keys(path: &PathBuf) -> Result<KeySet, String> {
    let content = std::fs::read(path).map_err(|error| error.to_string())?;
    KeySet::from_file(&content).map_err(|error| error.to_string())
}

/// Reads a file with the key of encrypted parts.
///
/// # Errors
/// A text about the file.
pub fn read_seal_key(path: &PathBuf) -> Result<SealKey, String> {
    let content = std::fs::read(path).map_err(|error| error.to_string())?;
    SealKey::from_file(&content).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
