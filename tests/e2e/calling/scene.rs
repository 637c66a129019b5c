//! The stage with a registrar, and homes with phones in them.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use certs::{Leaf, Pki, Plan};
use support::netns::{self, Desk, Home, Zones};
use support::sip::phone::{self, Network, Phone};
use support::sip::{Kamailio, TlsFiles, reference_edge, registrar};
use tempfile::TempDir;

use crate::stage::DOMAIN;

/// Phones and whom they register with. Dropped in this order.
pub(crate) struct Scene {
    pub(crate) registrar: Kamailio,
    edge: Kamailio,
    homes: Vec<Home>,
    desks: Vec<Desk>,
    pub(crate) zones: Zones,
    dir: TempDir,
}

impl Scene {
    /// The reference edge between phones and the registrar.
    pub(crate) fn reference() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::generate(&Plan::standard(DOMAIN)).unwrap();
        pki.write_to(dir.path()).unwrap();
        let zones = Zones::new().unwrap();
        write_identities(&pki, dir.path());
        let plan = registrar_plan(1, dir.path());
        let registrar = registrar::start(&zones.inside(), dir.path(), &plan).unwrap();
        zones.admit_from_dmz(plan.address).unwrap();
        let edge = reference_edge::Plan {
            name: "edge1.example.com".to_owned(),
            public: first(netns::public(11)),
            link: first(netns::link(11)),
            registrar: plan.socket(),
            children: 2,
            tls: TlsFiles::beside(&dir.path().join("public/edge1")),
        };
        let edge = reference_edge::start(&zones.dmz(), dir.path(), &edge).unwrap();
        Self {
            registrar,
            edge,
            homes: Vec::new(),
            desks: Vec::new(),
            zones,
            dir,
        }
    }

    /// A phone outside, in a home of its own, registered.
    pub(crate) fn phone(&mut self, number: u8, change: impl FnOnce(&mut phone::Plan)) -> Phone {
        let home = self.zones.add_home(number).unwrap();
        let edge = SocketAddr::new(first(netns::public(11)), 5061);
        let user = format!("10{number}");
        let mut plan = phone::Plan::new(&user, DOMAIN, home.address(), edge, Network::Outside);
        plan.authorities = self.path().join("public/ca.pem");
        change(&mut plan);
        let mut phone = Phone::start(&home.place(), self.path(), &plan).unwrap();
        self.homes.push(home);
        phone.wait_registered().unwrap();
        phone
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

fn registrar_plan(number: u8, dir: &Path) -> registrar::Plan {
    let tls = TlsFiles::beside(&dir.join(format!("inside/registrar{number}")));
    registrar::Plan::new(
        &format!("registrar{number}"),
        first(netns::inside(60 + number)),
        DOMAIN,
        tls,
    )
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
    for number in [1, 2] {
        let names = [format!("registrar{number}.{DOMAIN}"), DOMAIN.to_owned()];
        let leaf = Leaf::server(&names).with_addresses(&netns::inside(60 + number));
        let file = dir.join(format!("inside/registrar{number}"));
        pki.inside.issue(&leaf).unwrap().write_to(&file).unwrap();
    }
}

fn first([address, _]: [IpAddr; 2]) -> IpAddr {
    address
}
