//! The configuration of edge-e: read from TOML once, valid from then on. Nothing here opens a socket.
//!
//! `deploy/edge-e.example.toml` explains every key to operators; this file says what they become.

use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use common::config::name_server::NameServer;
use common::config::section::{self, Admin, DrainGrace, Identity, LinkIdentity, Log, Rate};
use common::config::{self, ConfigErrors, Loaded, Problem, Table, Value};
use common::limits;
use common::net::Domain;
use common::policy::jail::JailPolicy;
use common::time::UnixTime;

mod dns;
mod warning;
mod xmpp;

pub use xmpp::Xmpp;

/// Everything that edge-e is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The name that clients use: in certificates, DNS and the edge config.
    pub name: Domain,
    /// Public addresses that differ from the local ones, behind a static NAT.
    pub advertised_addresses: Vec<IpAddr>,
    /// Where clients arrive.
    pub public: Public,
    /// Where SIP clients arrive, and how often they may send.
    pub sip: Sip,
    /// Where XMPP clients arrive, and what they may do before they are authenticated.
    pub xmpp: Xmpp,
    /// Where edge-c arrives.
    pub link: Link,
    /// Where media of calls arrives; `None` for an edge without calls.
    pub media: Option<Media>,
    /// The zones that are served; `None` for an edge that serves none.
    pub dns: Option<NameServer>,
    /// Where operators look in.
    pub admin: Admin,
    /// What is logged.
    pub log: Log,
    /// What one address may do, and all together.
    pub limits: Limits,
    /// How long requests in flight may go on after a stop was asked for.
    pub drain_grace: Duration,
    /// Threads that do the work; `None` for one per processor.
    pub worker_threads: Option<NonZeroUsize>,
}

/// `[public]`: the HTTPS listener for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Public {
    /// Never empty.
    pub listen: Vec<SocketAddr>,
    /// Never empty; the first is served where no other has the name that the client asks for (SNI).
    pub certificates: Vec<Identity>,
    /// How long a request may go on without anything of it or of its answer moving.
    pub stall_timeout: Duration,
}

/// `[sip]`: SIP clients, over TLS and in web pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sip {
    /// SIP over TLS; empty for none.
    pub listen: Vec<SocketAddr>,
    /// Web pages that may open a WebSocket; of nobody if there are none.
    pub websocket_origins: Vec<Origin>,
    /// Messages a second from one client connection.
    pub messages_per_second: u32,
    /// Messages at once from one client connection, after a pause.
    pub messages_burst: u32,
}

/// The origin of web pages that may open a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Every one, and clients that are no browsers and name none.
    Any,
    /// This one, in lower case.
    This(String),
}

/// The text is no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not an origin")]
pub struct OriginError;

impl FromStr for Origin {
    type Err = OriginError;

    /// As browsers write it (RFC 6454 section 6.2): scheme, host, and port unless it is the scheme's own.
    fn from_str(text: &str) -> Result<Self, OriginError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let (scheme, rest) = text.split_once("://").ok_or(OriginError)?;
        let is_part = |byte: u8| byte.is_ascii_graphic() && !b"/?#*@".contains(&byte);
        if !matches!(scheme, "https" | "http") || rest.is_empty() || !rest.bytes().all(is_part) {
            return Err(OriginError);
        }
        Ok(Self::This(text.to_ascii_lowercase()))
    }
}

impl Origin {
    /// Whether a request with this `Origin` may open a WebSocket.
    #[must_use]
    pub fn admits(&self, origin: Option<&str>) -> bool {
        match self {
            Self::Any => true,
            Self::This(one) => origin.is_some_and(|origin| one.eq_ignore_ascii_case(origin)),
        }
    }
}

/// `[link]`: the listener for edge-c.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Never empty.
    pub listen: Vec<SocketAddr>,
    /// Own certificate and trust anchors on the link.
    pub identity: LinkIdentity,
    /// Names in the certificates of those edge-c that may connect. Never empty.
    pub allowed_cores: Vec<Domain>,
}

/// `[media]`: public ports of calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Public addresses, one of each family at most. Never empty.
    pub listen: Vec<IpAddr>,
    /// Ports to choose from; at least one whole pair.
    pub ports: RangeInclusive<u16>,
}

/// `[limits]`: admission on the public side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time, of all clients.
    pub connections_max: u32,
    /// Connections at a time from one address.
    pub connections_per_address_max: u32,
    /// New connections per second from one address.
    pub connections_per_second_per_address: u32,
    /// Requests without a session (edge verbs) from one address.
    pub sign_in_per_address: Rate,
    /// When an address is refused for a while.
    pub jail: JailPolicy,
}

impl Config {
    /// Reads `file` and every file that it names; warns about certificates that don't fit at the time `now`.
    ///
    /// # Errors
    /// [`ConfigErrors`] with everything that is wrong.
    pub fn load(file: &Path, now: UnixTime) -> Result<Loaded<Self>, ConfigErrors> {
        let mut loaded = config::load(file, read)?;
        let found = warning::about_certificates(&loaded, now);
        loaded.warnings.extend(found);
        Ok(loaded)
    }

    /// Reads `text` as the contents of `file`; looks at no file.
    ///
    /// # Errors
    /// [`ConfigErrors`] with everything that is wrong.
    pub fn parse(file: &Path, text: &str) -> Result<Loaded<Self>, ConfigErrors> {
        config::parse(file, text, read)
    }
}

fn read(root: &Table<'_>) -> Option<Config> {
    let allowed = "the name that clients use, such as name = \"edge1.example.com\"";
    let name = root.required("name", allowed, Value::full_name);
    let advertised_addresses = root.list("advertised_addresses", Value::ip_addr);
    let public = public(&root.table("public"));
    let sip = sip(&root.table("sip"));
    let xmpp = Xmpp::read(&root.table("xmpp"));
    let link = link(&root.table("link"));
    let media = media(root, &advertised_addresses);
    let dns = dns::read(root, name.as_ref(), public.as_ref(), &advertised_addresses);
    let admin = Admin::read(&root.table("admin"), limits::ADMIN_PORT_EDGE_E);
    let log = Log::read(&root.table("log"));
    let limits = limits_of(&root.table("limits"));
    let DrainGrace(drain_grace) = DrainGrace::read(&root.table("drain"));
    let worker_threads = section::worker_threads(&root.table("runtime"));
    let config = Config {
        name: name?,
        advertised_addresses,
        public: public?,
        sip,
        xmpp,
        link: link?,
        media,
        dns,
        admin,
        log,
        limits,
        drain_grace,
        worker_threads,
    };
    distinct_sockets(root, &config);
    Some(config)
}

fn public(table: &Table<'_>) -> Option<Public> {
    let allowed = "a list such as [\"[::]:8443\"]";
    let listen = table.required_list("listen", allowed, Value::socket_addr);
    let allowed = "certificates = [{ chain = \"edge.pem\", key = \"edge.key\" }]";
    let certificates: Option<Vec<_>> = table
        .required_tables("certificates", allowed)
        .iter()
        .map(|entry| Identity::read(entry, "chain", "key"))
        .collect();
    let range = Duration::from_secs(1)..=limits::HTTP_STALL_TIMEOUT_SETTING_MAX;
    let stall_timeout = table.or("stall_timeout", limits::HTTP_STALL_TIMEOUT, |value| {
        value.duration(&range)
    });
    Some(Public {
        listen,
        certificates: certificates?,
        stall_timeout,
    })
}

fn sip(table: &Table<'_>) -> Sip {
    let range = 1..=limits::SIP_MESSAGES_SETTING_MAX;
    let count = |key, default| table.or(key, default, |value| value.integer(&range));
    let origins = table.list("websocket_origins", origin);
    let read = Sip {
        listen: table.list("listen", Value::socket_addr),
        websocket_origins: origins,
        messages_per_second: count(
            "messages_per_second",
            limits::SIP_MESSAGES_PER_SECOND_DEFAULT,
        ),
        messages_burst: count("messages_burst", limits::SIP_MESSAGES_BURST_DEFAULT),
    };
    if read.messages_burst < read.messages_per_second {
        table.warn(
            "messages_burst",
            "is below messages_per_second: a client that sends as often as it may is slowed down",
            "set it to twice messages_per_second or more",
        );
    }
    read
}

fn origin(value: &Value<'_>) -> Result<Origin, Problem> {
    value.parsed("an origin such as \"https://phone.example.com\", or \"*\" for any")
}

fn link(table: &Table<'_>) -> Option<Link> {
    let allowed = "a list such as [\"10.9.0.1:7001\"], the address that faces edge-c";
    let listen = table.required_list("listen", allowed, Value::socket_addr);
    let identity = LinkIdentity::read(table);
    let allowed =
        "the names in the link certificates of edge-c, such as [\"edge-c1.link.internal\"]";
    let allowed_cores = table.required_list("allowed_cores", allowed, Value::domain);
    Some(Link {
        listen,
        identity: identity?,
        allowed_cores,
    })
}

fn media(root: &Table<'_>, advertised: &[IpAddr]) -> Option<Media> {
    let table = root.table("media");
    if !table.is_present() {
        return None;
    }
    let allowed = "the public addresses of this machine, such as [\"203.0.113.10\"]";
    let listen = table.required_list("listen", allowed, Value::ip_addr);
    let one_of_each = "one IPv4 and one IPv6 address at most";
    for is_family in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
        if listen.iter().filter(|address| is_family(address)).count() > 1 {
            table.refuse("listen", "has two addresses of one family", one_of_each);
        }
        let is_wildcard = |address: &IpAddr| is_family(address) && address.is_unspecified();
        if listen.iter().any(is_wildcard) && !advertised.iter().any(is_family) {
            table.refuse(
                "listen",
                "does not say which address clients see",
                "the public address itself, or every address with advertised_addresses set",
            );
        }
    }
    let default = limits::MEDIA_PORTS_DEFAULT;
    let ports = table.or("ports", default, Value::port_range);
    (!listen.is_empty()).then_some(Media { listen, ports })
}

impl Media {
    /// The addresses as clients see them: what is advertised stands in for a local one of the same family.
    #[must_use]
    pub fn as_advertised(&self, advertised: &[IpAddr]) -> Vec<IpAddr> {
        let seen = |own: &IpAddr| {
            let same = |address: &&IpAddr| address.is_ipv4() == own.is_ipv4();
            advertised.iter().find(same).copied().unwrap_or(*own)
        };
        self.listen.iter().map(seen).collect()
    }
}

fn limits_of(table: &Table<'_>) -> Limits {
    let count = |key, default| {
        let range = 1..=limits::PUBLIC_CONNECTIONS_MAX;
        table.or(key, default, |value| value.integer(&range))
    };
    let read = Limits {
        connections_max: count("connections_max", limits::PUBLIC_CONNECTIONS_DEFAULT),
        connections_per_address_max: count(
            "connections_per_address_max",
            limits::PUBLIC_CONNECTIONS_PER_ADDRESS_DEFAULT,
        ),
        connections_per_second_per_address: count(
            "connections_per_second_per_address",
            limits::PUBLIC_CONNECTIONS_PER_SECOND_PER_ADDRESS_DEFAULT,
        ),
        sign_in_per_address: Rate::read(
            &table.table("sign_in_per_address"),
            Rate {
                count: limits::SIGN_IN_PER_ADDRESS_DEFAULT,
                window: limits::SIGN_IN_PER_ADDRESS_WINDOW_DEFAULT,
            },
        ),
        jail: jail(&table.table("jail")),
    };
    if read.connections_per_address_max > read.connections_max {
        table.warn(
            "connections_per_address_max",
            "is above connections_max: a single address can take every connection",
            "set it to a share of connections_max",
        );
    }
    read
}

fn jail(table: &Table<'_>) -> JailPolicy {
    let default = JailPolicy::default();
    let range = Duration::from_secs(1)..=limits::RATE_WINDOW_MAX;
    let duration = |key, default| table.or(key, default, |value| value.duration(&range));
    let failures = table.or("failures", default.failures_max.get(), |value| {
        value.integer(&(1..=limits::JAIL_FAILURES_SETTING_MAX))
    });
    let of_address = default.address_failures_max;
    let of_address_set = table.or("address_failures", of_address.get(), |value| {
        value.integer(&(1..=limits::JAIL_FAILURES_SETTING_MAX))
    });
    JailPolicy {
        failures_max: NonZeroU32::new(failures).unwrap_or(default.failures_max),
        address_failures_max: NonZeroU32::new(of_address_set).unwrap_or(of_address),
        window: duration("window", default.window),
        block: duration("block", default.block),
        exempt: table.list("exempt", Value::ip_net),
    }
}

/// Two listeners on one socket would fail at start with a message that names neither key.
fn distinct_sockets(root: &Table<'_>, config: &Config) {
    let public = config.public.listen.iter().map(|at| ("public", at));
    let sip = config.sip.listen.iter().map(|at| ("sip", at));
    let xmpp = config.xmpp.listen.iter().map(|at| ("xmpp", at));
    let link = config.link.listen.iter().map(|at| ("link", at));
    let dns = config.dns.iter().flat_map(|dns| &dns.listen);
    let dns = dns.map(|at| ("dns", at));
    let admin = std::iter::once(("admin", &config.admin.listen));
    let mut seen: Vec<(&'static str, &SocketAddr)> = Vec::new();
    for (section, at) in public
        .chain(sip)
        .chain(xmpp)
        .chain(link)
        .chain(dns)
        .chain(admin)
    {
        let other = seen
            .iter()
            .find(|(_, other)| *other == at && at.port() != 0);
        if let Some((first, _)) = other {
            let why = format!("uses {at}, which [{first}] has already");
            root.refuse(section, why, "another address or port for each listener");
        }
        seen.push((section, at));
    }
}

#[cfg(test)]
mod tests;
