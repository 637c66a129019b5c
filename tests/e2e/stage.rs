//! Everything at once: three zones, BIND, nginx, the UDS simulator, and the pair between them.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use certs::{Identity, Pki, Plan};
use hickory_proto::rr::RecordType;
use support::bind::Bind;
use support::curl::{Answer, Curl};
use support::dns::{self, Zone};
use support::netns::{self, Zones};
use support::nginx::Nginx;
use support::pair::{Pair, Size, public_sockets};
use support::tls_client::Dialer;
use support::uds::Simulator;
use support::world::World;
use tempfile::TempDir;

/// The domain of the world.
pub(crate) const DOMAIN: &str = "example.com";

/// A whole deployment. Dropped in this order: the pair before what it stands on.
pub(crate) struct Stage {
    pub(crate) pair: Pair,
    pub(crate) uds: Simulator,
    pub(crate) nginx: Nginx,
    pub(crate) bind: Bind,
    pub(crate) world: World,
    pub(crate) zones: Zones,
    /// The authorities, for certificates that a test wants beside the usual ones.
    pub(crate) pki: Pki,
    dir: TempDir,
    /// IM and Presence: ports that are open, and nobody behind them.
    pub(crate) presence: Vec<TcpListener>,
}

impl Stage {
    /// One edge-e and one edge-c, linked.
    pub(crate) fn start() -> Self {
        let mut stage = Self::prepare(Size::ONE);
        stage.pair.start().unwrap();
        stage
    }

    /// Inner servers that run, and a pair that does not yet.
    pub(crate) fn prepare(size: Size) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::standard(DOMAIN, |number| netns::inside(number).to_vec());
        let pki = Pki::generate(&Plan::standard(DOMAIN)).unwrap();
        pki.write_to(dir.path()).unwrap();
        let zones = Zones::new().unwrap();
        let inside = zones.inside();
        let identity = |name: &str| Identity::read_from(&dir.path().join(name)).unwrap();
        let servers = netns::inside(53).map(|address| SocketAddr::new(address, 53));
        let bind = Bind::start(&inside, dir.path(), &servers, &[Zone::inside(&world)]).unwrap();
        let (photos, ucm) = (identity("inside/photos"), identity("inside/ucm"));
        let nginx = Nginx::start(&inside, dir.path(), &world, (&photos, &ucm)).unwrap();
        let uds = Simulator::start(world.clone(), &ucm, &inside).unwrap();
        let presence = world
            .im_presence
            .iter()
            .flat_map(|node| node.sockets(world.ports.uds))
            .map(|socket| inside.listen(socket).unwrap())
            .collect();
        let mut pair = Pair::prepare(&zones, dir.path(), &world, size);
        let list = dir.path().join("allow-list.toml");
        std::fs::write(&list, ALLOW_LIST).unwrap();
        for core in &mut pair.cores {
            core.set("allow_list", "file", list.to_string_lossy().into_owned());
        }
        Self {
            pair,
            uds,
            nginx,
            bind,
            world,
            zones,
            pki,
            dir,
            presence,
        }
    }

    /// The folder of certificates, configurations, state and logs.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The allow list that every edge-c reads.
    pub(crate) fn allow_list(&self) -> PathBuf {
        self.dir.path().join("allow-list.toml")
    }

    /// Replaces the allow list by these TOML lines, as an editor does that writes a new file.
    pub(crate) fn write_allow_list(&self, text: &str) {
        let fresh = self.allow_list().with_extension("new");
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(&fresh, self.allow_list()).unwrap();
    }

    /// Replaces the zones inside, and waits until the services that they name are as `is_visible` says.
    pub(crate) fn reload_zones(&mut self, zones: &[Zone], is_visible: impl Fn(&[String]) -> bool) {
        let server = self.bind.addresses()[0];
        let inside = self.zones.inside();
        let name = format!("_cisco-uds._tcp.{DOMAIN}.");
        let asked = || dns::ask(&inside, server, &name, RecordType::SRV);
        self.bind
            .reload(zones, || Ok(is_visible(&asked()?.records)))
            .unwrap();
    }

    /// A client outside that knows the first edge's name.
    pub(crate) fn client(&self) -> Curl {
        self.client_of(1)
    }

    /// A client outside that knows the name of edge number `number`.
    pub(crate) fn client_of(&self, number: u8) -> Curl {
        let [v4, _] = public_sockets(number);
        self.client_to(&edge_name(number), v4)
    }

    /// The same over IPv6.
    pub(crate) fn client_v6(&self) -> Curl {
        let [_, v6] = public_sockets(1);
        self.client_to(&edge_name(1), v6)
    }

    fn client_to(&self, name: &str, socket: SocketAddr) -> Curl {
        Curl::new(&self.zones.client())
            .trust(&self.path().join("public/ca.pem"))
            .resolve(name, socket)
    }

    /// A client outside that says to an edge whatever it is told, byte for byte.
    pub(crate) fn dialer_of(&self, number: u8, alpn: &[&str]) -> Dialer {
        let [v4, _] = public_sockets(number);
        let ca = self.path().join("public/ca.pem");
        Dialer::new(&self.zones.client(), v4, &edge_name(number), &ca, alpn).unwrap()
    }

    /// The same for the first edge, over HTTP/1.1.
    pub(crate) fn dialer(&self) -> Dialer {
        self.dialer_of(1, &["http/1.1"])
    }

    /// Signs `user` in through the first edge.
    pub(crate) fn sign_in(&self, user: &str) -> SignedIn {
        let answer = self.try_sign_in(user, &format!("{user}-secret-1"));
        assert_eq!(answer.status, 200, "{}", self.logs());
        SignedIn::read(&self.client(), 1, &answer)
    }

    /// What `get_edge_config` answers.
    pub(crate) fn try_sign_in(&self, user: &str, password: &str) -> Answer {
        let url = verb_url(
            1,
            "get_edge_config?service_name=_cisco-uds&service_name=_cuplogin",
        );
        self.client().basic(user, password).get(&url).unwrap()
    }

    /// What the first edge-c has logged.
    pub(crate) fn core_log(&self) -> String {
        self.pair.cores[0].log().unwrap()
    }

    /// The logs of all edges, for a failing assertion.
    pub(crate) fn logs(&self) -> String {
        let members = self.pair.edges.iter().chain(&self.pair.cores);
        members
            .map(|member| {
                format!(
                    "--- {}\n{}",
                    member.name(),
                    member.log().unwrap_or_default()
                )
            })
            .collect()
    }
}

/// A client with a session.
#[derive(Clone)]
pub(crate) struct SignedIn {
    /// The client, with its cookie.
    pub(crate) curl: Curl,
    /// The value of the cookie.
    pub(crate) cookie: String,
    edge: u8,
}

impl SignedIn {
    /// Reads the cookie out of an answer to `get_edge_config`.
    pub(crate) fn read(client: &Curl, edge: u8, answer: &Answer) -> Self {
        let set_cookie = answer.header("set-cookie").unwrap();
        let cookie = set_cookie
            .strip_prefix("X-Auth=")
            .unwrap()
            .split(';')
            .next()
            .unwrap();
        let curl = client.clone().header("Cookie", &format!("X-Auth={cookie}"));
        Self {
            curl,
            cookie: cookie.to_owned(),
            edge,
        }
    }

    /// The same session in another client.
    pub(crate) fn by(&self, curl: Curl) -> Self {
        Self {
            curl,
            ..self.clone()
        }
    }

    /// The same session through another edge.
    pub(crate) fn through(&self, client: &Curl, edge: u8) -> Self {
        let cookie = self.cookie.clone();
        let curl = client.clone().header("Cookie", &format!("X-Auth={cookie}"));
        Self { curl, cookie, edge }
    }

    /// A GET with this session, as it goes over an HTTP/1.1 connection; `fields` end in CRLF each.
    pub(crate) fn get_text(&self, path: &str, fields: &str) -> String {
        let (host, cookie) = (edge_name(self.edge), &self.cookie);
        format!(
            "GET {path} HTTP/1.1\r\nHost: {host}:8443\r\nCookie: X-Auth={cookie}\r\n{fields}\r\n"
        )
    }

    /// GETs an inner URL the way a client does.
    pub(crate) fn get(&self, origin: &str, target: &str) -> Answer {
        self.ask(|curl| curl, origin, target)
    }

    /// Sends what `change` makes of an ordinary GET.
    pub(crate) fn ask(
        &self,
        change: impl FnOnce(Curl) -> Curl,
        origin: &str,
        target: &str,
    ) -> Answer {
        let url = proxied_url(self.edge, origin, target);
        change(self.curl.clone()).get(&url).unwrap()
    }
}

/// The name of edge number `number`.
pub(crate) fn edge_name(number: u8) -> String {
    format!("edge{number}.{DOMAIN}")
}

/// The URL of an edge verb.
pub(crate) fn verb_url(edge: u8, verb: &str) -> String {
    edge_url(edge, DOMAIN, &format!("/{verb}"))
}

/// The path on an edge for `target` of `origin`, written as `https/host/port`.
pub(crate) fn proxied_path(origin: &str, target: &str) -> String {
    let segment = STANDARD_NO_PAD.encode(format!("{DOMAIN}/{origin}"));
    format!("/{segment}{target}")
}

/// The URL on the edge for `target` of `origin`, written as `https/host/port`.
pub(crate) fn proxied_url(edge: u8, origin: &str, target: &str) -> String {
    edge_url(edge, &format!("{DOMAIN}/{origin}"), target)
}

/// The URL on the edge whose first segment holds these fields.
pub(crate) fn edge_url(edge: u8, fields: &str, rest: &str) -> String {
    let segment = STANDARD_NO_PAD.encode(fields);
    format!("https://{}:8443/{segment}{rest}", edge_name(edge))
}

/// UDS of the first node of the first cluster, as a field of an edge path.
pub(crate) const UCM: &str = "https/cucm1a.example.com/8443";
/// The server of photos.
pub(crate) const PHOTOS: &str = "https/photos.example.com/443";

const ALLOW_LIST: &str = r#"
[[rule]]
description = "contact photos"
url = "https://photos.example.com/photos/"
match = "prefix"

[[rule]]
description = "large files"
url = "https://photos.example.com/large.bin"
match = "exact"

[[rule]]
description = "problem reports"
url = "https://photos.example.com/upload/"
match = "prefix"
methods = ["PUT"]

[[test]]
url = "https://photos.example.com/photos/alice.jpg"
expected = "allow"

[[test]]
url = "https://photos.example.com/private/"
expected = "block"
"#;
