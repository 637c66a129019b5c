//! A registrar inside, homes with phones outside, desk phones, and an edge between them.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use certs::{Leaf, Pki, Plan};
use support::netns::{self, Desk, Home, Zones};
use support::pair::{Member, Size};
use support::place::Place;
use support::sip::agent::Agent;
use support::sip::phone::{self, Answer, Network, Phone};
use support::sip::{Kamailio, TlsFiles, reference_edge, registrar};
use support::tls_client::Dialer;
use tempfile::TempDir;

use super::configuration;
use crate::stage::{DOMAIN, Stage, edge_name};

/// Phones and whom they register with. Dropped in this order.
pub(crate) struct Scene {
    pub(crate) registrars: Vec<Kamailio>,
    homes: Vec<(u8, Home)>,
    desks: Vec<Desk>,
    ground: Ground,
}

/// What stands between phones and the registrar, and where.
enum Ground {
    /// Does signalling and leaves media alone, so that phones outside hear each other, and nobody inside.
    Reference(Box<Reference>),
    /// What all this is about.
    Pair(Box<Stage>),
}

struct Reference {
    edge: Kamailio,
    zones: Zones,
    dir: TempDir,
}

/// What distinguishes one pair's surroundings from another's.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each stands for a way of its own in which surroundings differ"
)]
pub(crate) struct Setup {
    /// How many edges there are.
    pub(crate) size: Size,
    /// Registrar nodes.
    pub(crate) nodes: u8,
    /// How edge-c reaches them: `udp`, `tcp` or `tls`.
    pub(crate) transport: &'static str,
    /// Whether they ask for a digest.
    pub(crate) challenges: bool,
    /// Who asks for a password: `registrar` or `edge`.
    pub(crate) authentication: &'static str,
    /// Whether they are spoken to on the port where they take tokens.
    pub(crate) takes_tokens: bool,
    /// Whether everything is done over IPv6.
    pub(crate) is_ipv6: bool,
    /// Whether they store Path.
    pub(crate) knows_path: bool,
    /// What phones inside speak: `rtp`, `srtp` or `as-offered`.
    pub(crate) media: &'static str,
    /// Whatever else is different.
    pub(crate) more: fn(&mut Stage),
}

impl Setup {
    /// One registrar over TCP that challenges and knows Path, and plain media inside.
    pub(crate) const USUAL: Self = Self {
        size: Size::ONE,
        nodes: 1,
        transport: "tcp",
        challenges: true,
        authentication: "registrar",
        takes_tokens: false,
        is_ipv6: false,
        knows_path: true,
        media: "rtp",
        more: |_| {},
    };
}

impl Scene {
    /// The reference edge between phones and the registrar.
    pub(crate) fn reference() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::generate(&Plan::standard(DOMAIN)).unwrap();
        pki.write_to(dir.path()).unwrap();
        write_identities(&pki, dir.path());
        let zones = Zones::new().unwrap();
        let plan = registrar_plan(1, dir.path());
        let registrar = registrar::start(&zones.inside(), dir.path(), &plan).unwrap();
        zones.admit_from_dmz(plan.address).unwrap();
        let edge = reference_edge::Plan {
            name: format!("edge1.{DOMAIN}"),
            domain: DOMAIN.to_owned(),
            public: first(netns::public(11)),
            link: first(netns::link(11)),
            registrar: plan.socket(),
            // With more, Debian's ends by itself now and then: its processes free what OpenSSL 3 shares among them twice.
            children: 1,
            tls: TlsFiles::beside(&dir.path().join("public/edge1")),
        };
        let edge = reference_edge::start(&zones.dmz(), dir.path(), &edge).unwrap();
        Self {
            registrars: vec![registrar],
            homes: Vec::new(),
            desks: Vec::new(),
            ground: Ground::Reference(Box::new(Reference { edge, zones, dir })),
        }
    }

    /// Whether the reference edge ended without being told to.
    pub(crate) fn reference_has_ended(&mut self) -> bool {
        match &mut self.ground {
            Ground::Reference(reference) => reference.edge.has_ended(),
            Ground::Pair(_) => false,
        }
    }

    /// The pair, with one registrar.
    pub(crate) fn pair() -> Self {
        Self::pair_with(&Setup::USUAL)
    }

    /// The pair, in other surroundings.
    pub(crate) fn pair_with(setup: &Setup) -> Self {
        let mut stage = Stage::prepare(setup.size);
        let dir = stage.path().to_owned();
        write_identities(&stage.pki, &dir);
        let start = |number| {
            let mut plan = registrar_plan(number, &dir);
            (plan.challenges, plan.knows_path) = (setup.challenges, setup.knows_path);
            plan.takes_tokens = setup.takes_tokens;
            if setup.is_ipv6 {
                [_, plan.address] = netns::inside(60 + number);
            }
            registrar::start(&stage.zones.inside(), &dir, &plan).unwrap()
        };
        let registrars = (1..=setup.nodes).map(start).collect();
        for (number, edge) in (1..).zip(&mut stage.pair.edges) {
            configuration::edge_e(edge, number);
        }
        for (number, core) in (1..).zip(&mut stage.pair.cores) {
            configuration::edge_c(core, number, setup, &dir);
        }
        if setup.authentication == "edge" {
            add_password(&stage.pair.cores[0], ALICE);
        }
        (setup.more)(&mut stage);
        stage.pair.start().unwrap();
        Self {
            registrars,
            homes: Vec::new(),
            desks: Vec::new(),
            ground: Ground::Pair(Box::new(stage)),
        }
    }

    /// The pair and what is around it.
    pub(crate) fn stage(&mut self) -> &mut Stage {
        match &mut self.ground {
            Ground::Pair(stage) => stage,
            Ground::Reference(_) => unreachable!("only for tests of the pair"),
        }
    }

    /// The home with that number.
    pub(crate) fn home_of(&self, number: u8) -> &Home {
        let home = self.homes.iter().find(|(own, _)| *own == number);
        &home.unwrap().1
    }

    /// A phone outside, behind a NAT whose public address ends in `number`, registered as user `1<number>`.
    pub(crate) fn phone(&mut self, number: u8, change: impl FnOnce(&mut phone::Plan)) -> Phone {
        let mut phone = self.start_phone(number, change);
        phone.wait_registered().unwrap();
        phone
    }

    /// The same, without waiting for the registration.
    pub(crate) fn start_phone(
        &mut self,
        number: u8,
        change: impl FnOnce(&mut phone::Plan),
    ) -> Phone {
        let Spot { place, address } = self.home(number);
        let edge = SocketAddr::new(first(netns::public(11)), 5061);
        let mut plan = phone::Plan::new(&user(number), DOMAIN, address, edge, Network::Outside);
        plan.tone = tone(number);
        plan.authorities = self.path().join("public/ca.pem");
        change(&mut plan);
        Phone::start(&place, self.path(), &plan).unwrap()
    }

    /// A desk phone inside, whose address ends in `number`, registered as user `1<number>`.
    pub(crate) fn desk(&mut self, number: u8, change: impl FnOnce(&mut phone::Plan)) -> Phone {
        let desk = self.zones().add_desk(number).unwrap();
        let registrar = SocketAddr::new(first(netns::inside(61)), 5060);
        let mut plan = phone::Plan::new(
            &user(number),
            DOMAIN,
            desk.address(),
            registrar,
            Network::Inside,
        );
        plan.tone = tone(number);
        change(&mut plan);
        let mut phone = Phone::start(&desk.place(), self.path(), &plan).unwrap();
        self.desks.push(desk);
        phone.wait_registered().unwrap();
        phone
    }

    /// A user agent outside that does what it is told, not registered yet, and where it is.
    pub(crate) fn agent(&mut self, number: u8) -> (Agent, Spot) {
        let spot = self.home(number);
        let dialer = self.dialer(&spot.place);
        (
            Agent::over_tls(&dialer, &user(number), DOMAIN).unwrap(),
            spot,
        )
    }

    /// One inside, registered.
    pub(crate) fn inner_agent(&mut self, number: u8) -> (Agent, Spot) {
        let desk = self.zones().add_desk(number).unwrap();
        let spot = Spot {
            place: desk.place(),
            address: desk.address(),
        };
        let (local, registrar) = (
            SocketAddr::new(spot.address, 5060),
            SocketAddr::new(first(netns::inside(61)), 5060),
        );
        let mut agent =
            Agent::over_udp(&spot.place, local, registrar, &user(number), DOMAIN).unwrap();
        self.desks.push(desk);
        let answer = agent.register(300).unwrap();
        assert_eq!(answer.status(), Some(200), "{answer:#?}");
        (agent, spot)
    }

    /// Dials the SIP port of the first edge.
    pub(crate) fn dialer(&self, place: &Place) -> Dialer {
        let edge = SocketAddr::new(first(netns::public(11)), 5061);
        let authority = self.path().join("public/ca.pem");
        Dialer::new(place, edge, &edge_name(1), &authority, &[]).unwrap()
    }

    pub(crate) fn zones(&self) -> &Zones {
        match &self.ground {
            Ground::Reference(reference) => &reference.zones,
            Ground::Pair(stage) => &stage.zones,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        match &self.ground {
            Ground::Reference(reference) => reference.dir.path(),
            Ground::Pair(stage) => stage.path(),
        }
    }

    /// The logs of what is between the phones.
    pub(crate) fn logs(&self) -> String {
        let pair = match &self.ground {
            Ground::Reference(_) => String::new(),
            Ground::Pair(stage) => stage.logs(),
        };
        let registrars = self.registrars.iter();
        let registrars = registrars.map(|registrar| registrar.log().unwrap_or_default());
        registrars.chain([pair]).collect()
    }

    fn home(&mut self, number: u8) -> Spot {
        if !self.homes.iter().any(|(own, _)| *own == number) {
            let home = self.zones().add_home(number).unwrap();
            self.homes.push((number, home));
        }
        let (_, home) = self.homes.iter().find(|(own, _)| *own == number).unwrap();
        Spot {
            place: home.place(),
            address: home.address(),
        }
    }
}

/// A namespace and the address of the one device in it.
pub(crate) struct Spot {
    pub(crate) place: Place,
    pub(crate) address: IpAddr,
}

/// The user of the phone with that number.
pub(crate) fn user(number: u8) -> String {
    format!("1{number:03}")
}

/// The address of record of the phone with that number.
pub(crate) fn aor(number: u8) -> String {
    format!("sip:{}@{DOMAIN}", user(number))
}

/// What the phone with that number says, Hz. No two are alike, and none is a multiple of another.
pub(crate) fn tone(number: u8) -> u32 {
    match number {
        ALICE => 440,
        BOB => 620,
        CAROL => 770,
        _ => 910 + u32::from(number),
    }
}

/// A phone that rings until it is told what to do.
pub(crate) fn rings(plan: &mut phone::Plan) {
    plan.answer = Answer::Manual;
}

/// A phone that does nothing unusual.
pub(crate) fn usual(_: &mut phone::Plan) {}

/// Outside.
pub(crate) const ALICE: u8 = 110;
/// Outside.
pub(crate) const BOB: u8 = 111;
/// Outside.
pub(crate) const CAROL: u8 = 112;
/// Outside.
pub(crate) const DAVE: u8 = 113;
/// Inside.
pub(crate) const DESK: u8 = 71;
/// Inside.
pub(crate) const MACHINE: u8 = 72;

fn registrar_plan(number: u8, dir: &Path) -> registrar::Plan {
    let tls = TlsFiles::beside(&dir.join(format!("inside/registrar{number}")));
    let address = first(netns::inside(60 + number));
    registrar::Plan::new(&format!("registrar{number}"), address, DOMAIN, tls)
}

/// Tells an edge-c the password of a user.
fn add_password(core: &Member, number: u8) {
    core.write_config().unwrap();
    let file = core.config_file();
    let user = user(number);
    let arguments = [
        "digest",
        "--config",
        &file.to_string_lossy(),
        "add",
        &user,
        DOMAIN,
    ];
    let output = core
        .run_with_input(&arguments, registrar::PASSWORD)
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Phones are told addresses, so addresses must stand in the certificates.
fn write_identities(pki: &Pki, dir: &Path) {
    let names = [format!("edge1.{DOMAIN}"), DOMAIN.to_owned()];
    let leaf = Leaf::server(&names).with_addresses(&netns::public(11));
    pki.public
        .issue(&leaf)
        .unwrap()
        .write_to(&dir.join("public/edge1"))
        .unwrap();
    let leaf = Leaf::mutual(&[format!("edge-c1.{DOMAIN}")]).with_addresses(&netns::inside(20));
    pki.inside
        .issue(&leaf)
        .unwrap()
        .write_to(&dir.join("inside/edge-c1"))
        .unwrap();
    let names = [format!("edge2.{DOMAIN}"), DOMAIN.to_owned()];
    let leaf = Leaf::server(&names).with_addresses(&netns::public(12));
    let file = dir.join("public/edge2");
    pki.public.issue(&leaf).unwrap().write_to(&file).unwrap();
    for number in [1, 2] {
        let names = [format!("registrar{number}.{DOMAIN}"), DOMAIN.to_owned()];
        let leaf = Leaf::mutual(&names).with_addresses(&netns::inside(60 + number));
        let file = dir.join(format!("inside/registrar{number}"));
        pki.inside.issue(&leaf).unwrap().write_to(&file).unwrap();
    }
}

/// The IPv4 one of two.
pub(crate) fn first([address, _]: [IpAddr; 2]) -> IpAddr {
    address
}
