//! The rules that discovered nodes bring with them. Nobody can edit them; they go when the node goes.
//!
//! The table is what a stock client needs of each kind of node, no more. Manual rules come on top.

use std::num::NonZeroU16;

use crate::net::{Deployment, Host, Origin, Scheme};
use crate::policy::allow_list::{Match, MethodSet, Rule, RuleSource, Url};

/// What an inner server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NodeKind {
    /// IM and Presence.
    ImPresence,
    /// A file server for phones that is not a UCM node of its own.
    Tftp,
    /// Unified CM; it serves phone files too.
    Ucm,
    /// Unity Connection.
    Unity,
}

impl NodeKind {
    /// Reads the name that configuration uses: `imp`, `tftp`, `ucm` or `unity`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "imp" => Some(Self::ImPresence),
            "tftp" => Some(Self::Tftp),
            "ucm" => Some(Self::Ucm),
            "unity" => Some(Self::Unity),
            _ => None,
        }
    }

    /// The name in configuration, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ImPresence => "imp",
            Self::Tftp => "tftp",
            Self::Ucm => "ucm",
            Self::Unity => "unity",
        }
    }
}

/// An inner server, as discovery or the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Where it is; the name that its certificate must have.
    pub host: Host,
    /// Its HTTPS port, where that is not the kind's own: it takes the place of 8443 (UCM, IM and Presence), of 443 and 8443
    /// (Unity), or of all three file ports (TFTP: 6970 means `http`, every other `https`). The file ports of a UCM node stay.
    pub port: Option<u16>,
    /// Whose users may reach it.
    pub deployment: Deployment,
}

/// Whether clients sign in with tokens, so that they need the pages under `/ssosp/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OAuth {
    /// Passwords only.
    Off,
    /// Tokens, perhaps passwords too.
    On,
}

/// The rules that `node` brings with it.
#[must_use]
pub fn automatic_rules(node: &Node, oauth: OAuth) -> Vec<Rule> {
    let services = match node.kind {
        NodeKind::ImPresence => vec![IM_PRESENCE],
        NodeKind::Tftp => vec![FILES],
        NodeKind::Ucm => match oauth {
            OAuth::Off => vec![UDS, FILES],
            OAuth::On => vec![UDS, SSO, FILES],
        },
        NodeKind::Unity => vec![UNITY],
    };
    services
        .into_iter()
        .flat_map(|service| {
            ports(service, node)
                .into_iter()
                .flat_map(move |(scheme, port)| rules_at(service, node, scheme, port))
        })
        .collect()
}

/// Some paths of a kind of node, and the ports it serves them on.
#[derive(Clone, Copy)]
struct Service {
    ports: &'static [(Scheme, u16)],
    /// Match, path, methods.
    paths: &'static [(Match, &'static str, &'static [&'static str])],
}

const UDS: Service = Service {
    ports: &[(Scheme::Https, 8443)],
    paths: &[
        (Match::Exact, "/cucm-uds/version", &["GET"]),
        (Match::Prefix, "/cucm-uds/clusterUser", &["GET"]),
        (Match::Prefix, "/cucm-uds/servers", &["GET"]),
        (Match::Prefix, "/cucm-uds/users", &["GET"]),
        (Match::Prefix, "/cucm-uds/options/", &["GET"]),
        (Match::Prefix, "/cucm-uds/user/", &["GET", "PUT"]),
        (Match::Prefix, "/ucmservices/v1/supportedServices", &["GET"]),
    ],
};

const SSO: Service = Service {
    ports: &[(Scheme::Https, 8443)],
    paths: &[(Match::Prefix, "/ssosp/", &["GET", "POST"])],
};

const FILES: Service = Service {
    ports: &[
        (Scheme::Http, 6970),
        (Scheme::Https, 6971),
        (Scheme::Https, 6972),
    ],
    paths: &[(Match::Prefix, "/", &["GET", "HEAD"])],
};

const IM_PRESENCE: Service = Service {
    ports: &[(Scheme::Https, 8443)],
    paths: &[(Match::Prefix, "/EPASSoap/service/", &["POST"])],
};

const UNITY: Service = Service {
    ports: &[(Scheme::Https, 443), (Scheme::Https, 8443)],
    paths: &[(Match::Prefix, "/vmrest/", &["GET", "POST", "PUT", "DELETE"])],
};

fn ports(service: Service, node: &Node) -> Vec<(Scheme, u16)> {
    let is_files = service
        .ports
        .iter()
        .any(|(scheme, _)| *scheme == Scheme::Http);
    match node.port {
        Some(port) if is_files && node.kind == NodeKind::Tftp => {
            let plain = service.ports.contains(&(Scheme::Http, port));
            vec![(if plain { Scheme::Http } else { Scheme::Https }, port)]
        }
        Some(port) if !is_files => vec![(Scheme::Https, port)],
        Some(_) | None => service.ports.to_vec(),
    }
}

fn rules_at(
    service: Service,
    node: &Node,
    scheme: Scheme,
    port: u16,
) -> impl Iterator<Item = Rule> {
    let port = NonZeroU16::new(port);
    service
        .paths
        .iter()
        .filter_map(move |(matching, path, methods)| {
            let origin = Origin {
                scheme,
                host: node.host.clone(),
                port: port?,
            };
            Some(Rule {
                url: Url {
                    origin,
                    target: crate::http::target::Target::parse(path).ok()?,
                },
                matching: *matching,
                methods: MethodSet::parse(methods.iter().copied()).ok()?,
                has_own_methods: true,
                deployment: node.deployment.clone(),
                expires: None,
                // The user's own credentials belong at these nodes; phone files need none.
                forward_authorization: scheme == Scheme::Https && node.kind != NodeKind::Tftp,
                description: format!("automatic: {}", node.kind.as_str()),
                source: RuleSource::Automatic(node.kind),
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(kind: NodeKind, port: Option<u16>, oauth: OAuth) -> Vec<String> {
        let node = Node {
            kind,
            host: Host::parse("node.example.com").unwrap(),
            port,
            deployment: Deployment::standard(),
        };
        automatic_rules(&node, oauth)
            .iter()
            .map(|rule| format!("{} {} {}", rule.methods, rule.matching.as_str(), rule.url))
            .collect()
    }

    #[test]
    fn a_ucm_node_brings_uds_and_phone_files() {
        let rules = listed(NodeKind::Ucm, None, OAuth::Off);

        assert_eq!(
            rules,
            [
                "GET exact https://node.example.com:8443/cucm-uds/version",
                "GET prefix https://node.example.com:8443/cucm-uds/clusterUser",
                "GET prefix https://node.example.com:8443/cucm-uds/servers",
                "GET prefix https://node.example.com:8443/cucm-uds/users",
                "GET prefix https://node.example.com:8443/cucm-uds/options/",
                "GET, PUT prefix https://node.example.com:8443/cucm-uds/user/",
                "GET prefix https://node.example.com:8443/ucmservices/v1/supportedServices",
                "GET, HEAD prefix http://node.example.com:6970/",
                "GET, HEAD prefix https://node.example.com:6971/",
                "GET, HEAD prefix https://node.example.com:6972/",
            ]
        );
    }

    #[test]
    fn tokens_open_the_sso_pages_and_nothing_else() {
        let off = listed(NodeKind::Ucm, None, OAuth::Off);
        let mut on = listed(NodeKind::Ucm, None, OAuth::On);

        on.retain(|rule| !off.contains(rule));
        assert_eq!(
            on,
            ["GET, POST prefix https://node.example.com:8443/ssosp/"]
        );
    }

    #[test]
    fn the_other_kinds_bring_their_one_service() {
        assert_eq!(
            listed(NodeKind::ImPresence, None, OAuth::On),
            ["POST prefix https://node.example.com:8443/EPASSoap/service/"]
        );
        assert_eq!(
            listed(NodeKind::Unity, None, OAuth::On),
            [
                "GET, POST, PUT, DELETE prefix https://node.example.com/vmrest/",
                "GET, POST, PUT, DELETE prefix https://node.example.com:8443/vmrest/",
            ]
        );
        assert_eq!(listed(NodeKind::Tftp, None, OAuth::On).len(), 3);
    }

    #[test]
    fn a_port_of_its_own_takes_the_place_of_the_usual_ones() {
        assert_eq!(
            listed(NodeKind::Unity, Some(9443), OAuth::On),
            ["GET, POST, PUT, DELETE prefix https://node.example.com:9443/vmrest/"]
        );
        assert_eq!(
            listed(NodeKind::Tftp, Some(6970), OAuth::On),
            ["GET, HEAD prefix http://node.example.com:6970/"]
        );
        assert_eq!(
            listed(NodeKind::Tftp, Some(9443), OAuth::On),
            ["GET, HEAD prefix https://node.example.com:9443/"]
        );
        let ucm = listed(NodeKind::Ucm, Some(9443), OAuth::Off);
        assert!(ucm.iter().all(|rule| !rule.contains(":8443")));
        assert!(ucm.iter().any(|rule| rule.contains(":6972")));
    }

    #[test]
    fn credentials_never_go_over_http_or_to_file_servers() {
        for kind in [
            NodeKind::ImPresence,
            NodeKind::Tftp,
            NodeKind::Ucm,
            NodeKind::Unity,
        ] {
            let node = Node {
                kind,
                host: Host::parse("node.example.com").unwrap(),
                port: None,
                deployment: Deployment::standard(),
            };
            for rule in automatic_rules(&node, OAuth::On) {
                let may = rule.url.origin.scheme == Scheme::Https && kind != NodeKind::Tftp;
                assert_eq!(rule.forward_authorization, may, "{rule}");
            }
        }
    }
}
