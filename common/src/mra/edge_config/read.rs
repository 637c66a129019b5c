//! Reading the document: every element must be known and in bounds.

use std::num::NonZeroU16;

use super::write::{NAME_ERROR, SERVER_FAILURE, TFTP_SERVER};
use super::{EdgeConfig, Service, ServiceAnswer, ServiceName, SipRoute, SrvServer, TlsServer};
use crate::limits;
use crate::mra::xml::{self, Element, XmlError};
use crate::net::Host;

/// Why a document is not an edge configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EdgeConfigError {
    /// Not XML that is accepted here.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// An element is missing.
    #[error("<{0}> is missing")]
    Missing(&'static str),
    /// More of these elements than the bound allows.
    #[error("there are too many <{0}>")]
    TooMany(&'static str),
    /// An element that does not belong where it stands.
    #[error("<{0}> is not known here")]
    Unknown(String),
    /// The text of an element is not of its type.
    #[error("<{0}> has a value that is not allowed")]
    Value(&'static str),
}

pub(super) fn parse(document: &[u8]) -> Result<EdgeConfig, EdgeConfigError> {
    let root = xml::parse(document, limits::EDGE_CONFIG_BYTES_MAX)?;
    if root.name != "getEdgeConfigResponse" {
        return Err(EdgeConfigError::Unknown(root.name));
    }
    if root.attribute("version") != Some("1.0") {
        return Err(EdgeConfigError::Value("getEdgeConfigResponse"));
    }
    only(&root, &["serviceConfig", "edgeConfig"])?;
    let (services, tftp_servers) = service_config(one(&root, "serviceConfig")?)?;
    let edge = one(&root, "edgeConfig")?;
    only(edge, &EDGE_ELEMENTS)?;
    let request = one(edge, "sipRequest")?;
    only(request, &["route"])?;
    let turn = one(edge, "turnEdgeServer")?;
    if !turn.children.is_empty() || !turn.text.is_empty() {
        return Err(EdgeConfigError::Value("turnEdgeServer"));
    }
    Ok(EdgeConfig {
        services,
        tftp_servers,
        sip_edges: tls_servers(edge, "sipEdgeServer")?,
        sip_route: SipRoute::parse(leaf(request, "route")?)
            .map_err(|_| EdgeConfigError::Value("route"))?,
        xmpp_edges: tls_servers(edge, "xmppEdgeServer")?,
        http_edges: tls_servers(edge, "httpEdgeServer")?,
        user_uds: tls_servers(edge, "userUdsServer")?,
    })
}

fn service_config(config: &Element) -> Result<(Vec<Service>, Vec<Host>), EdgeConfigError> {
    only(config, &["service"])?;
    let mut services = Vec::new();
    let mut tftp_servers = None;
    for element in &config.children {
        if leaf(element, "name")? == TFTP_SERVER {
            if tftp_servers.replace(tftp(element)?).is_some() {
                return Err(EdgeConfigError::TooMany("service"));
            }
            continue;
        }
        bounded(services.len(), limits::EDGE_CONFIG_SERVICES_MAX, "service")?;
        services.push(service(element)?);
    }
    let tftp_servers = tftp_servers.ok_or(EdgeConfigError::Missing("service"))?;
    Ok((services, tftp_servers))
}

fn tftp(element: &Element) -> Result<Vec<Host>, EdgeConfigError> {
    only(element, &["name", "address"])?;
    let mut servers = Vec::new();
    for address in element.children_named("address") {
        check_leaf(address)?;
        if address.text.is_empty() {
            continue;
        }
        bounded(servers.len(), limits::EDGE_CONFIG_SERVERS_MAX, "address")?;
        servers.push(host(&address.text)?);
    }
    Ok(servers)
}

fn service(element: &Element) -> Result<Service, EdgeConfigError> {
    only(element, &["name", "error", "server"])?;
    let name =
        ServiceName::parse(leaf(element, "name")?).map_err(|_| EdgeConfigError::Value("name"))?;
    let mut servers = Vec::new();
    for server in element.children_named("server") {
        only(server, &["priority", "weight", "port", "address"])?;
        bounded(servers.len(), limits::EDGE_CONFIG_SERVERS_MAX, "server")?;
        servers.push(SrvServer {
            priority: number(server, "priority")?,
            weight: number(server, "weight")?,
            port: number(server, "port")?,
            address: host(leaf(server, "address")?)?,
        });
    }
    let answer = if element.child("error").is_none() {
        if servers.is_empty() {
            return Err(EdgeConfigError::Missing("server"));
        }
        ServiceAnswer::Servers(servers)
    } else {
        if !servers.is_empty() {
            return Err(EdgeConfigError::Value("error"));
        }
        match leaf(element, "error")? {
            NAME_ERROR => ServiceAnswer::NameError,
            SERVER_FAILURE => ServiceAnswer::ServerFailure,
            _ => return Err(EdgeConfigError::Value("error")),
        }
    };
    Ok(Service { name, answer })
}

fn tls_servers(edge: &Element, tag: &'static str) -> Result<Vec<TlsServer>, EdgeConfigError> {
    let list = one(edge, tag)?;
    only(list, &["server"])?;
    bounded(
        list.children.len(),
        limits::EDGE_CONFIG_SERVERS_MAX.saturating_add(1),
        "server",
    )?;
    list.children
        .iter()
        .map(|server| {
            only(server, &["address", "tlsPort"])?;
            let port = leaf(server, "tlsPort")?;
            Ok(TlsServer {
                address: host(leaf(server, "address")?)?,
                tls_port: port
                    .parse::<NonZeroU16>()
                    .map_err(|_| EdgeConfigError::Value("tlsPort"))?
                    .get(),
            })
        })
        .collect()
}

const fn bounded(present: usize, max: usize, tag: &'static str) -> Result<(), EdgeConfigError> {
    if present < max {
        Ok(())
    } else {
        Err(EdgeConfigError::TooMany(tag))
    }
}

/// Refuses text beside child elements that are not in `tags`.
fn only(element: &Element, tags: &[&str]) -> Result<(), EdgeConfigError> {
    if !element.text.is_empty() {
        return Err(EdgeConfigError::Unknown(element.name.clone()));
    }
    match element
        .children
        .iter()
        .find(|child| !tags.contains(&child.name.as_str()))
    {
        Some(child) => Err(EdgeConfigError::Unknown(child.name.clone())),
        None => Ok(()),
    }
}

fn one<'a>(parent: &'a Element, tag: &'static str) -> Result<&'a Element, EdgeConfigError> {
    let mut found = parent.children.iter().filter(|child| child.name == tag);
    let first = found.next().ok_or(EdgeConfigError::Missing(tag))?;
    match found.next() {
        Some(_) => Err(EdgeConfigError::TooMany(tag)),
        None => Ok(first),
    }
}

fn check_leaf(element: &Element) -> Result<(), EdgeConfigError> {
    match element.children.first() {
        Some(child) => Err(EdgeConfigError::Unknown(child.name.clone())),
        None => Ok(()),
    }
}

fn leaf<'a>(parent: &'a Element, tag: &'static str) -> Result<&'a str, EdgeConfigError> {
    let element = one(parent, tag)?;
    check_leaf(element)?;
    Ok(&element.text)
}

fn number(parent: &Element, tag: &'static str) -> Result<u16, EdgeConfigError> {
    leaf(parent, tag)?
        .parse()
        .map_err(|_| EdgeConfigError::Value(tag))
}

fn host(text: &str) -> Result<Host, EdgeConfigError> {
    Host::parse(text).map_err(|_| EdgeConfigError::Value("address"))
}

const EDGE_ELEMENTS: [&str; 6] = [
    "sipEdgeServer",
    "sipRequest",
    "xmppEdgeServer",
    "httpEdgeServer",
    "turnEdgeServer",
    "userUdsServer",
];
