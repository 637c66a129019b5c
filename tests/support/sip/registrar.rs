//! The registrar inside: a Kamailio that every user may register with.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::Result;

use super::kamailio::{Kamailio, TlsFiles, include, socket};
use crate::place::Place;
use crate::template::fill;

/// What distinguishes one registrar from another.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it calls itself in file names.
    pub name: String,
    /// UDP and TCP 5060, TLS 5061.
    pub address: IpAddr,
    /// The domain it answers for.
    pub domain: String,
    /// Whether it asks for a digest. Without, it believes everybody, as one that trusts its edge does.
    pub challenges: bool,
    /// Whether it stores Path and takes part in outbound (RFC 3327, RFC 5626); a registrar that doesn't needs its edge
    /// to put itself into Contact.
    pub knows_path: bool,
    /// Whether it has a port for TLS 5091 as well, on which it asks for [`TOKEN`] (RFC 8898).
    pub takes_tokens: bool,
    /// Its certificate.
    pub tls: TlsFiles,
}

/// The password of every user.
pub const PASSWORD: &str = "correct-horse-1";

/// The access token of every user.
pub const TOKEN: &str = "eyJhbGciOiJub25lIn0.e30.token-1";

/// Starts it; returns when it answers.
pub fn start(place: &Place, dir: &Path, plan: &Plan) -> Result<Kamailio> {
    let mut text = include_str!("registrar.cfg").to_owned();
    if plan.challenges {
        text = include(&text, "CHALLENGE");
    }
    if plan.knows_path {
        text = include(&text, "PATH");
    }
    if plan.takes_tokens {
        text = include(&text, "BEARER");
    }
    let address = match plan.address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    let text = fill(
        &text,
        &[
            ("ADDRESS", address),
            ("TOKEN", TOKEN.to_owned()),
            ("DOMAIN", plan.domain.clone()),
            ("PASSWORD", PASSWORD.to_owned()),
            ("CHILDREN", "2".to_owned()),
        ],
    );
    let probe = socket(plan.address, 5060);
    Kamailio::start(&plan.name, place, dir, probe, &text, &plan.tls)
}

impl Plan {
    /// One that challenges and knows Path.
    #[must_use]
    pub fn new(name: &str, address: IpAddr, domain: &str, tls: TlsFiles) -> Self {
        Self {
            name: name.to_owned(),
            address,
            domain: domain.to_owned(),
            challenges: true,
            knows_path: true,
            takes_tokens: false,
            tls,
        }
    }

    /// Where it listens for UDP and TCP.
    #[must_use]
    pub const fn socket(&self) -> SocketAddr {
        socket(self.address, 5060)
    }
}
