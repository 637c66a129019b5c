//! Writing the document.

use std::fmt::Display;
use std::net::IpAddr;

use quick_xml::escape::partial_escape;

use super::{EdgeConfig, Service, ServiceAnswer, TlsServer};
use crate::net::Host;

pub(super) fn document(config: &EdgeConfig) -> String {
    let mut out = Writer(DECLARATION.to_owned());
    out.0.push_str("<getEdgeConfigResponse version=\"1.0\">");
    out.nest("serviceConfig", |out| {
        for service in &config.services {
            out.service(service);
        }
        out.nest("service", |out| {
            out.leaf("name", TFTP_SERVER);
            for server in &config.tftp_servers {
                out.leaf("address", Bare(server));
            }
            // The known document has two addresses even when both are empty.
            for _ in config.tftp_servers.len()..TFTP_ADDRESSES_MIN {
                out.leaf("address", "");
            }
        });
    });
    out.nest("edgeConfig", |out| {
        out.tls_servers("sipEdgeServer", &config.sip_edges);
        out.nest("sipRequest", |out| {
            out.leaf("route", config.sip_route.as_str());
        });
        out.tls_servers("xmppEdgeServer", &config.xmpp_edges);
        out.tls_servers("httpEdgeServer", &config.http_edges);
        out.0.push_str("<turnEdgeServer/>");
        out.tls_servers("userUdsServer", &config.user_uds);
    });
    out.0.push_str("</getEdgeConfigResponse>");
    out.0
}

struct Writer(String);

impl Writer {
    fn nest(&mut self, tag: &str, inner: impl FnOnce(&mut Self)) {
        for part in ["<", tag, ">"] {
            self.0.push_str(part);
        }
        inner(self);
        for part in ["</", tag, ">"] {
            self.0.push_str(part);
        }
    }

    fn leaf(&mut self, tag: &str, text: impl Display) {
        self.nest(tag, |out| {
            out.0.push_str(&partial_escape(text.to_string()));
        });
    }

    fn service(&mut self, service: &Service) {
        self.nest("service", |out| {
            out.leaf("name", &service.name);
            match &service.answer {
                ServiceAnswer::NameError => out.leaf("error", NAME_ERROR),
                ServiceAnswer::ServerFailure => out.leaf("error", SERVER_FAILURE),
                ServiceAnswer::Servers(servers) => {
                    for server in servers {
                        out.nest("server", |out| {
                            out.leaf("priority", server.priority);
                            out.leaf("weight", server.weight);
                            out.leaf("port", server.port);
                            out.leaf("address", Bare(&server.address));
                        });
                    }
                }
            }
        });
    }

    fn tls_servers(&mut self, tag: &str, servers: &[TlsServer]) {
        self.nest(tag, |out| {
            for server in servers {
                out.nest("server", |out| {
                    out.leaf("address", Bare(&server.address));
                    out.leaf("tlsPort", server.tls_port);
                });
            }
        });
    }
}

/// A host as an address element has it: IPv6 without the brackets that only URIs need.
struct Bare<'a>(&'a Host);

impl Display for Bare<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Host::Name(name) => name.fmt(f),
            Host::Address(IpAddr::V4(v4)) => v4.fmt(f),
            Host::Address(IpAddr::V6(v6)) => v6.fmt(f),
        }
    }
}

const DECLARATION: &str = "<?xml version='1.0' encoding='UTF-8'?>\n";
pub(super) const TFTP_SERVER: &str = "tftpServer";
pub(super) const NAME_ERROR: &str = "NameError";
pub(super) const SERVER_FAILURE: &str = "ServerFailure";
const TFTP_ADDRESSES_MIN: usize = 2;
