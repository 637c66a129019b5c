//! BIND as the name server inside.

use std::net::SocketAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use support::bind::Bind;
use support::dns::{self, Zone};
use support::netns;
use support::world::Node;

use super::Scene;

fn servers() -> [SocketAddr; 2] {
    netns::inside(53).map(|address| SocketAddr::new(address, 53))
}

#[test]
fn it_answers_over_both_families() {
    let scene = Scene::new();
    let inside = scene.zones.inside();
    let zone = Zone::inside(&scene.world);
    let _bind = Bind::start(&inside, scene.path(), &servers(), &[zone]).unwrap();

    for server in servers() {
        let ask = |name, kind| dns::ask(&inside, server, name, kind).unwrap();
        let uds = ask("_cisco-uds._tcp.example.com.", RecordType::SRV);
        assert_eq!(
            uds.records,
            [
                "1 20 8443 cucm1b.example.com.",
                "1 5 8443 cucm1a.example.com.",
                "2 20 8443 cucm2a.example.com.",
                "6 30 8443 cucm2b.example.com.",
            ]
        );
        let node = ask("cucm2a.example.com.", RecordType::AAAA);
        assert_eq!(node.records, ["fd00:9:1::33"]);
        let missing = ask("_cisco-phone-tftp._tcp.example.com.", RecordType::SRV);
        assert_eq!(missing.code, ResponseCode::NXDomain);
    }
}

#[test]
fn a_pinpoint_zone_has_the_services_and_the_domain_has_not() {
    let scene = Scene::new();
    let inside = scene.zones.inside();
    let zones = Zone::pinpoint(&scene.world);
    let _bind = Bind::start(&inside, scene.path(), &servers(), &zones).unwrap();
    let ask = |name| dns::ask(&inside, servers()[0], name, RecordType::SRV).unwrap();

    let pinpoint = ask("_cisco-uds._tcp.cisco-internal.example.com.");
    assert_eq!(pinpoint.records.len(), 4);
    let plain = ask("_cisco-uds._tcp.example.com.");
    assert_eq!(plain.code, ResponseCode::NXDomain);
}

#[test]
fn it_stops_starts_again_and_takes_a_new_zone() {
    let scene = Scene::new();
    let inside = scene.zones.inside();
    let mut zone = Zone::inside(&scene.world);
    let mut bind = Bind::start(&inside, scene.path(), &servers(), &[zone.clone()]).unwrap();
    let ask = || dns::ask(&inside, servers()[0], "photos.example.com.", RecordType::A);

    bind.stop().unwrap();
    assert!(ask().is_err());

    bind.restart().unwrap();
    assert_eq!(ask().unwrap().records, ["10.9.1.80"]);

    let photos = Node {
        host: "photos.example.com".to_owned(),
        addresses: vec!["10.9.1.51".parse().unwrap()],
    };
    zone.add_host(&photos);
    bind.reload(&[zone], || Ok(ask()?.records.len() == 2))
        .unwrap();
}
