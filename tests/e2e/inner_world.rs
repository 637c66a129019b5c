//! The demo's inner world: everything inside as one process that an ordinary user can start.

use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hickory_proto::rr::RecordType;
use serde_json::Value;
use support::curl::Curl;
use support::dns;
use support::place::Place;
use support::wait;

struct InnerWorld {
    child: Child,
    facts: Value,
    _dir: tempfile::TempDir,
}

impl InnerWorld {
    fn start(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_inner-world"))
            .arg("--pki")
            .arg(dir.path())
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        Self {
            child,
            facts: serde_json::from_str(&line).unwrap(),
            _dir: dir,
        }
    }

    fn socket(&self, name: &str) -> SocketAddr {
        self.facts[name].as_str().unwrap().parse().unwrap()
    }

    fn port(&self, name: &str) -> u16 {
        u16::try_from(self.facts["ports"][name].as_u64().unwrap()).unwrap()
    }

    /// A client that has found a node by the world's own DNS, and the origin to ask.
    fn at(&self, scheme: &str, host: &str, port: &str) -> (Curl, String) {
        let found = dns::ask(
            &Place::Host,
            self.socket("dns"),
            &format!("{host}."),
            RecordType::A,
        );
        let address: IpAddr = found.unwrap().records[0].parse().unwrap();
        let port = self.port(port);
        let curl = Curl::new(&Place::Host)
            .trust(self.facts["inside_ca"].as_str().unwrap().as_ref())
            .resolve(host, SocketAddr::new(address, port));
        (curl, format!("{scheme}://{host}:{port}"))
    }

    fn wait_exit(&mut self) -> std::process::ExitStatus {
        let child = &mut self.child;
        wait::until("its end", Duration::from_secs(10), || Ok(child.try_wait()?)).unwrap()
    }
}

impl Drop for InnerWorld {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_user_can_be_found_and_served_by_what_it_prints() {
    let world = InnerWorld::start(&["--uds-port", "0", "--photos-port", "0"]);

    let name = "_cisco-uds._tcp.example.com.";
    let services = dns::ask(&Place::Host, world.socket("dns"), name, RecordType::SRV).unwrap();
    let first = format!("1 5 {} cucm1a.example.com.", world.port("uds"));
    assert_eq!(services.records.len(), 4);
    assert!(services.records.contains(&first), "{services:?}");

    let (curl, node) = world.at("https", "cucm1a.example.com", "uds");
    let found = format!("{node}/cucm-uds/clusterUser?email=carol@example.com");
    let found = curl.get(&found).unwrap().text();
    assert!(found.contains("/cucm-uds/user/cjones\""), "{found}");
    let (curl, node) = world.at("https", "cucm2b.example.com", "uds");
    let curl = curl.basic("cjones", "cjones-secret-1");
    let own = curl.get(&format!("{node}/cucm-uds/user/cjones/devices"));
    assert_eq!(own.unwrap().status, 200);
    let (curl, node) = world.at("http", "cucm2a.example.com", "files_http");
    let file = curl.get(&format!("{node}/CSFCJONES.cnf.xml")).unwrap();
    assert_eq!(file.header("content-type"), Some("text/xml"));
    let (curl, node) = world.at("https", "photos.example.com", "photos");
    let photo = curl.get(&format!("{node}/photos/cjones.jpg")).unwrap();
    assert_eq!(photo.header("content-type"), Some("image/jpeg"));
}

#[test]
fn the_pinpoint_zone_is_served_on_request() {
    let world = InnerWorld::start(&["--pinpoint"]);
    let ask = |name| dns::ask(&Place::Host, world.socket("dns"), name, RecordType::SRV).unwrap();

    assert_eq!(
        ask("_cisco-uds._tcp.cisco-internal.example.com.")
            .records
            .len(),
        4
    );
    assert!(ask("_cisco-uds._tcp.example.com.").records.is_empty());
}

#[test]
fn faults_are_ordered_through_the_control_endpoint() {
    let world = InnerWorld::start(&[]);
    let control = |path: &str| format!("http://{}{path}", world.socket("control"));
    let curl = Curl::new(&Place::Host);
    let version = || {
        let (curl, node) = world.at("https", "cucm1a.example.com", "uds");
        curl.send(&format!("{node}/cucm-uds/version")).unwrap()
    };

    let fault = r#"{"kind":{"status":{"code":500}},"host":"cucm1a.example.com"}"#;
    let order = curl.clone().method("POST").body(fault);
    assert_eq!(order.get(&control("/faults")).unwrap().status, 204);
    assert_eq!(version().unwrap().status, 500);

    let order = curl.clone().method("DELETE");
    assert_eq!(order.get(&control("/faults")).unwrap().status, 204);
    let order = curl.clone().method("POST");
    assert_eq!(
        order
            .get(&control("/nodes/cucm1a.example.com/off"))
            .unwrap()
            .status,
        204
    );
    assert_eq!(version().unwrap_err().exit, 7);
    assert_eq!(
        order
            .get(&control("/nodes/cucm1a.example.com/on"))
            .unwrap()
            .status,
        204
    );
    assert_eq!(version().unwrap().status, 200);

    let seen = curl.get(&control("/seen")).unwrap().text();
    let seen: Vec<Value> = serde_json::from_str(&seen).unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!(curl.get(&control("/nothing")).unwrap().status, 404);
}

#[test]
fn it_ends_with_its_standard_input() {
    let mut world = InnerWorld::start(&[]);

    drop(world.child.stdin.take());

    assert!(world.wait_exit().success());
}
