//! What the pair is told for calls, beside what [`support::pair`] tells it.

use std::net::SocketAddr;
use std::path::Path;

use support::netns;
use support::pair::Member;
use toml::Table;

use super::scene::{Setup, first};
use crate::stage::DOMAIN;

/// The public side: phones on 5061, media on a port range.
pub(crate) fn edge_e(edge: &mut Member, number: u8) {
    let public = first(netns::public(10 + number));
    edge.set("sip", "listen", vec![format!("{public}:5061")]);
    edge.set("sip", "websocket_origins", vec![PAGE.to_owned()]);
    edge.set("media", "listen", vec![public.to_string()]);
    edge.set("media", "ports", "36000-59999");
}

/// The inside: registrars, and phones that speak RTP.
pub(crate) fn edge_c(core: &mut Member, number: u8, setup: &Setup, dir: &Path) {
    let own = first(netns::inside(19 + number));
    let listen = [("udp", 5060), ("tcp", 5060), ("tls", 5061)];
    let listen = listen.map(|(transport, port)| format!("{transport}:{own}:{port}"));
    let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
    core.set("sip", "listen", listen.to_vec());
    core.set("sip", "certificate", file("inside/edge-c1.pem"));
    core.set("sip", "key", file("inside/edge-c1.key"));
    core.set("media", "listen", vec![own.to_string()]);
    core.set("media", "networks", vec!["10.9.1.0/24".to_owned()]);
    let mut registrar = Table::new();
    let mode = if setup.knows_path { "path" } else { "contact" };
    let texts = [
        ("name", "lab"),
        ("mode", mode),
        ("media", setup.media),
        ("authentication", setup.authentication),
    ];
    for (key, value) in texts {
        registrar.insert(key.to_owned(), value.into());
    }
    registrar.insert("hosts".to_owned(), vec![DOMAIN].into());
    let port = match setup.transport {
        "tls" if setup.takes_tokens => 5091,
        "tls" => 5061,
        _ => 5060,
    };
    let nodes = (1..=setup.nodes).map(|node| {
        let [v4, v6] = netns::inside(60 + node);
        let address = SocketAddr::new(if setup.is_ipv6 { v6 } else { v4 }, port);
        format!("{}:{address}", setup.transport)
    });
    registrar.insert("nodes".to_owned(), nodes.collect::<Vec<_>>().into());
    core.config_mut()
        .insert("registrar".to_owned(), vec![registrar].into());
}

/// Whose pages may speak SIP.
pub(crate) const PAGE: &str = "https://phone.example.com";
