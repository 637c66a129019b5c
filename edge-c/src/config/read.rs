//! From tables to [`Config`], section by section in the order of the file.

use std::net::IpAddr;
use std::num::{NonZeroU8, NonZeroU16};
use std::time::Duration;

use common::config::section::{self, Admin, DrainGrace, HttpsTransport, LinkIdentity, Log, Rate};
use common::config::{FileKind, Problem, Table, Value};
use common::id::CoreId;
use common::limits;
use common::net::{Deployment, Domain};
use common::policy::allow_list::{Node, NodeKind};

use super::{
    Config, Dns, Edge, Inside, Link, Proxy, ServiceDomain, Session, SignIn, Sso, cross, media,
    pinpoint, session, sip, tokens, xmpp,
};

pub(super) fn config(root: &Table<'_>) -> Option<Config> {
    let allowed = "the name in its link certificate, such as name = \"edge-c1.link.internal\"";
    let name = root.required("name", allowed, Value::domain);
    let allowed =
        "a number from 1 to 255 that no other edge-c of this pair has, such as core_id = 1";
    let core_id = root.required("core_id", allowed, |value| value.integer(&(1..=u8::MAX)));

    let allowed = "[[edge]] with name and address, one for each edge-e";
    let edge_tables = root.required_tables("edge", allowed);
    let edges: Option<Vec<_>> = edge_tables.iter().map(edge).collect();
    let link = link(&root.table("link"));
    let allowed = "[[domain]] with name, one for each domain of users";
    let domain_tables = root.required_tables("domain", allowed);
    let domains: Option<Vec<_>> = domain_tables.iter().map(service_domain).collect();
    let node_tables = root.tables("node");
    let nodes: Option<Vec<_>> = node_tables.iter().map(node).collect();
    let dns_table = root.table("dns");
    let dns = dns(&dns_table);
    let known = domains.as_deref().unwrap_or_default();
    let pinpoint = nodes
        .as_deref()
        .and_then(|nodes| pinpoint::read(root, known, nodes, (&dns_table, &dns)));
    let inside = inside(&root.table("inside"));
    let allow_list_file = root
        .table("allow_list")
        .optional("file", |value| value.file(FileKind::Text));
    let sign_in = sign_in(&root.table("sign_in"));
    let session_table = root.table("session");
    let cookie_domain = cross::cookie_domain(&session_table, edges.as_deref());
    let session = sessions(&session_table, cookie_domain);
    let tokens = tokens::read(root);
    let proxy = proxy(&root.table("proxy"));
    let registrar_tables = sip::registrar_tables(root);
    let sip_table = root.table("sip");
    let sip = sip::read(&sip_table, &registrar_tables, root.has("media"));
    let xmpp = xmpp::read(&root.table("xmpp"));
    let media = media::read(&root.table("media"), root.has("sip"));
    let admin = Admin::read(&root.table("admin"), limits::ADMIN_PORT_EDGE_C);
    let log = Log::read(&root.table("log"));
    let DrainGrace(drain_grace) = DrainGrace::read(&root.table("drain"));
    let worker_threads = section::worker_threads(&root.table("runtime"));

    let config = Config {
        name: name?,
        core_id: CoreId(core_id?),
        edges: edges?,
        link: link?,
        domains: domains?,
        nodes: nodes?,
        dns,
        pinpoint,
        inside,
        allow_list_file,
        sign_in,
        session: session?,
        issuers: tokens.as_ref()?.issuers.clone(),
        sso_relay: tokens?.sso,
        proxy,
        sip,
        xmpp,
        media,
        admin,
        log,
        drain_grace,
        worker_threads,
    };
    cross::edges(&edge_tables, &config.edges);
    cross::domains(&domain_tables, &dns_table, &config);
    cross::nodes(&node_tables, &config);
    sip::cross(&registrar_tables, &dns_table, &config);
    sip::cross_tokens(&sip_table, &config);
    xmpp::cross(&dns_table, &config);
    Some(config)
}

fn edge(table: &Table<'_>) -> Option<Edge> {
    let allowed = "the name that clients use, such as name = \"edge1.example.com\"";
    let name = table.required("name", allowed, Value::full_name);
    let allowed = "where its link listener is, such as address = \"203.0.113.5:7001\"";
    let address = table.required("address", allowed, Value::host_port);
    let certificate_name = table.optional("certificate_name", Value::domain);
    let advertised_addresses = table.list("advertised_addresses", Value::ip_addr);
    let https_port = port(table, "https_port", limits::PUBLIC_HTTPS_PORT);
    let sip_port = port(table, "sip_port", limits::PUBLIC_SIP_PORT);
    let xmpp_port = port(table, "xmpp_port", limits::PUBLIC_XMPP_PORT);
    let sip_route = table.optional("sip_route", sip_route);
    let name = name?;
    Some(Edge {
        certificate_name: certificate_name.unwrap_or_else(|| name.clone()),
        name,
        address: address?,
        advertised_addresses,
        https_port: https_port?,
        sip_port: sip_port?,
        xmpp_port: xmpp_port?,
        sip_route,
    })
}

fn port(table: &Table<'_>, key: &'static str, default: u16) -> Option<NonZeroU16> {
    let port = table.or(key, default, |value| value.integer(&(1..=u16::MAX)));
    NonZeroU16::new(port)
}

/// RFC 3261 section 20.34: a route is a name-addr, and it goes through line-based headers.
fn sip_route(value: &Value<'_>) -> Result<String, Problem> {
    let text = value.text()?;
    let is_name_addr = text.starts_with("<sip") && text.ends_with('>');
    if is_name_addr && !text.contains(char::is_control) {
        return Ok(text.to_owned());
    }
    let allowed = "\"<sip:192.0.2.100:5061;transport=tls;lr>\"";
    Err(Problem::invalid("is not a SIP route", allowed))
}

fn link(table: &Table<'_>) -> Option<Link> {
    let identity = LinkIdentity::read(table);
    let bind_address = table.optional("bind_address", Value::ip_addr);
    let https_transport = HttpsTransport::read(table);
    let range = 1..=limits::LINK_CONNECTIONS_MAX;
    let connections = table.or("connections", limits::LINK_CONNECTIONS_DEFAULT, |value| {
        value.integer(&range)
    });
    Some(Link {
        identity: identity?,
        bind_address,
        https_transport,
        connections: NonZeroU8::new(connections)?,
    })
}

fn service_domain(table: &Table<'_>) -> Option<ServiceDomain> {
    let allowed = "the part after the @ of user names, such as name = \"example.com\"";
    let name = table.required("name", allowed, Value::domain);
    let deployment = table.or("deployment", Deployment::standard(), Value::deployment);
    let voice_services_domain = table.optional("voice_services_domain", Value::domain);
    let words = [
        ("off", SsoWord::Off),
        ("config", SsoWord::Config),
        ("ask", SsoWord::Ask),
    ];
    let sso = table.or("sso", SsoWord::Off, |value| value.choice(&words));
    let template = table.optional("sso_template", |value| value.text().map(str::to_owned));
    if template.is_some() && sso == SsoWord::Off {
        let why = "has no effect while sso is \"off\"";
        table.warn("sso_template", why, "set sso = \"config\", or leave it out");
    }
    Some(ServiceDomain {
        name: name?,
        deployment,
        voice_services_domain,
        sso: match sso {
            SsoWord::Ask => Sso::Ask { template },
            SsoWord::Config => Sso::Config { template },
            SsoWord::Off => Sso::Off,
        },
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SsoWord {
    Ask,
    Config,
    Off,
}

fn node(table: &Table<'_>) -> Option<Node> {
    let words = [
        NodeKind::Ucm,
        NodeKind::ImPresence,
        NodeKind::Unity,
        NodeKind::Tftp,
    ]
    .map(|kind| (kind.as_str(), kind));
    let allowed = "kind = \"ucm\", \"imp\", \"unity\" or \"tftp\"";
    let kind = table.required("kind", allowed, |value| value.choice(&words));
    let allowed = "host = \"cucm1.example.com\"; its certificate must have this name";
    let host = table.required("host", allowed, Value::host);
    let port = table.optional("port", |value| value.integer(&(1..=u16::MAX)));
    let deployment = table.or("deployment", Deployment::standard(), Value::deployment);
    Some(Node {
        kind: kind?,
        host: host?,
        port,
        deployment,
    })
}

fn dns(table: &Table<'_>) -> Dns {
    let range = Duration::from_millis(100)..=limits::DNS_TIMEOUT_MAX;
    Dns {
        servers: table.list("servers", Value::socket_addr),
        is_pinpoint_zone_asked: table.or("pinpoint_zone", true, Value::boolean),
        timeout: table.or("timeout", limits::DNS_TIMEOUT_DEFAULT, |value| {
            value.duration(&range)
        }),
    }
}

fn inside(table: &Table<'_>) -> Inside {
    let range = Duration::from_millis(100)..=limits::INSIDE_TIMEOUT_MAX;
    let timeout = |key, default| table.or(key, default, |value| value.duration(&range));
    let allowed =
        "a list of files with the authorities of the inner servers, such as [\"inside-ca.pem\"]";
    let trust_anchors = table.required_list("trust_anchors", allowed, section::trust_anchor);
    let bind_address: Option<IpAddr> = table.optional("bind_address", Value::ip_addr);
    let default = limits::INSIDE_CONNECTIONS_PER_NODE_DEFAULT;
    let connections = table.or("connections_per_node_max", default, |value| {
        value.integer(&(1..=limits::INSIDE_CONNECTIONS_PER_NODE_MAX))
    });
    Inside {
        trust_anchors,
        bind_address,
        connect_timeout: timeout("connect_timeout", limits::INSIDE_CONNECT_TIMEOUT_DEFAULT),
        response_timeout: timeout("response_timeout", limits::INSIDE_RESPONSE_TIMEOUT_DEFAULT),
        idle_timeout: timeout("idle_timeout", limits::INSIDE_IDLE_TIMEOUT_DEFAULT),
        connections_per_node_max: NonZeroU16::new(connections).unwrap_or(NonZeroU16::MIN),
    }
}

fn sign_in(table: &Table<'_>) -> SignIn {
    let login_limit = Rate {
        count: limits::LOGIN_COUNT_DEFAULT,
        window: limits::LOGIN_WINDOW_DEFAULT,
    };
    let cache = Duration::ZERO..=limits::CREDENTIAL_CACHE_MAX;
    SignIn {
        realm: table.or("realm", REALM_DEFAULT.to_owned(), realm),
        login_limit: Rate::read(&table.table("login_limit"), login_limit),
        credential_cache: table.or(
            "credential_cache",
            limits::CREDENTIAL_CACHE_DEFAULT,
            |value| value.duration(&cache),
        ),
    }
}

/// RFC 9110 section 5.6.4: what needs no escape inside a quoted string.
pub(super) fn realm(value: &Value<'_>) -> Result<String, Problem> {
    let text = value.text()?;
    let is_plain = |b: u8| (b' '..=b'~').contains(&b) && b != b'"' && b != b'\\';
    if text.bytes().all(is_plain) {
        return Ok(text.to_owned());
    }
    let allowed = "printable ASCII without quotation marks and backslashes";
    Err(Problem::invalid("can't be a realm", allowed))
}

fn sessions(table: &Table<'_>, cookie_domain: Option<Domain>) -> Option<Session> {
    let shared = session::shared(table);
    let range = Duration::from_secs(1)..=limits::SESSION_LIFETIME_MAX;
    let lifetime = table.or("lifetime", limits::SESSION_LIFETIME_DEFAULT, |value| {
        value.duration(&range)
    });
    let state_dir = table.or("state_dir", STATE_DIR_DEFAULT.into(), Value::path);
    let key_file = table.optional("key_file", Value::path);
    Some(Session {
        lifetime,
        cookie_domain: cookie_domain?,
        key_file: key_file.unwrap_or_else(|| state_dir.join("session.key")),
        state_dir,
        shared: shared?,
    })
}

fn proxy(table: &Table<'_>) -> Proxy {
    Proxy {
        is_location_rewritten: table.or("rewrite_location", true, Value::boolean),
    }
}

/// What stock clients know.
const REALM_DEFAULT: &str = "Cisco-Edge";

/// Where the systemd unit lets the service write.
const STATE_DIR_DEFAULT: &str = "/var/lib/edge-c";
