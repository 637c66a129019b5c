//! The resources of UDS: request in, answer out.

use std::fmt::Write as _;

use bytes::Bytes;
use http::StatusCode;
use percent_encoding::percent_decode_str;

use super::state::State;
use super::xml::Element;
use crate::http_server::{Answer, Received};
use crate::world::{Device, Node, User, World};

/// The node that was asked.
#[derive(Clone, Debug)]
pub(super) struct Here {
    pub(super) cluster: usize,
    pub(super) host: String,
}

/// The answer of a node in good health.
pub(super) fn answer(state: &mut State, here: &Here, request: &Received) -> Answer {
    let (path, query) = request.path_and_query();
    let query = Query::parse(query.unwrap_or_default());
    let is_read = matches!(request.method.as_str(), "GET" | "HEAD");
    if path.starts_with("/cucm-uds/user/") {
        return own(state, here, request, path, &query);
    }
    if !is_read {
        return Answer::empty(StatusCode::METHOD_NOT_ALLOWED);
    }
    let world = &state.world;
    let uri = uri(world, &here.host, &request.target);
    match path {
        "/cucm-uds/version" => document(&version(world, uri)),
        "/cucm-uds/clusterUser" => cluster_user(world, here, &query, uri),
        "/cucm-uds/servers" => document(&servers(world, here, uri)),
        "/cucm-uds/users" => document(&directory(world, here, &query, uri)),
        "/ssosp/ws/public/singleSignOn" => document(&single_sign_on(world, here)),
        _ => path
            .strip_prefix("/cucm-uds/options/")
            .and_then(|name| options(name, &uri))
            .map_or_else(|| Answer::empty(StatusCode::NOT_FOUND), |o| document(&o)),
    }
}

fn version(world: &World, uri: String) -> Element {
    Element::new("versionInformation")
        .attribute("uri", uri)
        .attribute("version", &world.version)
        .text_child("version", &world.version)
        .child(Element::new("capabilities").text_child("usersResourceAuthEnabled", "false"))
}

fn cluster_user(world: &World, here: &Here, query: &Query, uri: String) -> Answer {
    let user = match (query.first("username"), query.first("email")) {
        (Some(id), None) => world.user(id),
        (None, Some(email)) => world.user_by_email(email),
        (None, None) | (Some(_), Some(_)) => return Answer::empty(StatusCode::BAD_REQUEST),
    };
    let known = user.filter(|user| world.has_ils || user.cluster == here.cluster);
    let home = known.and_then(|user| Some((user, first_node(world, user.cluster)?)));
    let root = Element::new("clusterUser")
        .attribute("version", &world.version)
        .attribute("uri", uri);
    let Some((user, node)) = home else {
        return document(&root.child(Element::new("result").attribute("found", "false")));
    };
    let user_uri = self::uri(world, &node.host, &format!("/cucm-uds/user/{}", user.id));
    let servers_uri = self::uri(world, &node.host, "/cucm-uds/servers");
    document(
        &root
            .child(
                Element::new("result")
                    .attribute("found", "true")
                    .attribute("uri", user_uri)
                    .attribute("version", &world.version),
            )
            .child(
                Element::with_text("homeCluster", &node.host).attribute("serversUri", servers_uri),
            ),
    )
}

fn servers(world: &World, here: &Here, uri: String) -> Element {
    let nodes = world
        .nodes()
        .filter(|(cluster, _)| *cluster == here.cluster);
    Element::new("servers")
        .attribute("uri", uri)
        .attribute("version", &world.version)
        .children(nodes.map(|(_, node)| Element::with_text("server", &node.host)))
}

fn directory(world: &World, here: &Here, query: &Query, uri: String) -> Element {
    let starts = |field: &str, parameter: &str| {
        query.first(parameter).is_none_or(|wanted| {
            let wanted = wanted.to_lowercase();
            field.to_lowercase().starts_with(&wanted)
        })
    };
    let named = |user: &User| {
        query.first("name").is_none_or(|wanted| {
            let wanted = wanted.to_lowercase();
            [&user.first, &user.last, &user.id]
                .iter()
                .any(|part| part.to_lowercase().starts_with(&wanted))
        })
    };
    let found: Vec<&User> = world
        .users
        .iter()
        .filter(|user| {
            named(user)
                && starts(&user.first, "first")
                && starts(&user.last, "last")
                && starts(&user.number, "number")
        })
        .collect();
    let start = query.number("start").unwrap_or(0);
    let max = query.number("max").unwrap_or(USERS_DEFAULT);
    let page: Vec<_> = found.iter().skip(start).take(max).collect();
    Element::new("users")
        .attribute("uri", uri)
        .attribute("version", &world.version)
        .attribute("start", start.to_string())
        .attribute("requestedCount", max.to_string())
        .attribute("returnedCount", page.len().to_string())
        .attribute("totalCount", found.len().to_string())
        .children(page.into_iter().map(|user| person(world, here, user)))
}

fn person(world: &World, here: &Here, user: &User) -> Element {
    let path = format!("/cucm-uds/user/{}", user.id);
    Element::new("user")
        .attribute("uri", uri(world, &here.host, &path))
        .attribute("version", &world.version)
        .text_child("id", &user.id)
        .text_child("userName", &user.id)
        .text_child("firstName", &user.first)
        .text_child("lastName", &user.last)
        .text_child("phoneNumber", &user.number)
        .text_child("email", &user.email)
        .text_child("directoryUri", &user.email)
        .text_child("displayName", format!("{} {}", user.first, user.last))
}

fn single_sign_on(world: &World, here: &Here) -> Element {
    Element::new("SSOResult").attribute("version", "1.0").child(
        Element::new("Response").child(
            Element::new("SingleSignOn")
                .attribute("version", "1.0")
                .child(Element::new("Status").attribute("enabled", world.has_sso.to_string()))
                .child(
                    Element::new("Token")
                        .text_child("Uri", uri(world, &here.host, "/ssosp/oauth/authorize")),
                ),
        ),
    )
}

fn options(name: &str, uri: &str) -> Option<Element> {
    let (list, item, values): (_, _, &[&str]) = match name {
        "timeZones" => ("timeZones", "timeZone", &["Etc/UTC", "Europe/Berlin"]),
        "userLocales" => ("userLocales", "userLocale", &["en_GB", "de_DE"]),
        _ => return None,
    };
    let values = values.iter().map(|value| Element::with_text(item, *value));
    Some(Element::new(list).attribute("uri", uri).children(values))
}

/// `/cucm-uds/user/{id}` and below: for the user alone.
fn own(state: &mut State, here: &Here, request: &Received, path: &str, query: &Query) -> Answer {
    let authorization = request.header("authorization");
    let Some(user) = authorization.and_then(|a| state.authenticate(here.cluster, a)) else {
        return unauthorized();
    };
    let below = path.strip_prefix("/cucm-uds/user/").unwrap_or_default();
    let (id, resource) = below.split_once('/').unwrap_or((below, ""));
    let id = percent_decode_str(id).decode_utf8_lossy();
    if !user.id.eq_ignore_ascii_case(&id) {
        return Answer::empty(StatusCode::FORBIDDEN);
    }
    match request.method.as_str() {
        "GET" | "HEAD" => match state.stored.get(path) {
            Some(stored) => Answer::new(StatusCode::OK, XML, stored.clone()),
            None => own_document(&state.world, here, &user, resource, query),
        },
        "PUT" if is_writable(&user, resource) => put(state, &user, path, resource, &request.body),
        _ => Answer::empty(StatusCode::METHOD_NOT_ALLOWED),
    }
}

fn own_document(world: &World, here: &Here, user: &User, resource: &str, query: &Query) -> Answer {
    let base = uri(world, &here.host, &format!("/cucm-uds/user/{}", user.id));
    let list = |name| {
        Element::new(name)
            .attribute("uri", format!("{base}/{name}"))
            .attribute("version", &world.version)
    };
    let root = match resource {
        "" => profile(world, here, user, &base),
        "devices" => {
            let max = query.number("max").unwrap_or(DEVICES_DEFAULT);
            let devices = user.devices.iter().take(max);
            list("devices").children(devices.map(|device| self::device(device, &base)))
        }
        "credentials" => list("credentials")
            .child(Element::new("password").attribute("uri", format!("{base}/credentials")))
            .child(Element::new("pin").attribute("uri", format!("{base}/credentials"))),
        "extensions" => list("extensions").child(
            Element::new("extension")
                .text_child("directoryNumber", &user.number)
                .text_child("description", format!("{}'s line", user.first)),
        ),
        "speedDials" => list("speedDials"),
        "subscribedServices" => list("subscribedServices"),
        "remoteDestinations" => list("remoteDestinations"),
        _ => {
            let named = resource.strip_prefix("device/").and_then(|name| {
                let name = percent_decode_str(name).decode_utf8_lossy();
                user.devices.iter().find(|device| device.name == *name)
            });
            match named {
                Some(device) => self::device(device, &base),
                None => return Answer::empty(StatusCode::NOT_FOUND),
            }
        }
    };
    document(&root)
}

fn profile(world: &World, here: &Here, user: &User, base: &str) -> Element {
    let mut root = person(world, here, user)
        .child(Element::with_text("homeCluster", &here.host).attribute("enabled", "true"));
    let chat = Element::new("imAndPresence").attribute("enabled", "true");
    let servers = world.im_presence.iter();
    root = root.child(chat.children(servers.map(|node| Element::with_text("server", &node.host))));
    for name in [
        "devices",
        "credentials",
        "extensions",
        "speedDials",
        "subscribedServices",
        "remoteDestinations",
    ] {
        root = root.child(Element::new(name).attribute("uri", format!("{base}/{name}")));
    }
    let file = format!(
        "http://{}:{}/SPDefault.cnf.xml",
        here.host, world.ports.files_http
    );
    root.child(Element::new("serviceProfile").text_child("uri", file))
}

fn device(device: &Device, base: &str) -> Element {
    Element::new("device")
        .attribute("uri", format!("{base}/device/{}", device.name))
        .text_child("id", &device.name)
        .text_child("name", &device.name)
        .text_child("model", &device.model)
        .text_child("description", &device.description)
}

fn is_writable(user: &User, resource: &str) -> bool {
    const NAMED: [&str; 4] = [
        "credentials",
        "remoteDestinations",
        "speedDials",
        "subscribedServices",
    ];
    let is_own_device = resource
        .strip_prefix("device/")
        .is_some_and(|name| user.devices.iter().any(|device| device.name == name));
    NAMED.contains(&resource) || is_own_device
}

/// A new password is taken from `<password>`; everything else is kept and given back as it came.
fn put(state: &mut State, user: &User, path: &str, resource: &str, body: &Bytes) -> Answer {
    if resource != "credentials" {
        state.stored.insert(path.to_owned(), body.clone());
        return Answer::empty(StatusCode::NO_CONTENT);
    }
    let text = String::from_utf8_lossy(body);
    let password = text
        .split_once("<password>")
        .and_then(|(_, rest)| rest.split_once("</password>"));
    let Some((password, _)) = password else {
        return Answer::empty(StatusCode::BAD_REQUEST);
    };
    state.set_password(&user.id, password);
    Answer::empty(StatusCode::NO_CONTENT)
}

fn unauthorized() -> Answer {
    let mut answer = Answer::empty(StatusCode::UNAUTHORIZED);
    for challenge in ["Basic realm=\"Cisco Web Services Realm\"", "Bearer"] {
        answer
            .headers
            .push(("www-authenticate", challenge.to_owned()));
    }
    answer
}

fn document(root: &Element) -> Answer {
    Answer::new(StatusCode::OK, XML, root.document())
}

fn first_node(world: &World, cluster: usize) -> Option<&Node> {
    world.clusters.get(cluster)?.nodes.first()
}

fn uri(world: &World, host: &str, target: &str) -> String {
    let mut uri = format!("https://{host}:{}", world.ports.uds);
    write!(uri, "{target}").expect("a String takes all");
    uri
}

/// Query parameters, decoded.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Self {
        let decode = |part: &str| {
            let spaced = part.replace('+', " ");
            percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
        };
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (decode(name), decode(value)))
                .collect(),
        )
    }

    fn first(&self, name: &str) -> Option<&str> {
        let pair = self.0.iter().find(|(n, _)| n == name);
        pair.map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str) -> Option<usize> {
        self.first(name)?.parse().ok()
    }
}

const XML: &str = "application/xml;charset=UTF-8";
/// How many users a search returns when it does not say.
const USERS_DEFAULT: usize = 64;
/// How many devices are listed when the request does not say.
const DEVICES_DEFAULT: usize = 100;
