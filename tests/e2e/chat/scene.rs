//! IM and Presence nodes inside, clients outside, and an edge between them.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use certs::{Identity, Leaf, Pki, Plan};
use support::netns::{self, Zones};
use support::place::Place;
use support::xmpp::chatter::{self, Chatter, Mode};
use support::xmpp::{Daemon, ejabberd, prosody, reference_edge};
use tempfile::TempDir;

use crate::stage::DOMAIN;

/// Nodes and what stands before them. Dropped in this order.
pub(crate) struct Scene {
    /// `imp1` and `imp2`: every account on both.
    pub(crate) nodes: Vec<Daemon>,
    edge: Daemon,
    zones: Zones,
    dir: TempDir,
}

impl Scene {
    /// The reference edge before two Prosody nodes, the second of which is spare.
    pub(crate) fn reference() -> Self {
        let ground = Ground::new();
        let inside = ground.zones.inside();
        let start = |number| prosody::start(&inside, ground.dir.path(), &ground.prosody(number));
        let nodes = [1, 2].map(|number| start(number).unwrap());
        ground.stand(nodes.into(), DOMAIN, &[41, 42])
    }

    /// The reference edge before ejabberd, which has the other domain.
    pub(crate) fn reference_ejabberd() -> Self {
        let ground = Ground::new();
        let plan = ejabberd_plan(&ground.pki);
        let node = ejabberd::start(&ground.zones.inside(), ground.dir.path(), &plan).unwrap();
        ground.stand(vec![node], OTHER_DOMAIN, &[43])
    }

    /// A client of that user of the first domain, which has not connected yet.
    pub(crate) fn chatter(&self, user: &str, change: impl FnOnce(&mut chatter::Plan)) -> Chatter {
        let mut plan = chatter::Plan {
            jid: format!("{user}@{DOMAIN}/desk"),
            password: password(user),
            authorities: self.authorities(),
            mechanism: None,
            tls: None,
        };
        change(&mut plan);
        Chatter::start(&self.client(), self.dir.path(), &plan).unwrap()
    }

    /// One that has signed in.
    pub(crate) fn online(&self, user: &str, mode: Mode) -> Chatter {
        let mut chatter = self.chatter(user, usual);
        chatter.sign_in(self.edge(mode), mode).unwrap();
        chatter
    }

    /// The logs of the nodes and of what is before them.
    pub(crate) fn logs(&self) -> String {
        let daemons = self.nodes.iter().chain([&self.edge]);
        daemons.map(|daemon| daemon.log().unwrap()).collect()
    }

    /// Where clients connect to.
    pub(crate) fn edge(&self, mode: Mode) -> SocketAddr {
        let port = match mode {
            Mode::Direct => 5223,
            Mode::Plain | Mode::StartTls => 5222,
        };
        SocketAddr::new(first(netns::public(11)), port)
    }

    /// The zone of clients.
    pub(crate) fn client(&self) -> Place {
        self.zones.client()
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    fn authorities(&self) -> PathBuf {
        self.dir.path().join("authorities.pem")
    }
}

/// Zones and certificates, before anything runs.
struct Ground {
    zones: Zones,
    pki: Pki,
    dir: TempDir,
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let domains = [DOMAIN, OTHER_DOMAIN].map(str::to_owned);
        let pki = Pki::generate(&Plan::for_domains(&domains, 2, 2)).unwrap();
        pki.write_to(dir.path()).unwrap();
        write_edge_identity(&pki, dir.path());
        let zones = Zones::new().unwrap();
        // What passes the reference edge untouched shows a node's certificate.
        let both = format!("{}{}", pki.public.pem(), pki.inside.pem());
        std::fs::write(dir.path().join("authorities.pem"), both).unwrap();
        Self { zones, pki, dir }
    }

    fn prosody(&self, number: u8) -> prosody::Plan {
        prosody_plan(&self.pki, number)
    }

    fn stand(self, nodes: Vec<Daemon>, domain: &str, numbers: &[u8]) -> Scene {
        let addresses = numbers.iter().map(|number| first(netns::inside(*number)));
        let addresses: Vec<IpAddr> = addresses.collect();
        for address in &addresses {
            self.zones.admit_from_dmz(*address).unwrap();
        }
        let plan = reference_edge::Plan {
            public: first(netns::public(11)),
            nodes: addresses,
            domain: domain.to_owned(),
            authority: self.pki.inside.pem().to_owned(),
            identity: Identity::read_from(&self.dir.path().join("public/edge1")).unwrap(),
        };
        let edge = reference_edge::start(&self.zones.dmz(), self.dir.path(), &plan).unwrap();
        Scene {
            nodes,
            edge,
            zones: self.zones,
            dir: self.dir,
        }
    }
}

/// A client that does nothing unusual.
pub(crate) fn usual(_: &mut chatter::Plan) {}

/// The password of a user.
pub(crate) fn password(user: &str) -> String {
    format!("{user}-secret-1")
}

/// The domain whose node is ejabberd.
pub(crate) const OTHER_DOMAIN: &str = "example.org";

fn prosody_plan(pki: &Pki, number: u8) -> prosody::Plan {
    prosody::Plan {
        name: format!("imp{number}"),
        address: first(netns::inside(40 + number)),
        domain: DOMAIN.to_owned(),
        accounts: accounts(),
        protocol: "tlsv1_2+",
        identity: node_identity(pki, number, DOMAIN),
    }
}

fn ejabberd_plan(pki: &Pki) -> ejabberd::Plan {
    ejabberd::Plan {
        name: "imp3".to_owned(),
        address: first(netns::inside(43)),
        domain: OTHER_DOMAIN.to_owned(),
        accounts: accounts(),
        identity: node_identity(pki, 3, OTHER_DOMAIN),
    }
}

fn accounts() -> Vec<(String, String)> {
    let users = ["alice", "bob", "cjones", "vera"];
    users.map(|user| (user.to_owned(), password(user))).to_vec()
}

/// Pages are told an address, so it must stand in the certificate.
fn write_edge_identity(pki: &Pki, dir: &Path) {
    let names = [&format!("edge1.{DOMAIN}"), DOMAIN, OTHER_DOMAIN].map(str::to_owned);
    let leaf = Leaf::server(&names).with_addresses(&netns::public(11));
    let identity = pki.public.issue(&leaf).unwrap();
    identity.write_to(&dir.join("public/edge1")).unwrap();
}

/// Nodes have their own name and that of the domain in one certificate.
fn node_identity(pki: &Pki, number: u8, domain: &str) -> Identity {
    let names = [format!("imp{number}.{domain}"), domain.to_owned()];
    pki.inside.issue(&Leaf::server(&names)).unwrap()
}

/// The IPv4 one of two.
fn first([address, _]: [IpAddr; 2]) -> IpAddr {
    address
}
