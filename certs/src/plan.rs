//! Which certificates to make. Nothing here touches a key.

use std::net::IpAddr;

/// What a [`Pki`](crate::Pki) holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Each edge-e: a public and a link identity.
    pub edges: Vec<EdgePlan>,
    /// Each edge-c: a link identity.
    pub cores: Vec<CorePlan>,
    /// The servers inside.
    pub inner: Vec<InnerPlan>,
}

/// One edge-e.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgePlan {
    /// File name without extension, such as `edge1`.
    pub file: String,
    /// DNS names in the public certificate: the edge's FQDN first, then the service domains and
    /// `collab-edge.<domain>`.
    pub public_names: Vec<String>,
    /// IP addresses in the public certificate; most clients need none.
    pub public_addresses: Vec<IpAddr>,
    /// The name in the link certificate.
    pub link_name: String,
}

/// One edge-c.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorePlan {
    /// File name without extension, such as `edge-c1`.
    pub file: String,
    /// The name in the link certificate.
    pub link_name: String,
}

/// One server inside, or several that share a certificate as a UCM cluster may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InnerPlan {
    /// File name without extension, such as `ucm`.
    pub file: String,
    /// DNS names in the certificate.
    pub names: Vec<String>,
    /// IP addresses in the certificate, for servers that are named by address.
    pub addresses: Vec<IpAddr>,
}

impl Plan {
    /// Two edges, two cores and the usual inner servers of one domain.
    #[must_use]
    pub fn standard(domain: &str) -> Self {
        Self::for_domains(&[domain.to_owned()], 2, 2)
    }

    /// Edges and cores for several service domains; the machines are named in the first.
    ///
    /// Inner servers: `ucm` (two clusters of two nodes: `cucm1a` .. `cucm2b`), `imp` (`imp1`,
    /// `imp2`), `unity` and `photos`. Without any domain there are only link identities.
    #[must_use]
    pub fn for_domains(domains: &[String], edges: u8, cores: u8) -> Self {
        let home = domains.first().map_or("example.com", String::as_str);
        Self {
            edges: (1..=edges)
                .map(|n| EdgePlan::new(n, home, domains))
                .collect(),
            cores: (1..=cores).map(CorePlan::new).collect(),
            inner: [
                ("ucm", &["cucm1a", "cucm1b", "cucm2a", "cucm2b"][..]),
                ("imp", &["imp1", "imp2"]),
                ("unity", &["unity"]),
                ("photos", &["photos"]),
            ]
            .into_iter()
            .map(|(file, hosts)| InnerPlan::new(file, hosts, home))
            .collect(),
        }
    }
}

impl EdgePlan {
    fn new(number: u8, home: &str, domains: &[String]) -> Self {
        let mut public_names = vec![format!("edge{number}.{home}")];
        for domain in domains {
            public_names.push(domain.clone());
            public_names.push(format!("collab-edge.{domain}"));
        }
        Self {
            file: format!("edge{number}"),
            public_names,
            public_addresses: Vec::new(),
            link_name: format!("edge{number}.link.internal"),
        }
    }
}

impl CorePlan {
    fn new(number: u8) -> Self {
        Self {
            file: format!("edge-c{number}"),
            link_name: format!("edge-c{number}.link.internal"),
        }
    }
}

impl InnerPlan {
    fn new(file: &str, hosts: &[&str], domain: &str) -> Self {
        Self {
            file: file.to_owned(),
            names: hosts
                .iter()
                .map(|host| format!("{host}.{domain}"))
                .collect(),
            addresses: Vec::new(),
        }
    }
}
