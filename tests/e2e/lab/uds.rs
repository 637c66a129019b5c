//! The UDS simulator answers as `reference/mra-protocol.md` section 5 describes UCM.

use std::net::SocketAddr;
use std::time::Duration;

use support::curl::{Answer, Curl, Failure};
use support::netns;
use support::uds::{Fault, FaultKind, Simulator};

use super::Scene;

type Outcome = Result<Answer, Failure>;

const NODES: [&str; 4] = ["cucm1a", "cucm1b", "cucm2a", "cucm2b"];

struct Uds {
    scene: Scene,
    simulator: Simulator,
    curl: Curl,
}

impl Uds {
    fn start() -> Self {
        let scene = Scene::new();
        let inside = scene.zones.inside();
        let identity = scene.identity("inside/ucm");
        let simulator = Simulator::start(scene.world.clone(), identity, &inside).unwrap();
        let mut curl = Curl::new(&inside).trust(&scene.path().join("inside/ca.pem"));
        for (host, number) in NODES.into_iter().zip(31..) {
            let [v4, v6] = netns::inside(number);
            let address = if number % 2 == 0 { v4 } else { v6 };
            let name = format!("{host}.example.com");
            curl = curl.resolve(&name, SocketAddr::new(address, 8443));
        }
        Self {
            scene,
            simulator,
            curl,
        }
    }

    /// What curl made of it: an answer, or its failure.
    fn send(&self, curl: &Curl, host: &str, target: &str) -> Outcome {
        let url = format!("https://{host}.example.com:8443{target}");
        curl.send(&url).unwrap()
    }

    fn get(&self, host: &str, target: &str) -> Answer {
        self.send(&self.curl, host, target).unwrap()
    }

    fn get_as(&self, user: &str, host: &str, target: &str) -> Answer {
        let password = format!("{user}-secret-1");
        let curl = self.curl.clone().basic(user, &password);
        self.send(&curl, host, target).unwrap()
    }
}

#[test]
fn any_node_names_the_home_cluster() {
    let uds = Uds::start();
    for host in NODES {
        let answer = uds.get(host, "/cucm-uds/clusterUser?username=bob").text();

        let result = "<result found=\"true\" uri=\"https://cucm2a.example.com:8443/cucm-uds/user/bob\" version=\"12.5.1\"/>";
        assert!(answer.contains(result), "{host}: {answer}");
        let home = "<homeCluster serversUri=\"https://cucm2a.example.com:8443/cucm-uds/servers\">cucm2a.example.com</homeCluster>";
        assert!(answer.contains(home), "{host}: {answer}");
    }
    let own = "uri=\"https://cucm1b.example.com:8443/cucm-uds/clusterUser?username=bob\"";
    assert!(
        uds.get("cucm1b", "/cucm-uds/clusterUser?username=bob")
            .text()
            .contains(own)
    );
}

#[test]
fn a_user_may_be_found_by_email_alone() {
    let uds = Uds::start();

    let by_id = uds
        .get("cucm1a", "/cucm-uds/clusterUser?username=carol")
        .text();
    let by_email = uds
        .get("cucm1a", "/cucm-uds/clusterUser?email=carol%40example.com")
        .text();

    assert!(by_id.contains("<result found=\"false\"/>"), "{by_id}");
    assert!(by_email.contains("/cucm-uds/user/cjones\""), "{by_email}");
}

#[test]
fn without_ils_a_cluster_knows_only_its_own_users() {
    let uds = Uds::start();
    uds.simulator.set_ils(false);

    let found = |host| {
        let answer = uds.get(host, "/cucm-uds/clusterUser?username=bob");
        answer.text().contains("found=\"true\"")
    };

    assert_eq!(NODES.map(found), [false, false, true, true]);
}

#[test]
fn public_resources_need_no_credentials() {
    let uds = Uds::start();

    let servers = uds.get("cucm2b", "/cucm-uds/servers").text();
    let list = "<server>cucm2a.example.com</server><server>cucm2b.example.com</server></servers>";
    assert!(servers.contains(list), "{servers}");
    assert!(
        uds.get("cucm1a", "/cucm-uds/version")
            .text()
            .contains("<version>12.5.1</version>")
    );
    let users = uds.get("cucm1a", "/cucm-uds/users?last=jones&max=1").text();
    assert!(users.contains("totalCount=\"1\"") && users.contains("<userName>cjones</userName>"));
    let page = uds.get("cucm1a", "/cucm-uds/users?start=1&max=2").text();
    assert!(
        page.contains("returnedCount=\"2\" totalCount=\"4\""),
        "{page}"
    );
    assert_eq!(uds.get("cucm1a", "/cucm-uds/options/timeZones").status, 200);
    assert_eq!(uds.get("cucm1a", "/cucm-uds/options/nothing").status, 404);
    let sso = uds.get("cucm1a", "/ssosp/ws/public/singleSignOn").text();
    assert!(sso.contains("<Status enabled=\"false\"/>"), "{sso}");
    assert_eq!(uds.get("cucm1a", "/elsewhere").status, 404);
}

#[test]
fn own_resources_are_for_the_user_alone() {
    let uds = Uds::start();
    let target = "/cucm-uds/user/alice/devices";

    let nobody = uds.get("cucm1a", target);
    assert_eq!(nobody.status, 401);
    assert!(
        nobody
            .header("www-authenticate")
            .unwrap()
            .starts_with("Basic realm=")
    );
    let wrong = uds.curl.clone().basic("alice", "guess");
    assert_eq!(uds.send(&wrong, "cucm1a", target).unwrap().status, 401);
    assert_eq!(uds.get_as("vera", "cucm1a", target).status, 403);
    assert_eq!(
        uds.get_as("alice", "cucm2a", target).status,
        401,
        "not her cluster"
    );
    let devices = uds.get_as("alice", "cucm1b", "/cucm-uds/user/alice/devices?max=100");
    assert_eq!(devices.status, 200);
    assert!(devices.text().contains("<name>CSFALICE</name>"));
}

#[test]
fn a_profile_names_what_a_client_needs_next() {
    let uds = Uds::start();

    let profile = uds.get_as("alice", "cucm1a", "/cucm-uds/user/alice").text();

    for part in [
        "<homeCluster enabled=\"true\">cucm1a.example.com</homeCluster>",
        "<devices uri=\"https://cucm1a.example.com:8443/cucm-uds/user/alice/devices\"/>",
        "<serviceProfile><uri>http://cucm1a.example.com:6970/SPDefault.cnf.xml</uri></serviceProfile>",
        "<server>imp1.example.com</server>",
    ] {
        assert!(profile.contains(part), "{part} in {profile}");
    }
    for below in [
        "device/CSFALICE",
        "credentials",
        "extensions",
        "speedDials",
        "subscribedServices",
        "remoteDestinations",
    ] {
        let target = format!("/cucm-uds/user/alice/{below}");
        assert_eq!(
            uds.get_as("alice", "cucm1a", &target).status,
            200,
            "{below}"
        );
    }
    assert_eq!(
        uds.get_as("alice", "cucm1a", "/cucm-uds/user/alice/device/CSFBOB")
            .status,
        404
    );
}

#[test]
fn tokens_prove_as_well_as_passwords_until_revoked() {
    let uds = Uds::start();
    uds.simulator.add_token("t0ken", "bob");
    let bearer = uds.curl.clone().header("Authorization", "Bearer t0ken");
    let status = || {
        uds.send(&bearer, "cucm2a", "/cucm-uds/user/bob")
            .unwrap()
            .status
    };

    assert_eq!(status(), 200);
    uds.simulator.revoke_token("t0ken");
    assert_eq!(status(), 401);
}

#[test]
fn what_was_put_is_there_afterwards() {
    let uds = Uds::start();
    let alice = uds.curl.clone().basic("alice", "alice-secret-1");
    let put = |target, body| {
        let curl = alice.clone().method("PUT").body(body);
        uds.send(&curl, "cucm1a", target).unwrap().status
    };

    let dials = "/cucm-uds/user/alice/speedDials";
    assert_eq!(
        put(
            dials,
            "<speedDials><speedDial>2001</speedDial></speedDials>"
        ),
        204
    );
    assert!(uds.get_as("alice", "cucm1b", dials).text().contains("2001"));
    assert_eq!(put("/cucm-uds/user/alice/extensions", "<extensions/>"), 405);
    let credentials = "/cucm-uds/user/alice/credentials";
    assert_eq!(
        put(
            credentials,
            "<credentials><password>n3w</password></credentials>"
        ),
        204
    );
    assert_eq!(uds.get_as("alice", "cucm1a", dials).status, 401);
}

#[test]
fn faults_come_on_demand() {
    let uds = Uds::start();
    let target = "/cucm-uds/clusterUser?username=alice";
    let meet = |kind| {
        uds.simulator
            .inject(Fault::new(kind).at("cucm1a.example.com").times(1));
        uds.send(&uds.curl, "cucm1a", target)
    };

    assert_eq!(meet(FaultKind::Status { code: 500 }).unwrap().status, 500);
    assert!(
        meet(FaultKind::NotFound)
            .unwrap()
            .text()
            .contains("found=\"false\"")
    );
    assert!(meet(FaultKind::Dtd).unwrap().text().contains("<!DOCTYPE"));
    assert!(
        meet(FaultKind::OversizedXml { bytes: 2 << 20 })
            .unwrap()
            .body
            .len()
            > 2 << 20
    );
    let cut = meet(FaultKind::WrongContentLength).unwrap().text();
    assert!(!cut.contains("</clusterUser>"), "{cut}");
    assert_eq!(meet(FaultKind::TruncatedBody).unwrap_err().exit, 18);
    assert_eq!(meet(FaultKind::Reset).unwrap_err().exit, 56);
    let late = meet(FaultKind::Delay { millis: 400 }).unwrap();
    assert!(late.timings.first_byte >= Duration::from_millis(400));

    assert!(uds.get("cucm1a", target).text().contains("found=\"true\""));
    uds.simulator
        .inject(Fault::new(FaultKind::Reset).on("/cucm-uds/servers"));
    assert_eq!(uds.get("cucm1a", target).status, 200);
    assert!(uds.send(&uds.curl, "cucm1b", "/cucm-uds/servers").is_err());
    uds.simulator.clear_faults();
    assert_eq!(uds.get("cucm1b", "/cucm-uds/servers").status, 200);
}

#[test]
fn a_node_can_be_switched_off_and_on() {
    let uds = Uds::start();

    uds.simulator.stop_node("cucm1a.example.com").unwrap();
    let refused = uds
        .send(&uds.curl, "cucm1a", "/cucm-uds/version")
        .unwrap_err();
    assert_eq!(refused.exit, 7, "{refused:?}");
    assert_eq!(uds.get("cucm1b", "/cucm-uds/version").status, 200);

    uds.simulator.start_node("cucm1a.example.com").unwrap();
    assert_eq!(uds.get("cucm1a", "/cucm-uds/version").status, 200);
}

#[test]
fn a_node_can_present_another_certificate() {
    let uds = Uds::start();
    let wrong = uds.scene.identity("inside/faulty/wrong-name");

    uds.simulator.present("cucm1a.example.com", wrong).unwrap();

    let failure = uds
        .send(&uds.curl, "cucm1a", "/cucm-uds/version")
        .unwrap_err();
    assert_eq!(failure.exit, 60, "{failure:?}");
}

#[test]
fn every_request_is_remembered() {
    let uds = Uds::start();
    let curl = uds.curl.clone().header("X-Tracking-Id", "abc");
    uds.send(&curl, "cucm2a", "/cucm-uds/version").unwrap();

    let seen = uds.simulator.take_seen();

    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].host, "cucm2a.example.com");
    assert_eq!(
        (seen[0].method.as_str(), seen[0].target.as_str()),
        ("GET", "/cucm-uds/version")
    );
    assert_eq!(seen[0].header("x-tracking-id"), Some("abc"));
    assert!(uds.simulator.seen().is_empty());
}
