//! The configuration of edge-c: read from TOML once, valid from then on. Nothing here opens a socket.
//!
//! `deploy/edge-c.example.toml` explains every key to operators; this file says what they become.

use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU16, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::config::name_server::NameServer;
use common::config::section::{Admin, HttpsTransport, LinkIdentity, Log, Rate};
use common::config::{self, ConfigErrors, Loaded};
use common::id::CoreId;
use common::net::{Deployment, Domain, HostPort};
use common::policy::allow_list::Node;
use common::time::UnixTime;

mod allow_list;
mod cross;
pub(crate) mod media;
mod pinpoint;
mod read;
pub mod session;
pub mod sip;
pub mod tokens;
mod warning;
pub mod xmpp;

/// Everything that edge-c is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The name in the certificate that edge-c shows on the link.
    pub name: Domain,
    /// The number of this edge-c among all that share an edge-e; from 1.
    pub core_id: CoreId,
    /// The edge-e to dial. Never empty.
    pub edges: Vec<Edge>,
    /// Own side of the link.
    pub link: Link,
    /// The domains of users. Never empty.
    pub domains: Vec<ServiceDomain>,
    /// Inner servers that are named here instead of found by DNS.
    pub nodes: Vec<Node>,
    /// How inner servers are found. `servers` is never empty unless `nodes` has a UCM for every deployment.
    pub dns: Dns,
    /// The zones that clients inside find services by; `None` if edge-c serves none.
    pub pinpoint: Option<NameServer>,
    /// How inner servers are reached.
    pub inside: Inside,
    /// What may be reached beside the automatic rules: the file with the rules, if there is one.
    pub allow_list_file: Option<PathBuf>,
    /// How users prove who they are.
    pub sign_in: SignIn,
    /// What they get for it.
    pub session: Session,
    /// Whose access tokens count.
    pub issuers: Vec<tokens::Issuer>,
    /// Single sign-on through the edge, if it is on.
    pub sso_relay: Option<tokens::SsoRelay>,
    /// What is done to answers of inner servers.
    pub proxy: Proxy,
    /// SIP, if there is any.
    pub sip: Option<sip::Sip>,
    /// XMPP, if there is any.
    pub xmpp: Option<xmpp::Xmpp>,
    /// Media of calls, if there is any.
    pub media: Option<crate::media::Config>,
    /// Where operators look in.
    pub admin: Admin,
    /// What is logged.
    pub log: Log,
    /// How long requests in flight may go on after a stop was asked for.
    pub drain_grace: Duration,
    /// Threads that do the work; `None` for one per processor.
    pub worker_threads: Option<NonZeroUsize>,
}

/// `[[edge]]`: one edge-e to dial, and what the edge config tells clients about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The name that clients use. No two edges have the same.
    pub name: Domain,
    /// Where its link listener is.
    pub address: HostPort,
    /// The name that its certificate on the link must have.
    pub certificate_name: Domain,
    /// Its public addresses, for the default SIP route; empty if clients shall look `name` up.
    pub advertised_addresses: Vec<IpAddr>,
    /// Public HTTPS port.
    pub https_port: NonZeroU16,
    /// Public SIP port.
    pub sip_port: NonZeroU16,
    /// Public XMPP port.
    pub xmpp_port: NonZeroU16,
    /// The SIP route that clients shall use, with the brackets; `None` for one made of address and port.
    pub sip_route: Option<String>,
}

/// `[link]`: this side of every link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Own certificate and trust anchors on the link.
    pub identity: LinkIdentity,
    /// The local address to dial from.
    pub bind_address: Option<IpAddr>,
    /// How HTTPS requests cross; the same as on edge-e.
    pub https_transport: HttpsTransport,
    /// Connections for HTTP/2 streams to each edge-e.
    pub connections: NonZeroU8,
}

/// `[[domain]]`: a domain whose users may sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceDomain {
    /// No two have the same name.
    pub name: Domain,
    /// Whose inner servers its users reach.
    pub deployment: Deployment,
    /// Where the services records are, if not under `name` itself.
    pub voice_services_domain: Option<Domain>,
    /// What clients hear when they ask for single sign-on.
    pub sso: Sso,
}

/// `sso`: the answer to `get_edge_sso`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sso {
    /// The user's home cluster is asked, and its word put into this template or the built-in one.
    Ask {
        /// XML in the shape of UCM's own single sign-on resource.
        template: Option<String>,
    },
    /// Single sign-on is on, said by this template or by the built-in one.
    Config {
        /// XML in the shape of UCM's own single sign-on resource.
        template: Option<String>,
    },
    /// There is none: passwords.
    #[default]
    Off,
}

/// `[dns]`: how inner servers are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Inside name servers, asked in this order.
    pub servers: Vec<SocketAddr>,
    /// Whether `cisco-internal.<domain>` is asked where the domain itself has no record.
    pub is_pinpoint_zone_asked: bool,
    /// How long one answer may take.
    pub timeout: Duration,
}

/// `[inside]`: connections to inner servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inside {
    /// Files of the authorities that sign the certificates of inner servers. Never empty.
    pub trust_anchors: Vec<PathBuf>,
    /// The local address to connect from.
    pub bind_address: Option<IpAddr>,
    /// Until TCP and TLS are up.
    pub connect_timeout: Duration,
    /// From the request until the head of the answer.
    pub response_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// Connections to one inner server at a time.
    pub connections_per_node_max: NonZeroU16,
}

/// `[sign_in]`: how users prove who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// The realm of the Basic challenge; has no quotation mark, backslash or control character.
    pub realm: String,
    /// Proofs of one user's password.
    pub login_limit: Rate,
    /// How long a proved password need not be proved again; zero for never.
    pub credential_cache: Duration,
}

/// `[session]`: what a signed-in client holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// From sign-in until the user has to prove again.
    pub lifetime: Duration,
    /// The `Domain` of the cookie; every edge's name is below it.
    pub cookie_domain: Domain,
    /// Folder of the sealed snapshot.
    pub state_dir: PathBuf,
    /// File of the key that seals the snapshot and derives all others; made at the first start.
    pub key_file: PathBuf,
    /// The store that several edge-c share, if there is one.
    pub shared: Option<session::Shared>,
}

/// `[proxy]`: what is done to answers of inner servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Whether a `Location` inside is rewritten to its form at the edge, where the client may go there.
    pub is_location_rewritten: bool,
}

impl Config {
    /// Reads `file` and every file that it names, runs the tests of the allow list, and warns about certificates that don't fit at the time `now`.
    ///
    /// # Errors
    /// [`ConfigErrors`] with everything that is wrong.
    pub fn load(file: &Path, now: UnixTime) -> Result<Loaded<Self>, ConfigErrors> {
        let mut loaded = config::load(file, read::config)?;
        let found = warning::about_certificates(&loaded, now);
        loaded.warnings.extend(found);
        tokens::check(&loaded)?;
        session::check(&loaded)?;
        let found = allow_list::check(&loaded, now)?;
        loaded.warnings.extend(found);
        Ok(loaded)
    }

    /// The sealed file of phones' passwords, where edge-c authenticates any.
    #[must_use]
    pub fn sip_digests(&self) -> Option<PathBuf> {
        let sip = self.sip.as_ref()?;
        let path = self.session.state_dir.join(crate::sip::passwords::FILE);
        (!sip.realms().is_empty()).then_some(path)
    }

    /// Reads `text` as the contents of `file`; looks at no file.
    ///
    /// # Errors
    /// [`ConfigErrors`] with everything that is wrong.
    pub fn parse(file: &Path, text: &str) -> Result<Loaded<Self>, ConfigErrors> {
        config::parse(file, text, read::config)
    }
}

#[cfg(test)]
mod tests;
