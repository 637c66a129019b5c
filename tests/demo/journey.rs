//! The journey of a client that knows nothing but `alice@example.com` and a password, one step after the other, and what
//! must be refused on the way.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use common::mra::edge_config::EdgeConfig;
use hickory_proto::rr::RecordType;
use support::dns;
use support::wait;
use support::world::User;

use crate::client::{Answer, Client};
use crate::report::{Notes, Report, expect_status};
use crate::scene::{Parts, Scene};
use crate::{real, xml};

/// What a client remembers of a sign-in.
#[derive(Debug)]
struct Session {
    user: String,
    cookie: String,
    uds: String,
}

/// Goes the whole way. Steps that need the outcome of one that failed are left out.
pub(crate) fn run(report: &mut Report, scene: &Scene) {
    let Some((mut client, alice)) = arrive(report, scene) else {
        return;
    };
    let client = &mut client;
    report.step("get_edge_sso: may I sign in without a password?", |notes| {
        let path = format!(
            "/{}/get_edge_sso?email={}",
            domain_segment(scene),
            alice.email
        );
        let answer = client.get(&path, &[])?;
        expect_status(answer.status, 200)?;
        let enabled = xml::attribute(&answer.text(), "Status", "enabled")?;
        ensure!(enabled == "false", "single sign-on is on");
        notes.add("no: <Status enabled=\"false\"/>; answered by edge-e from what edge-c told it");
        Ok(())
    });
    let session = report.step(
        "get_edge_config with Basic: which servers are there?",
        |notes| sign_in(client, scene, (&alice.id, &alice.password), notes),
    );
    if let Some(session) = session {
        own_resources(report, client, scene, &session);
        refusals(report, client, scene, &session);
    }
    report.step("a wrong password: 401", |notes| {
        let answer = edge_config(client, scene, (&alice.id, "not-the-password"))?;
        expect_status(answer.status, 401)?;
        let challenge = answer.field("www-authenticate").context("no challenge")?;
        notes.add(format!("WWW-Authenticate: {challenge}"));
        notes.add("never sooner than half a second, so that its time does not tell unknown users from known ones");
        Ok(())
    });
    other_cluster(report, client, scene);
    if let Parts::Real(running) = &scene.parts {
        report.step(
            "the packet filter saw nothing from the DMZ open a connection inside",
            |_| real::assert_nothing_refused(running),
        );
    }
}

/// From an address to a TLS connection.
fn arrive(report: &mut Report, scene: &Scene) -> Option<(Client, User)> {
    report.step("find the edge: SRV _collab-edge._tls", |notes| {
        let alice = scene.users.iter().find(|user| user.id == "alice");
        let alice = alice.context("nobody is called alice")?.clone();
        notes.add(format!(
            "{} at {} stands in for public DNS",
            scene.public_dns_is, scene.public_dns
        ));
        let (host, socket) = find_edge(scene)?;
        notes.add(format!(
            "{} -> {host}:{} at {}",
            alice.email,
            socket.port(),
            socket.ip()
        ));
        Ok((
            Client::new(&scene.outside, &host, socket, &scene.trust)?,
            alice,
        ))
    })
}

/// RFC 2782 with one record. A client inside would have found `_cisco-uds` first, and needed no edge.
fn find_edge(scene: &Scene) -> Result<(String, SocketAddr)> {
    let ask = |name: &str, kind| dns::ask(&scene.outside, scene.public_dns, name, kind);
    let inside = ask(
        &format!("_cisco-uds._tcp.{}.", scene.domain),
        RecordType::SRV,
    )?;
    ensure!(inside.records.is_empty(), "public DNS names servers inside");
    let found = ask(
        &format!("_collab-edge._tls.{}.", scene.domain),
        RecordType::SRV,
    )?;
    let record = found
        .records
        .first()
        .context("public DNS has no _collab-edge record")?;
    let fields: Vec<_> = record.split(' ').collect();
    let [_priority, _weight, port, host] = fields.as_slice() else {
        bail!("not an SRV record: {record}");
    };
    let found = ask(host, RecordType::A)?;
    let address: IpAddr = found
        .records
        .first()
        .context("the edge has no address")?
        .parse()?;
    Ok((
        host.trim_end_matches('.').to_owned(),
        SocketAddr::new(address, port.parse()?),
    ))
}

fn sign_in(
    client: &mut Client,
    scene: &Scene,
    credentials: (&str, &str),
    notes: &mut Notes,
) -> Result<Session> {
    let answer = edge_config(client, scene, credentials)?;
    expect_status(answer.status, 200)?;
    let text = answer.text();
    for line in xml::abridged(&text) {
        notes.add(line);
    }
    let set_cookie = answer.field("set-cookie").context("no cookie")?;
    let (value, attributes) = set_cookie
        .split_once(';')
        .context("a cookie without attributes")?;
    let value = value
        .strip_prefix("X-Auth=")
        .context("not the edge's cookie")?;
    for wanted in ["Expires=", "Domain=", "Path=/", "Secure", "HttpOnly"] {
        ensure!(attributes.contains(wanted), "the cookie has no {wanted}");
    }
    let shown = value.get(..6).unwrap_or_default();
    notes.add(format!(
        "Set-Cookie: X-Auth={shown}.. ({} characters);{attributes}",
        value.len()
    ));
    let config = EdgeConfig::parse(text.as_bytes())?;
    let home = config.user_uds.first().context("no UDS server")?;
    let (user, _) = credentials;
    Ok(Session {
        user: user.to_owned(),
        cookie: format!("X-Auth={value}"),
        uds: format!("https://{}:{}", home.address, home.tls_port),
    })
}

fn edge_config(
    client: &mut Client,
    scene: &Scene,
    (user, password): (&str, &str),
) -> Result<Answer> {
    let query = "service_name=_cisco-uds&service_name=_cuplogin";
    let path = format!("/{}/get_edge_config?{query}", domain_segment(scene));
    let basic = STANDARD.encode(format!("{user}:{password}"));
    client.get(&path, &[("authorization", &format!("Basic {basic}"))])
}

/// What every client reads after it has signed in, following the links that it is given.
fn own_resources(report: &mut Report, client: &mut Client, scene: &Scene, session: &Session) {
    let Session { user, uds, .. } = session;
    let profile = report.step("own UDS record", |notes| {
        let text = get(
            client,
            scene,
            session,
            &format!("{uds}/cucm-uds/user/{user}"),
            notes,
        )?
        .text();
        notes.add(format!(
            "{}, {}",
            xml::text(&text, "displayName")?,
            xml::text(&text, "phoneNumber")?
        ));
        let (_, part) = text
            .split_once("<serviceProfile")
            .context("no service profile")?;
        xml::text(part, "uri")
    });
    let device = report.step("own devices", |notes| {
        let text = get(
            client,
            scene,
            session,
            &format!("{uds}/cucm-uds/user/{user}/devices"),
            notes,
        )?
        .text();
        let name = xml::text(&text, "name")?;
        notes.add(format!("{name}: {}", xml::text(&text, "model")?));
        Ok(name)
    });
    let files = profile.and_then(|uri| {
        report.step("service profile, where the record says", |notes| {
            let text = get(client, scene, session, &uri, notes)?.text();
            notes.add(format!("chat on {}", xml::text(&text, "Primary")?));
            let (files, _) = uri.rsplit_once('/').context("no path")?;
            Ok(files.to_owned())
        })
    });
    if let (Some(files), Some(device)) = (files, device) {
        files_and_photo(report, client, scene, session, (&files, &device));
    }
}

/// `files` is where the home node has them, as a URL without the last slash.
fn files_and_photo(
    report: &mut Report,
    client: &mut Client,
    scene: &Scene,
    session: &Session,
    (files, device): (&str, &str),
) {
    report.step("device file", |notes| {
        let text = get(
            client,
            scene,
            session,
            &format!("{files}/{device}.cnf.xml"),
            notes,
        )?
        .text();
        notes.add(format!(
            "{}, line {}",
            xml::text(&text, "deviceProtocol")?,
            xml::text(&text, "line")?
        ));
        Ok(())
    });
    report.step("a photo, where jabber-config.xml says", |notes| {
        let text = get(
            client,
            scene,
            session,
            &format!("{files}/jabber-config.xml"),
            notes,
        )?
        .text();
        let url = xml::text(&text, "PhotoURI")?.replace("%%uid%%", &session.user);
        let photo = get(client, scene, session, &url, notes)?;
        ensure!(photo.body.starts_with(b"\xff\xd8\xff"), "not a JPEG");
        notes.add(format!("{} bytes of JPEG", photo.body.len()));
        Ok(())
    });
}

fn refusals(report: &mut Report, client: &mut Client, scene: &Scene, session: &Session) {
    report.step(
        "outside the allow list: 403, and the log says which rule would be needed",
        |notes| {
            let url = format!("{}/private/salaries.xls", scene.photos);
            let answer = client.get(&proxied(scene, &url)?, &[("cookie", &session.cookie)])?;
            notes.add(format!("GET {url}: {}", answer.status));
            expect_status(answer.status, 403)?;
            let what = "a line in edge-c's log that names the rule";
            let rule = wait::until(what, wait::START_LIMIT, || {
                Ok(needed_rule(&scene.core_log()?, &url))
            })?;
            notes.add("edge-c's log:");
            notes.add(rule);
            Ok(())
        },
    );
    report.step("without the cookie: 401", |notes| {
        let url = format!("{}/cucm-uds/user/{}", session.uds, session.user);
        let answer = client.get(&proxied(scene, &url)?, &[])?;
        expect_status(answer.status, 401)?;
        notes.add("refused by edge-e: nothing of it reached edge-c");
        Ok(())
    });
}

/// Somebody whose e-mail address is not the user id, and whose home is the other cluster.
fn other_cluster(report: &mut Report, client: &mut Client, scene: &Scene) {
    report.step(
        "carol signs in with her e-mail address; her home is the other cluster",
        |notes| {
            let carol = scene
                .users
                .iter()
                .find(|user| user.email.starts_with("carol@"));
            let carol = carol.context("nobody has the address carol@")?;
            let session = sign_in(
                client,
                scene,
                (&carol.email, &carol.password),
                &mut Notes::default(),
            )?;
            notes.add(format!(
                "{} is {}, at home on {}",
                carol.email, carol.id, session.uds
            ));
            let session = Session {
                user: carol.id.clone(),
                ..session
            };
            let record = format!("{}/cucm-uds/user/{}", session.uds, session.user);
            let text = get(client, scene, &session, &record, notes)?.text();
            let name = xml::text(&text, "displayName")?;
            ensure!(name == "Carol Jones", "the record is that of {name}");
            Ok(())
        },
    );
}

/// GETs a URL of the inside the way a client does: with its cookie, through the edge.
fn get(
    client: &mut Client,
    scene: &Scene,
    session: &Session,
    url: &str,
    notes: &mut Notes,
) -> Result<Answer> {
    let answer = client.get(&proxied(scene, url)?, &[("cookie", &session.cookie)])?;
    notes.add(format!("GET {url}: {}", answer.status));
    expect_status(answer.status, 200)?;
    Ok(answer)
}

/// The path on the edge that stands for a URL of the inside.
pub(crate) fn proxied(scene: &Scene, url: &str) -> Result<String> {
    let (scheme, rest) = url.split_once("://").context("not a URL")?;
    let (authority, path) = rest.split_once('/').context("a URL without a path")?;
    let usual = if scheme == "https" { "443" } else { "80" };
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, usual));
    let segment = STANDARD_NO_PAD.encode(format!("{}/{scheme}/{host}/{port}", scene.domain));
    Ok(format!("/{segment}/{path}"))
}

/// The first segment of the path of an edge verb.
pub(crate) fn domain_segment(scene: &Scene) -> String {
    STANDARD_NO_PAD.encode(&scene.domain)
}

/// The rule that edge-c's log offers for a URL that it refused.
fn needed_rule(log: &str, url: &str) -> Option<String> {
    let line = log
        .lines()
        .rfind(|line| line.contains("to allow it") && line.contains(url))?;
    let (_, rest) = line.split_once("to allow it: ")?;
    // The field is quoted, and so are the quotes in it.
    let plain = rest.replace("\\\"", "\u{1}");
    let (rule, _) = plain.split_once('"')?;
    Some(rule.replace('\u{1}', "\""))
}
