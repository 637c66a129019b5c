//! What a certificate says of itself: names, dates, purposes. Decides nothing about trust; rustls does that.

use std::net::IpAddr;
use std::path::Path;

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::Purpose;
use super::duration::Text;
use super::pem::{self, FileError, FileFault};
use crate::limits;
use crate::net::{Domain, Host};
use crate::time::UnixTime;

/// Facts about one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// DNS names of the subject alternative name, in lower case, a wildcard as `*.example.com`.
    pub names: Vec<String>,
    /// Addresses of the subject alternative name.
    pub addresses: Vec<IpAddr>,
    /// Valid from.
    pub not_before: UnixTime,
    /// Valid until.
    pub not_after: UnixTime,
    /// May be used as a server (extended key usage has it, or is absent).
    pub is_for_servers: bool,
    /// May be used as a client (extended key usage has it, or is absent).
    pub is_for_clients: bool,
}

/// The certificate is not X.509.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an X.509 certificate: {0}")]
pub struct NotX509(String);

impl Facts {
    /// Reads the facts of `certificate`.
    ///
    /// # Errors
    /// [`NotX509`] if it can't be read.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Self, NotX509> {
        let (_, parsed) =
            X509Certificate::from_der(certificate).map_err(|error| NotX509(error.to_string()))?;
        let usage = parsed
            .extended_key_usage()
            .map_err(|error| NotX509(error.to_string()))?;
        let (names, addresses) = subject_names(&parsed)?;
        let validity = parsed.validity();
        Ok(Self {
            names,
            addresses,
            not_before: unix_time(validity.not_before.timestamp()),
            not_after: unix_time(validity.not_after.timestamp()),
            is_for_servers: usage
                .as_ref()
                .is_none_or(|u| u.value.any || u.value.server_auth),
            is_for_clients: usage
                .as_ref()
                .is_none_or(|u| u.value.any || u.value.client_auth),
        })
    }

    /// Reads the facts of the first certificate in the PEM file `chain`.
    ///
    /// # Errors
    /// [`FileError`] if there is none or it is not X.509.
    pub fn of_leaf(chain: &Path) -> Result<Self, FileError> {
        let refuse = |fault| FileError {
            path: chain.to_owned(),
            fault,
        };
        let certificates = pem::certificates(chain)?;
        let leaf = certificates
            .first()
            .ok_or_else(|| refuse(FileFault::Nothing("certificate")))?;
        Self::read(leaf).map_err(|error| refuse(FileFault::Certificate(error.0)))
    }

    /// Why a peer will refuse this certificate at the time `now`, or soon will; each with what to do.
    #[must_use]
    pub fn faults(&self, purpose: Purpose, now: UnixTime) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        let left = self.not_after.since(now);
        if now < self.not_before {
            let wait = Text(self.not_before.since(now));
            let why = format!("names a certificate that becomes valid only in {wait}");
            faults.push((why, "check the clock of this machine".to_owned()));
        } else if left.is_zero() {
            let why = "names a certificate that has expired".to_owned();
            faults.push((why, "renew it; the file is read again by itself".to_owned()));
        } else if left < limits::CERTIFICATE_EXPIRY_WARNING {
            let days = left.as_secs().div_euclid(86_400);
            let why = format!("names a certificate that expires in {days} days");
            faults.push((why, "renew it; the file is read again by itself".to_owned()));
        }
        let (may, usage) = match purpose {
            Purpose::Client => (self.is_for_clients, "clientAuth"),
            Purpose::Server => (self.is_for_servers, "serverAuth"),
        };
        if !may {
            let why = format!("names a certificate whose extended key usage lacks {usage}");
            faults.push((why, format!("make one with extendedKeyUsage = {usage}")));
        }
        faults
    }

    /// Whether the certificate is for `host` (RFC 6125 section 6.4: a wildcard stands for one whole label).
    #[must_use]
    pub fn covers(&self, host: &Host) -> bool {
        match host {
            Host::Name(name) => self.covers_name(name),
            Host::Address(address) => self.addresses.contains(address),
        }
    }

    /// Whether the certificate is for the DNS name `name`.
    #[must_use]
    pub fn covers_name(&self, name: &Domain) -> bool {
        let parent = name.parent();
        self.names.iter().any(|found| {
            let under = found.strip_prefix("*.").zip(parent.as_ref());
            found == name.as_str() || under.is_some_and(|(zone, parent)| zone == parent.as_str())
        })
    }
}

type Names = (Vec<String>, Vec<IpAddr>);

fn subject_names(certificate: &X509Certificate<'_>) -> Result<Names, NotX509> {
    let extension = certificate
        .subject_alternative_name()
        .map_err(|error| NotX509(error.to_string()))?;
    let mut names = Vec::new();
    let mut addresses = Vec::new();
    for name in extension
        .iter()
        .flat_map(|found| &found.value.general_names)
    {
        if let GeneralName::DNSName(name) = name {
            names.push(name.to_ascii_lowercase());
        } else if let GeneralName::IPAddress(bytes) = name {
            addresses.extend(address(bytes));
        }
    }
    Ok((names, addresses))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// Before 1970 is as good as 1970: long past.
fn unix_time(seconds: i64) -> UnixTime {
    UnixTime(u64::try_from(seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(names: &[&str]) -> Facts {
        Facts {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            addresses: vec![IpAddr::from([192, 0, 2, 1])],
            not_before: UnixTime(1_000),
            not_after: UnixTime(100_000_000),
            is_for_servers: true,
            is_for_clients: false,
        }
    }

    #[test]
    fn a_wildcard_stands_for_exactly_one_label() {
        let facts = facts(&["*.example.com", "edge.example.net"]);
        let covers = |host: &str| facts.covers(&Host::parse(host).unwrap());

        assert!(covers("edge1.example.com") && covers("Edge.Example.NET") && covers("192.0.2.1"));
        for other in [
            "example.com",
            "a.b.example.com",
            "xexample.com",
            "192.0.2.2",
        ] {
            assert!(!covers(other), "{other}");
        }
    }

    #[test]
    fn faults_come_and_go_with_the_time() {
        let facts = facts(&[]);
        let faults = |now: u64| facts.faults(Purpose::Server, UnixTime(now));
        let warning = limits::CERTIFICATE_EXPIRY_WARNING.as_secs();

        assert!(faults(999)[0].0.contains("becomes valid only in 1s"));
        assert!(faults(1_000).is_empty());
        assert!(faults(100_000_000 - warning).is_empty());
        assert!(
            faults(100_000_000 - warning + 1)[0]
                .0
                .contains("expires in 20 days")
        );
        assert!(faults(100_000_000)[0].0.contains("has expired"));
        assert!(
            facts.faults(Purpose::Client, UnixTime(1_000))[0]
                .0
                .contains("lacks clientAuth")
        );
    }
}
