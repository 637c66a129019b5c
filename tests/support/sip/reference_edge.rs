//! A foreign edge in the DMZ in place of the pair: what the phones and the registrar of these tests are proven with,
//! and what the benchmark compares with.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::Result;

use super::kamailio::{Kamailio, TlsFiles, socket};
use crate::place::Place;
use crate::template::fill;

/// Where it stands.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name in its certificate.
    pub name: String,
    /// The domain of its users.
    pub domain: String,
    /// Phones arrive here, TLS 5061.
    pub public: IpAddr,
    /// Faces the registrar, TCP 5060.
    pub link: IpAddr,
    /// The registrar, TCP.
    pub registrar: SocketAddr,
    /// Worker processes for each kind of socket.
    pub children: u8,
    /// Its certificate.
    pub tls: TlsFiles,
}

/// Starts it; returns when it accepts connections.
pub fn start(place: &Place, dir: &Path, plan: &Plan) -> Result<Kamailio> {
    let text = fill(
        include_str!("reference_edge.cfg"),
        &[
            ("NAME", plan.name.clone()),
            ("DOMAIN", plan.domain.clone()),
            ("PUBLIC", plan.public.to_string()),
            ("LINK", plan.link.to_string()),
            ("REGISTRAR", plan.registrar.to_string()),
            ("REGISTRAR_ADDRESS", plan.registrar.ip().to_string()),
            ("CHILDREN", plan.children.to_string()),
        ],
    );
    let probe = socket(plan.public, 5061);
    Kamailio::start("reference-edge", place, dir, probe, &text, &plan.tls)
}
