//! A certificate authority in memory, and what it signs.

use std::net::IpAddr;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

/// A certificate authority with an ECDSA P-256 key that lives as long as this value.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pem: String,
}

/// A certificate chain and its private key, both PEM.
#[derive(Clone)]
pub struct Identity {
    /// The leaf; the authority is not part of the chain because peers hold it as trust anchor.
    pub chain_pem: String,
    /// PKCS #8.
    pub key_pem: String,
}

/// What to sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// DNS names; the first is the common name too.
    pub names: Vec<String>,
    /// IP addresses.
    pub addresses: Vec<IpAddr>,
    /// Which side of a TLS connection may show it.
    pub usage: Usage,
    /// From when until when.
    pub validity: Validity,
}

/// Extended key usage (RFC 5280 section 4.2.1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// `id-kp-clientAuth`.
    Client,
    /// `id-kp-serverAuth`.
    Server,
    /// Both: for a server that also dials.
    Mutual,
}

/// When a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// From yesterday for a year.
    Current,
    /// Until yesterday.
    Expired,
}

impl Authority {
    /// Makes a fresh, self-signed authority.
    ///
    /// # Errors
    /// If no key could be made.
    pub fn new(common_name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = AUTHORITY_DAYS.around(now()?);
        let key = KeyPair::generate().context("Failed to make a key")?;
        let issuer = CertifiedIssuer::self_signed(params, key)
            .with_context(|| format!("Failed to sign {common_name}"))?;
        let pem = issuer.pem();
        Ok(Self { issuer, pem })
    }

    /// The authority's certificate.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Makes a key and signs a certificate for it.
    ///
    /// # Errors
    /// If a name can't stand in a certificate.
    pub fn issue(&self, leaf: &Leaf) -> Result<Identity> {
        let name = leaf.names.first().map_or("nameless", String::as_str);
        let mut params = CertificateParams::new(leaf.names.clone())
            .with_context(|| format!("Failed to name a certificate {name}"))?;
        params.distinguished_name = named(name);
        params
            .subject_alt_names
            .extend(leaf.addresses.iter().copied().map(SanType::IpAddress));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match leaf.usage {
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::Mutual => vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
        };
        params.use_authority_key_identifier_extension = true;
        let days = match leaf.validity {
            Validity::Current => CURRENT_DAYS,
            Validity::Expired => EXPIRED_DAYS,
        };
        (params.not_before, params.not_after) = days.around(now()?);
        let key = KeyPair::generate().context("Failed to make a key")?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .with_context(|| format!("Failed to sign a certificate for {name}"))?;
        Ok(Identity {
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }
}

impl Leaf {
    /// A server certificate.
    #[must_use]
    pub fn server(names: &[String]) -> Self {
        Self::new(names, Usage::Server)
    }

    /// A client certificate.
    #[must_use]
    pub fn client(names: &[String]) -> Self {
        Self::new(names, Usage::Client)
    }

    /// A certificate of a server that also dials others and shows it to them.
    #[must_use]
    pub fn mutual(names: &[String]) -> Self {
        Self::new(names, Usage::Mutual)
    }

    /// The same with IP addresses.
    #[must_use]
    pub fn with_addresses(mut self, addresses: &[IpAddr]) -> Self {
        self.addresses.extend_from_slice(addresses);
        self
    }

    /// The same, but no longer good.
    #[must_use]
    pub const fn expired(mut self) -> Self {
        self.validity = Validity::Expired;
        self
    }

    fn new(names: &[String], usage: Usage) -> Self {
        Self {
            names: names.to_vec(),
            addresses: Vec::new(),
            usage,
            validity: Validity::Current,
        }
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("chain_pem", &self.chain_pem)
            .finish_non_exhaustive()
    }
}

/// Days from now, negative for the past.
struct Days {
    from: i64,
    until: i64,
}

impl Days {
    fn around(&self, now: OffsetDateTime) -> (OffsetDateTime, OffsetDateTime) {
        let day = |days| now.saturating_add(Duration::days(days));
        (day(self.from), day(self.until))
    }
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn now() -> Result<OffsetDateTime> {
    let since_1970 = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .context("Failed to read a clock that stands before 1970")?;
    let seconds = i64::try_from(since_1970.as_secs())?;
    Ok(OffsetDateTime::from_unix_timestamp(seconds)?)
}

/// Older than every leaf, the expired ones too: only the leaf is to be at fault.
const AUTHORITY_DAYS: Days = Days {
    from: -60,
    until: 3650,
};
const CURRENT_DAYS: Days = Days {
    from: -1,
    until: 365,
};
const EXPIRED_DAYS: Days = Days {
    from: -30,
    until: -1,
};
