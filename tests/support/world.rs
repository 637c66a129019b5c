//! The company behind the edges: clusters, nodes, users, devices. A description; nothing runs here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Everything the inner servers know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct World {
    /// The service domain.
    pub domain: String,
    /// What UDS says its version is.
    pub version: String,
    /// Whether the clusters know each other's users (intercluster look-up service).
    pub has_ils: bool,
    /// Whether users sign in by single sign-on.
    pub has_sso: bool,
    /// UCM clusters.
    pub clusters: Vec<Cluster>,
    /// IM and Presence nodes: named in DNS.
    pub im_presence: Vec<Node>,
    /// The server of the contact photos.
    pub photos: Node,
    /// Everybody.
    pub users: Vec<User>,
    /// Where the services listen.
    pub ports: Ports,
}

/// UCM nodes that share their users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// In the order in which `/cucm-uds/servers` lists them.
    pub nodes: Vec<Node>,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// FQDN.
    pub host: String,
    /// IPv4, IPv6 or both.
    pub addresses: Vec<IpAddr>,
}

/// One user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user id, as the sign-in page wants it.
    pub id: String,
    /// The e-mail address; its local part need not be the id.
    pub email: String,
    /// Given name.
    pub first: String,
    /// Family name.
    pub last: String,
    /// Directory number.
    pub number: String,
    /// The password at the start; see [`Simulator::set_password`](crate::uds::Simulator::set_password).
    pub password: String,
    /// Index of the home cluster in [`World::clusters`].
    pub cluster: usize,
    /// Phones and soft clients.
    pub devices: Vec<Device>,
    /// Whether the service profile names a voicemail server.
    pub has_voicemail: bool,
}

/// One device of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// `CSF...` for a desktop client, `SEP...` for a phone.
    pub name: String,
    /// Product name.
    pub model: String,
    /// Free text.
    pub description: String,
}

/// Where the services listen; the same on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// UDS, HTTPS.
    pub uds: u16,
    /// Configuration files, HTTP.
    pub files_http: u16,
    /// Configuration files, HTTPS.
    pub files_https: u16,
    /// Photos, HTTPS.
    pub photos: u16,
}

impl Ports {
    /// What UCM uses, and 443 for photos.
    pub const STANDARD: Self = Self {
        uds: 8443,
        files_http: 6970,
        files_https: 6972,
        photos: 443,
    };
}

impl Node {
    /// Its sockets for one port.
    pub fn sockets(&self, port: u16) -> impl Iterator<Item = SocketAddr> + '_ {
        self.addresses
            .iter()
            .map(move |address| SocketAddr::new(*address, port))
    }
}

impl World {
    /// Two clusters of two nodes with ILS, and four users: `alice` (cluster 1), `bob` (cluster 2),
    /// `cjones` whose e-mail address is `carol@` (cluster 2), and `vera` who has voicemail
    /// (cluster 1). `address` gives each node its addresses from its number (31 to 34 for UCM,
    /// 41 and 42 for IM and Presence, 80 for photos).
    pub fn standard(domain: &str, address: impl Fn(u8) -> Vec<IpAddr>) -> Self {
        let node = |name: &str, number| Node {
            host: format!("{name}.{domain}"),
            addresses: address(number),
        };
        Self {
            domain: domain.to_owned(),
            version: "12.5.1".to_owned(),
            has_ils: true,
            has_sso: false,
            clusters: vec![
                Cluster {
                    nodes: vec![node("cucm1a", 31), node("cucm1b", 32)],
                },
                Cluster {
                    nodes: vec![node("cucm2a", 33), node("cucm2b", 34)],
                },
            ],
            im_presence: vec![node("imp1", 41), node("imp2", 42)],
            photos: node("photos", 80),
            users: vec![
                User::new("alice", "alice", ("Alice", "Archer"), "1001", 0, domain),
                User::new("bob", "bob", ("Bob", "Baker"), "2001", 1, domain),
                User::new("cjones", "carol", ("Carol", "Jones"), "2002", 1, domain),
                User {
                    has_voicemail: true,
                    ..User::new("vera", "vera", ("Vera", "Voss"), "1002", 0, domain)
                },
            ],
            ports: Ports::STANDARD,
        }
    }

    /// The standard world on addresses `127.a.b.31` and so on.
    #[must_use]
    pub fn on_loopback(domain: &str, (a, b): (u8, u8), ports: Ports) -> Self {
        Self {
            ports,
            ..Self::standard(domain, |number| {
                vec![Ipv4Addr::new(127, a, b, number).into()]
            })
        }
    }

    /// All UCM nodes with the index of their cluster.
    pub fn nodes(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.clusters
            .iter()
            .enumerate()
            .flat_map(|(index, cluster)| cluster.nodes.iter().map(move |node| (index, node)))
    }

    /// The user with that id; UCM does not mind letter case.
    #[must_use]
    pub fn user(&self, id: &str) -> Option<&User> {
        self.users
            .iter()
            .find(|user| user.id.eq_ignore_ascii_case(id))
    }

    /// The user with that e-mail address.
    #[must_use]
    pub fn user_by_email(&self, email: &str) -> Option<&User> {
        self.users
            .iter()
            .find(|user| user.email.eq_ignore_ascii_case(email))
    }
}

impl User {
    fn new(
        id: &str,
        mailbox: &str,
        (first, last): (&str, &str),
        number: &str,
        cluster: usize,
        domain: &str,
    ) -> Self {
        let device = |prefix: &str, model: &str| Device {
            name: format!("{prefix}{}", id.to_ascii_uppercase()),
            model: model.to_owned(),
            description: format!("{first}'s {model}"),
        };
        Self {
            id: id.to_owned(),
            email: format!("{mailbox}@{domain}"),
            first: first.to_owned(),
            last: last.to_owned(),
            number: number.to_owned(),
            password: format!("{id}-secret-1"),
            cluster,
            devices: vec![
                device("CSF", "Cisco Unified Client Services Framework"),
                device("TCT", "Cisco Dual Mode for iPhone"),
            ],
            has_voicemail: false,
        }
    }
}
