//! IM and Presence nodes inside, clients outside, and an edge between them.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use certs::{Identity, Leaf, Pki, Plan};
use support::netns::{self, Zones};
use support::pair::{Member, Size};
use support::place::Place;
use support::tls_client::Dialer;
use support::xmpp::chatter::{self, Chatter, Mode};
use support::xmpp::{Daemon, ejabberd, prosody, reference_edge};
use tempfile::TempDir;

use super::configuration;
use crate::stage::{DOMAIN, Stage};

/// Nodes and what stands before them. Dropped in this order.
pub(crate) struct Scene {
    /// `imp1` and `imp2`, then `imp3` if it is there: every account on all.
    pub(crate) nodes: Vec<Daemon>,
    ground: Before,
}

/// What stands between clients and nodes, and where.
enum Before {
    /// Ends TLS and knows nothing of XMPP.
    Reference(Box<Reference>),
    /// What all this is about.
    Pair(Box<Stage>),
}

struct Reference {
    edge: Daemon,
    zones: Zones,
    dir: TempDir,
}

/// What distinguishes one pair's surroundings from another's.
pub(crate) struct Setup {
    /// How edge-c reaches nodes: `starttls` or `tls`.
    pub(crate) scheme: &'static str,
    /// TLS of the nodes, see [`prosody::Plan::protocol`].
    pub(crate) protocol: &'static str,
    /// Whether ejabberd stands there for the other domain.
    pub(crate) has_other_domain: bool,
    /// Whether anything stands there at all; else the test starts nodes of its own.
    pub(crate) has_nodes: bool,
    /// `session_gate`.
    pub(crate) gate: &'static str,
    /// Keys of `[[xmpp.domain]]` beside the names and the nodes.
    pub(crate) domain: Vec<(&'static str, toml::Value)>,
    /// Keys of edge-e's `[xmpp]` beside the listeners.
    pub(crate) edge: Vec<(&'static str, toml::Value)>,
    /// Whether TLS of clients ends at edge-c, with a certificate of the inner authority.
    pub(crate) is_passthrough: bool,
}

impl Setup {
    /// Two Prosody nodes over STARTTLS, and nothing unusual.
    pub(crate) const USUAL: Self = Self {
        scheme: "starttls",
        protocol: "tlsv1_2+",
        has_other_domain: false,
        has_nodes: true,
        gate: "off",
        domain: Vec::new(),
        edge: Vec::new(),
        is_passthrough: false,
    };
}

impl Scene {
    /// The reference edge before two Prosody nodes, the second of which is spare.
    pub(crate) fn reference() -> Self {
        let ground = Ground::new();
        let inside = ground.zones.inside();
        let plan = |number| prosody_plan(&ground.pki, number);
        let start = |number| prosody::start(&inside, ground.dir.path(), &plan(number));
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

    /// The pair before two Prosody nodes.
    pub(crate) fn pair() -> Self {
        Self::pair_with(&Setup::USUAL)
    }

    /// The pair in other surroundings.
    pub(crate) fn pair_with(setup: &Setup) -> Self {
        let mut stage = Stage::prepare(Size::ONE);
        write_identities(&stage.pki, stage.path());
        let inside = stage.zones.inside();
        let mut nodes = Vec::new();
        if setup.has_nodes {
            for number in [1, 2] {
                let mut plan = prosody_plan(&stage.pki, number);
                plan.protocol = setup.protocol;
                nodes.push(prosody::start(&inside, stage.path(), &plan).unwrap());
            }
        }
        if setup.has_other_domain {
            let plan = ejabberd_plan(&stage.pki);
            nodes.push(ejabberd::start(&inside, stage.path(), &plan).unwrap());
        }
        if setup.is_passthrough {
            let leaf = Leaf::server(&[DOMAIN.to_owned()]);
            let identity = stage.pki.inside.issue(&leaf).unwrap();
            identity.write_to(&stage.path().join("chat")).unwrap();
            let path = stage.path().to_owned();
            configuration::passthrough(&mut stage.pair, &path.join("chat"));
        }
        configuration::edge_e(&mut stage.pair.edges[0], setup);
        configuration::edge_c(&mut stage.pair.cores[0], setup);
        stage.pair.start().unwrap();
        let ground = Before::Pair(Box::new(stage));
        Self { nodes, ground }
    }

    /// The edge-c of the pair.
    pub(crate) fn core(&self) -> &Member {
        match &self.ground {
            Before::Pair(stage) => &stage.pair.cores[0],
            Before::Reference(_) => unreachable!("only for tests of the pair"),
        }
    }

    /// The pair and what is around it.
    pub(crate) fn stage(&mut self) -> &mut Stage {
        match &mut self.ground {
            Before::Pair(stage) => stage,
            Before::Reference(_) => unreachable!("only for tests of the pair"),
        }
    }

    /// A client that says what it is told, byte for byte; `port` is 5222 or 5223.
    pub(crate) fn dialer(&self, port: u16, domain: &str) -> Dialer {
        let socket = SocketAddr::new(first(netns::public(11)), port);
        let alpn = if port == 5223 {
            &["xmpp-client"][..]
        } else {
            &[]
        };
        Dialer::new(&self.client(), socket, domain, &self.authorities(), alpn).unwrap()
    }

    /// A client of that user of the first domain, which has not connected yet.
    pub(crate) fn chatter(&self, user: &str, change: impl FnOnce(&mut chatter::Plan)) -> Chatter {
        let mut plan = self.plan(user, DOMAIN);
        change(&mut plan);
        self.chatter_at(&self.client(), &plan)
    }

    /// The same elsewhere.
    pub(crate) fn chatter_at(&self, place: &Place, plan: &chatter::Plan) -> Chatter {
        Chatter::start(place, self.path(), plan).unwrap()
    }

    /// What a client of that user is told.
    pub(crate) fn plan(&self, user: &str, domain: &str) -> chatter::Plan {
        chatter::Plan {
            jid: format!("{user}@{domain}/desk"),
            password: password(user),
            authorities: self.authorities(),
            mechanism: None,
            tls: None,
        }
    }

    /// The authority inside, which no client outside trusts by itself.
    pub(crate) fn inner_authority(&self) -> PathBuf {
        self.path().join("inside/ca.pem")
    }

    /// One that has signed in.
    pub(crate) fn online(&self, user: &str, mode: Mode) -> Chatter {
        let mut chatter = self.chatter(user, usual);
        chatter.sign_in(self.edge(mode), mode).unwrap();
        chatter
    }

    /// The logs of the nodes and of what is before them.
    pub(crate) fn logs(&self) -> String {
        let edge = match &self.ground {
            Before::Reference(reference) => reference.edge.log().unwrap(),
            Before::Pair(stage) => stage.logs(),
        };
        let nodes = self.nodes.iter().map(|node| node.log().unwrap());
        nodes.chain([edge]).collect()
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
        self.zones().client()
    }

    pub(crate) fn zones(&self) -> &Zones {
        match &self.ground {
            Before::Reference(reference) => &reference.zones,
            Before::Pair(stage) => &stage.zones,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        match &self.ground {
            Before::Reference(reference) => reference.dir.path(),
            Before::Pair(stage) => stage.path(),
        }
    }

    fn authorities(&self) -> PathBuf {
        self.path().join("authorities.pem")
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
        write_identities(&pki, dir.path());
        let zones = Zones::new().unwrap();
        // What passes the reference edge untouched shows a node's certificate.
        let both = format!("{}{}", pki.public.pem(), pki.inside.pem());
        std::fs::write(dir.path().join("authorities.pem"), both).unwrap();
        Self { zones, pki, dir }
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
            ground: Before::Reference(Box::new(Reference {
                edge,
                zones: self.zones,
                dir: self.dir,
            })),
        }
    }
}

/// A client that does nothing unusual.
pub(crate) fn usual(_: &mut chatter::Plan) {}

/// The password of a user.
pub(crate) fn password(user: &str) -> String {
    format!("{user}-secret-1")
}

/// Users whom no edge has seen on any node yet: more than sign in until a node counts as there again.
pub(crate) const GUESTS: [&str; 24] = [
    "g01", "g02", "g03", "g04", "g05", "g06", "g07", "g08", "g09", "g10", "g11", "g12", "g13",
    "g14", "g15", "g16", "g17", "g18", "g19", "g20", "g21", "g22", "g23", "g24",
];

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
    let users = ["alice", "bob", "cjones", "vera"].into_iter().chain(GUESTS);
    users
        .map(|user| (user.to_owned(), password(user)))
        .collect()
}

/// Pages are told an address, so it must stand in the edge's certificate. Clients trust the public authority alone.
fn write_identities(pki: &Pki, dir: &Path) {
    let names = [&format!("edge1.{DOMAIN}"), DOMAIN, OTHER_DOMAIN].map(str::to_owned);
    let leaf = Leaf::server(&names).with_addresses(&netns::public(11));
    let identity = pki.public.issue(&leaf).unwrap();
    identity.write_to(&dir.join("public/edge1")).unwrap();
    std::fs::write(dir.join("authorities.pem"), pki.public.pem()).unwrap();
}

/// Nodes have their own name and that of the domain in one certificate.
pub(crate) fn node_identity(pki: &Pki, number: u8, domain: &str) -> Identity {
    let names = [format!("imp{number}.{domain}"), domain.to_owned()];
    pki.inside.issue(&Leaf::server(&names)).unwrap()
}

/// The IPv4 one of two.
pub(crate) fn first([address, _]: [IpAddr; 2]) -> IpAddr {
    address
}
