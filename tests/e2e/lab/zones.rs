//! The packet filter between the zones.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use support::netns::{self, Refused, Zones};

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(5);

fn socket(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, 4711)
}

#[test]
fn the_dmz_can_not_call_inside() {
    let zones = Zones::new().unwrap();
    for address in netns::inside(20) {
        let _listener = zones.inside().listen(socket(address)).unwrap();

        let error = zones.dmz().connect(socket(address), SHORT).unwrap_err();

        assert_eq!(error.kind(), ErrorKind::TimedOut, "{address}");
    }
    let refused = zones.refused().unwrap();
    assert!(refused.tcp_v4 >= 1 && refused.tcp_v6 >= 1, "{refused:?}");
    assert!(zones.assert_nothing_refused().is_err());
}

#[test]
fn the_inside_can_call_the_dmz_and_gets_answers() {
    let zones = Zones::new().unwrap();
    for address in netns::link(11) {
        let listener = zones.dmz().listen(socket(address)).unwrap();

        let mut caller = zones.inside().connect(socket(address), LONG).unwrap();
        let (mut called, _) = listener.accept().unwrap();
        called.write_all(b"from the dmz").unwrap();
        drop(called);

        let mut heard = String::new();
        caller.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "from the dmz", "{address}");
    }
    assert_eq!(zones.refused().unwrap(), Refused::default());
}

#[test]
fn datagrams_from_the_dmz_do_not_reach_the_inside_unasked() {
    let zones = Zones::new().unwrap();
    for (outer, inner) in netns::link(11).into_iter().zip(netns::inside(20)) {
        let edge = zones.dmz().udp(socket(outer)).unwrap();
        let core = zones.inside().udp(socket(inner)).unwrap();
        core.set_read_timeout(Some(SHORT)).unwrap();
        edge.set_read_timeout(Some(LONG)).unwrap();
        let mut buffer = [0; 16];

        edge.send_to(b"unasked", socket(inner)).unwrap();
        assert_eq!(
            core.recv(&mut buffer).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );

        core.send_to(b"question", socket(outer)).unwrap();
        edge.recv(&mut buffer).unwrap();
        edge.send_to(b"answer", socket(inner)).unwrap();
        assert_eq!(core.recv(&mut buffer).unwrap(), 6, "{outer}");
    }
    assert_eq!(zones.refused().unwrap().other, 2);
}

#[test]
fn the_client_reaches_the_public_addresses_and_nothing_behind() {
    let zones = Zones::new().unwrap();
    for address in netns::public(12) {
        let _listener = zones.dmz().listen(socket(address)).unwrap();
        zones.client().connect(socket(address), LONG).unwrap();
    }
    for address in netns::inside(20).into_iter().chain(netns::link(11)) {
        let error = zones.client().connect(socket(address), SHORT).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NetworkUnreachable, "{address}");
    }
}

#[test]
fn a_cut_link_is_silent_until_it_is_mended() {
    let zones = Zones::new().unwrap();
    let [address, _] = netns::link(11);
    let _listener = zones.dmz().listen(socket(address)).unwrap();

    zones.cut_link().unwrap();
    let error = zones.inside().connect(socket(address), SHORT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);

    zones.mend_link().unwrap();
    zones.inside().connect(socket(address), LONG).unwrap();
}

#[test]
fn namespaces_are_gone_after_the_test() {
    let zones = Zones::new().unwrap();
    let support::place::Place::Namespace(name) = zones.inside() else {
        panic!("the inside is a namespace");
    };
    let file = std::path::Path::new("/run/netns").join(name);
    assert!(file.exists());

    drop(zones);

    assert!(!file.exists());
}
