//! Files that change while clients are connected.

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use certs::{Authority, Identity, Leaf};
use support::curl::Curl;
use support::pair::{Size, public_sockets};
use support::wait;
use toml::{Table, Value};

use crate::stage::{PHOTOS, SignedIn, Stage, UCM, edge_name, edge_url, proxied_url, verb_url};

#[test]
fn a_new_public_certificate_is_shown_and_nobody_is_disconnected() {
    let stage = Stage::start();
    let alice = stage.sign_in("alice");
    let slow = ["--limit-rate", "10M", "--range", "0-99999999"];
    let url = proxied_url(1, PHOTOS, "/photos/alice.jpg");

    thread::scope(|scope| {
        let download = scope.spawn(|| {
            let curl = |curl: Curl| curl.with(slow).output("/dev/null".as_ref());
            alice.ask(curl, PHOTOS, "/large.bin")
        });
        // One request each 200 ms on one connection.
        let mut patient = stage.zones.client().command("curl");
        let [socket, _] = public_sockets(1);
        let resolve = format!("{}:8443:{}", edge_name(1), socket.ip());
        patient
            .args([
                "--disable",
                "--silent",
                "--rate",
                "5/s",
                "--resolve",
                &resolve,
            ])
            .args(["--header", &format!("Cookie: X-Auth={}", alice.cookie)])
            .args(["--write-out", "%{http_code} %{num_connects}\n"])
            .args(["--output", "/dev/null", "--cacert"])
            .arg(stage.path().join("public/ca.pem"))
            .arg(format!("{url}?[1-40]"));
        let patient = patient.stdout(Stdio::piped()).spawn().unwrap();
        wait::until_true("the first requests", wait::START_LIMIT, || {
            Ok(stage.nginx.requests()?.len() >= 3)
        })
        .unwrap();

        // From another authority, so that a client can tell them apart.
        let leaf = Leaf::server(&[edge_name(1)]);
        let renewed = stage.pki.inside.issue(&leaf).unwrap();
        renewed
            .write_to(&stage.path().join("public/edge1"))
            .unwrap();
        let fresh = Curl::new(&stage.zones.client())
            .trust(&stage.path().join("inside/ca.pem"))
            .resolve(&edge_name(1), socket);
        wait::until_true("the new certificate", wait::START_LIMIT, || {
            Ok(fresh.send(&verb_url(1, "get_edge_sso"))?.is_ok())
        })
        .unwrap();
        assert!(
            !download.is_finished(),
            "the download was to outlive the reload"
        );
        let old = stage.client().send(&verb_url(1, "get_edge_sso")).unwrap();
        assert_eq!(old.unwrap_err().exit, 60);

        let download = download.join().unwrap();
        assert_eq!((download.status, download.downloaded), (206, 100_000_000));
        let patient = patient.wait_with_output().unwrap();
        let lines = String::from_utf8(patient.stdout).unwrap();
        let mut lines = lines.lines();
        assert_eq!(lines.next(), Some("200 1"));
        let rest: Vec<_> = lines.collect();
        assert_eq!(rest, ["200 0"; 39], "one connection for all");
    });
}

#[test]
fn a_bad_certificate_changes_nothing() {
    let stage = Stage::start();
    let edge = &stage.pair.edges[0];
    let file = stage.path().join("public/edge1");
    let good = Identity::read_from(&file).unwrap();
    let other = Identity::read_from(&stage.path().join("public/edge2")).unwrap();
    let mixed = Identity {
        chain_pem: good.chain_pem.clone(),
        key_pem: other.key_pem,
    };

    mixed.write_to(&file).unwrap();

    let line = edge
        .wait_log(|line| line.contains("reload refused"))
        .unwrap();
    assert!(
        line.contains("\"warn\"") && line.contains("edge1.key"),
        "{line}"
    );
    stage.sign_in("alice");
    let check = edge.run(&["check", "--config", &edge.config_file().to_string_lossy()]);
    assert_eq!(check.unwrap().status.code(), Some(78));

    good.write_to(&file).unwrap();
    edge.wait_log(|line| line.contains("\"reloaded\"")).unwrap();
}

#[test]
fn a_domain_comes_and_goes_without_a_restart() {
    let mut stage = Stage::start();
    let sso = edge_url(1, "example.org", "/get_edge_sso?email=a@example.org");
    let sign_in = edge_url(1, "example.org", "/get_edge_config");
    let alice = stage.sign_in("alice");
    assert_eq!(stage.client().get(&sso).unwrap().status, 403);

    let domain = [
        ("name", "example.org"),
        ("voice_services_domain", "example.com"),
    ];
    let domain = domain.map(|(key, value)| (key.to_owned(), Value::from(value)));
    domains(&mut stage).push(Table::from_iter(domain).into());
    stage.pair.cores[0].reload().unwrap();
    wait_for(&stage, &sso, 200);
    let answer = stage.client().basic("bob", "bob-secret-1").get(&sign_in);
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200, "{}", stage.logs());
    let bob = SignedIn::read(&stage.client(), 1, &answer);
    let uds = edge_url(
        1,
        "example.org/https/cucm2a.example.com/8443",
        "/cucm-uds/user/bob",
    );
    assert_eq!(bob.curl.get(&uds).unwrap().status, 200, "{}", stage.logs());

    domains(&mut stage).pop();
    stage.pair.cores[0].reload().unwrap();
    wait_for(&stage, &sso, 403);
    assert_eq!(bob.curl.get(&uds).unwrap().status, 403);
    assert_eq!(alice.get(UCM, "/cucm-uds/user/alice").status, 200);
}

#[test]
fn inner_servers_of_a_new_authority_are_trusted_once_its_certificate_is_there() {
    let stage = Stage::start();
    let alice = stage.sign_in("alice");
    let authority = Authority::new("Next inside CA").unwrap();
    let names: Vec<_> = stage.world.nodes().map(|(_, n)| n.host.clone()).collect();
    let identity = authority.issue(&Leaf::server(&names)).unwrap();
    for node in &names {
        stage.uds.stop_node(node).unwrap();
        stage.uds.present(node, &identity).unwrap();
        stage.uds.start_node(node).unwrap();
    }
    assert_eq!(alice.get(UCM, "/cucm-uds/user/alice").status, 502);
    assert_eq!(stage.try_sign_in("bob", "bob-secret-1").status, 502);

    std::fs::write(stage.path().join("inside/ca.pem"), authority.pem()).unwrap();
    let reloaded = |line: &str| line.contains("\"reloaded\"");
    stage.pair.cores[0].wait_log(reloaded).unwrap();

    assert_eq!(alice.get(UCM, "/cucm-uds/user/alice").status, 200);
    stage.sign_in("bob");
}

#[test]
fn a_bad_configuration_changes_nothing() {
    let mut stage = Stage::prepare(Size::ONE);
    stage.pair.start().unwrap();

    domains(&mut stage).clear();
    stage.pair.cores[0].reload().unwrap();
    let refused = |line: &str| line.contains("reload refused") && line.contains("domain");
    stage.pair.cores[0].wait_log(refused).unwrap();
    stage.pair.edges[0].set("limits", "connections_max", 0);
    stage.pair.edges[0].reload().unwrap();
    let refused = |line: &str| line.contains("reload refused") && line.contains("connections_max");
    stage.pair.edges[0].wait_log(refused).unwrap();

    stage.sign_in("alice");
}

fn domains(stage: &mut Stage) -> &mut Vec<Value> {
    let domains = stage.pair.cores[0].config_mut().get_mut("domain");
    domains.and_then(Value::as_array_mut).unwrap()
}

fn wait_for(stage: &Stage, url: &str, status: u16) {
    let what = format!("{status} for {url}");
    wait::until_true(&what, Duration::from_secs(15), || {
        Ok(stage.client().get(url)?.status == status)
    })
    .unwrap();
}

#[test]
fn settings_that_wait_for_a_restart_are_named_and_the_rest_is_in_force() {
    let mut stage = Stage::start();
    let core = &mut stage.pair.cores[0];
    core.set("sign_in", "realm", "Night-Shift");
    core.set("sign_in", "credential_cache", "7m");
    core.set("dns", "timeout", "3s");

    core.reload().unwrap();

    let waiting = |line: &str| line.contains("settings wait for a restart");
    let line = core.wait_log(waiting).unwrap();
    assert!(
        line.contains("dns.timeout, sign_in.credential_cache") && !line.contains("realm"),
        "{line}"
    );
    let refused = stage.try_sign_in("alice", "wrong");
    let challenge = refused.header("www-authenticate").unwrap_or_default();
    assert!(challenge.contains("Night-Shift"), "{challenge}");
}

#[test]
fn a_core_that_is_no_longer_allowed_loses_its_connections() {
    let mut stage = Stage::start();
    stage.sign_in("alice");
    let edge = &mut stage.pair.edges[0];
    let others = Value::from(vec![Value::from("other.link.internal")]);
    edge.set("link", "allowed_cores", others);

    edge.reload().unwrap();

    for said in ["connections of a core closed", "link connection refused"] {
        let line = edge.wait_log(|line| line.contains(said));
        assert!(line.is_ok(), "{said}: {}", stage.logs());
    }
    assert_eq!(stage.try_sign_in("alice", "wrong").status, 503);
}
