//! What UDS answers say, read strictly as XML and liberally as UDS: unknown elements are passed over.

use common::limits;
use common::mra::xml::{self, Element, XmlError};
use common::net::{Host, HostPort};
use common::redact::Redacted;
use http::Uri;
use percent_encoding::percent_decode_str;

/// Why an answer could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// An element or attribute is missing or has a value that makes no sense.
    #[error("<{0}> is missing or has no usable value")]
    Element(&'static str),
    /// More entries than the bound allows.
    #[error("there are too many <{0}>")]
    TooMany(&'static str),
    /// Not XML that is accepted.
    #[error(transparent)]
    Xml(#[from] XmlError),
}

/// What a cluster knows of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterUser {
    /// The user's home cluster is known.
    Found(FoundUser),
    /// This cluster, and every cluster it replicates with, does not know the user.
    Unknown,
}

/// Where a user is at home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundUser {
    /// The home node.
    pub home: Host,
    /// The port of the home node, where the answer names one for that host.
    pub port: Option<u16>,
    /// The user id in the letter case of UCM, where the answer has it.
    pub user_id: Option<Redacted<String>>,
}

/// The user's own record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserRecord {
    /// IM and Presence nodes, the home node first.
    pub im_and_presence: Vec<Host>,
    /// The server that holds the service profile.
    pub profile_server: Option<HostPort>,
}

/// Reads `/ssosp/ws/public/singleSignOn`.
///
/// # Errors
/// [`AnswerError`] if it is not such an answer.
pub fn single_sign_on(body: &[u8]) -> Result<bool, AnswerError> {
    let root = root(body, "SSOResult")?;
    let status = root
        .child("Response")
        .and_then(|response| response.child("SingleSignOn"))
        .and_then(|state| state.child("Status"));
    match status.and_then(|status| status.attribute("enabled")) {
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        _ => Err(AnswerError::Element("Status")),
    }
}

/// Reads `/cucm-uds/clusterUser`.
///
/// # Errors
/// [`AnswerError`] if it is not such an answer.
pub fn cluster_user(body: &[u8]) -> Result<ClusterUser, AnswerError> {
    let root = root(body, "clusterUser")?;
    let result = root.child("result").ok_or(AnswerError::Element("result"))?;
    match result.attribute("found") {
        Some("true") => {}
        Some("false") => return Ok(ClusterUser::Unknown),
        _ => return Err(AnswerError::Element("result")),
    }
    let cluster = root
        .child("homeCluster")
        .ok_or(AnswerError::Element("homeCluster"))?;
    let home = host(&cluster.text, "homeCluster")?;
    // Only the port is taken from the link: the host stays the one that the answer names as home.
    let port = cluster
        .attribute("serversUri")
        .and_then(https_node)
        .filter(|node| node.host == home)
        .map(|node| node.port);
    let user_id = result
        .attribute("uri")
        .and_then(last_segment)
        .map(Redacted::new);
    Ok(ClusterUser::Found(FoundUser {
        home,
        port,
        user_id,
    }))
}

/// Reads `/cucm-uds/servers`: the nodes of one cluster.
///
/// # Errors
/// [`AnswerError`] if it is not such an answer.
pub fn servers(body: &[u8]) -> Result<Vec<Host>, AnswerError> {
    let root = root(body, "servers")?;
    hosts(&root, limits::UDS_SERVERS_MAX)
}

/// Reads `/cucm-uds/version`.
///
/// # Errors
/// [`AnswerError`] if it is not such an answer.
pub fn version(body: &[u8]) -> Result<String, AnswerError> {
    let root = root(body, "versionInformation")?;
    root.child("version")
        .map(|version| version.text.clone())
        .filter(|text| !text.is_empty())
        .ok_or(AnswerError::Element("version"))
}

/// Reads `/cucm-uds/user/<id>/devices`: the names of the user's devices.
///
/// # Errors
/// [`AnswerError`] if it is not such an answer.
pub fn devices(body: &[u8]) -> Result<Vec<String>, AnswerError> {
    let root = root(body, "devices")?;
    let names: Vec<_> = root
        .children_named("device")
        .filter_map(|device| device.child("name"))
        .map(|name| name.text.clone())
        .collect();
    if names.len() > limits::UDS_DEVICES_MAX {
        return Err(AnswerError::TooMany("device"));
    }
    Ok(names)
}

/// Reads `/cucm-uds/user/<id>`.
///
/// # Errors
/// [`AnswerError`] if it is not such an answer.
pub fn user(body: &[u8]) -> Result<UserRecord, AnswerError> {
    let root = root(body, "user")?;
    let im_and_presence = match root.child("imAndPresence") {
        Some(element) => hosts(element, limits::UDS_SERVERS_MAX)?,
        None => Vec::new(),
    };
    let profile_server = root
        .child("serviceProfile")
        .and_then(|profile| profile.child("uri"))
        .and_then(|uri| node_of(&uri.text));
    Ok(UserRecord {
        im_and_presence,
        profile_server,
    })
}

fn root(body: &[u8], name: &'static str) -> Result<Element, AnswerError> {
    let root = xml::parse(body, limits::UDS_ANSWER_BYTES_MAX)?;
    if root.name == name {
        Ok(root)
    } else {
        Err(AnswerError::Element(name))
    }
}

fn hosts(parent: &Element, count_max: usize) -> Result<Vec<Host>, AnswerError> {
    let mut found = Vec::new();
    for server in parent.children_named("server") {
        if server.text.is_empty() {
            continue;
        }
        if found.len() >= count_max {
            return Err(AnswerError::TooMany("server"));
        }
        let host = host(&server.text, "server")?;
        if !found.contains(&host) {
            found.push(host);
        }
    }
    Ok(found)
}

fn host(text: &str, element: &'static str) -> Result<Host, AnswerError> {
    Host::parse(text).map_err(|_| AnswerError::Element(element))
}

fn https_node(uri: &str) -> Option<HostPort> {
    uri.starts_with("https://").then(|| node_of(uri)).flatten()
}

fn node_of(uri: &str) -> Option<HostPort> {
    let uri: Uri = uri.parse().ok()?;
    let port = match (uri.port_u16(), uri.scheme_str()) {
        (Some(port), _) => port,
        (None, Some("https")) => 443,
        (None, Some("http")) => 80,
        (None, _) => return None,
    };
    let host = Host::parse(uri.host()?).ok()?;
    (port != 0).then_some(HostPort { host, port })
}

/// The user id at the end of `https://<node>/cucm-uds/user/<id>`.
fn last_segment(uri: &str) -> Option<String> {
    let (_, segment) = uri.rsplit_once("/user/")?;
    if segment.contains('/') {
        return None;
    }
    let id = percent_decode_str(segment).decode_utf8().ok()?;
    (!id.is_empty() && id.len() <= limits::USER_ID_BYTES_MAX).then(|| id.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_found_user_has_a_home_and_an_id_in_the_case_of_ucm() {
        let answer = cluster_user(
            br#"<clusterUser version="12.5" uri="https://cucm1.example.com:8443/cucm-uds/clusterUser?username=alice">
                  <result found="true" uri="https://cucm2.example.com:8443/cucm-uds/user/Alice%20B" version="12.5"/>
                  <homeCluster serversUri="https://cucm2.example.com:8444/cucm-uds/servers">cucm2.example.com</homeCluster>
                </clusterUser>"#,
        );

        assert_eq!(
            answer,
            Ok(ClusterUser::Found(FoundUser {
                home: Host::parse("cucm2.example.com").unwrap(),
                port: Some(8444),
                user_id: Some(Redacted::new("Alice B".to_owned())),
            }))
        );
    }

    #[test]
    fn an_unknown_user_needs_no_home() {
        assert_eq!(
            cluster_user(b"<clusterUser><result found='false'/></clusterUser>"),
            Ok(ClusterUser::Unknown)
        );
    }

    #[test]
    fn a_link_to_another_host_or_without_tls_does_not_move_the_port() {
        for link in [
            "https://evil.example:666/cucm-uds/servers",
            "http://home.example:666/",
            "::",
        ] {
            let body = format!(
                "<clusterUser><result found='true'/><homeCluster serversUri='{link}'>home.example</homeCluster></clusterUser>"
            );
            let Ok(ClusterUser::Found(found)) = cluster_user(body.as_bytes()) else {
                panic!("{link}");
            };
            assert_eq!(found.port, None, "{link}");
        }
    }

    #[test]
    fn incomplete_answers_say_what_is_missing() {
        for (body, element) in [
            ("<clusterUser/>", "result"),
            (
                "<clusterUser><result found='maybe'/></clusterUser>",
                "result",
            ),
            (
                "<clusterUser><result found='true'/></clusterUser>",
                "homeCluster",
            ),
            (
                "<clusterUser><result found='true'/><homeCluster>a b</homeCluster></clusterUser>",
                "homeCluster",
            ),
            ("<html/>", "clusterUser"),
        ] {
            assert_eq!(
                cluster_user(body.as_bytes()),
                Err(AnswerError::Element(element)),
                "{body}"
            );
        }
    }

    #[test]
    fn a_user_record_names_presence_and_profile_servers() {
        let record = user(
            br"<user><id>alice</id>
                 <imAndPresence><server>imp1.example.com</server><server>imp2.example.com</server></imAndPresence>
                 <serviceProfile><uri>http://cucm2.example.com:6970/SPDefault.cnf.xml</uri></serviceProfile></user>",
        )
        .unwrap();

        assert_eq!(record.im_and_presence.len(), 2);
        assert_eq!(
            record.profile_server,
            Some("cucm2.example.com:6970".parse().unwrap())
        );
        assert_eq!(user(b"<user/>"), Ok(UserRecord::default()));
    }

    #[test]
    fn lists_lose_duplicates_and_have_a_bound() {
        let list = |n: usize| {
            let servers: String = (0..n)
                .map(|i| format!("<server>n{i}.example</server>"))
                .collect();
            format!("<servers>{servers}<server>n0.example</server><server/></servers>")
        };

        assert_eq!(servers(list(2).as_bytes()).unwrap().len(), 2);
        assert_eq!(
            servers(list(limits::UDS_SERVERS_MAX + 1).as_bytes()),
            Err(AnswerError::TooMany("server"))
        );
    }

    #[test]
    fn a_version_and_device_names_are_read() {
        let body =
            b"<versionInformation><version>12.5.1</version><capabilities/></versionInformation>";

        assert_eq!(version(body), Ok("12.5.1".to_owned()));
        assert_eq!(
            devices(b"<devices><device><name>CSFALICE</name></device><device/></devices>"),
            Ok(vec!["CSFALICE".to_owned()])
        );
    }

    #[test]
    fn a_document_type_is_refused() {
        assert_eq!(
            servers(b"<!DOCTYPE s [<!ENTITY x 'y'>]><servers/>"),
            Err(XmlError::Doctype.into())
        );
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_a_reader_panic(inner: String, name in "clusterUser|servers|devices|user|versionInformation") {
            let body = format!("<{name}>{inner}</{name}>").into_bytes();

            drop((cluster_user(&body), servers(&body), devices(&body), user(&body), version(&body)));
        }
    }
}
