//! What to try by hand while the demo keeps running.

use anyhow::{Context as _, Result};
use support::place::Place;

use crate::journey;
use crate::report::say;
use crate::scene::{self, Scene};

/// Prints lines to copy, and how to stop.
pub(crate) fn print(scene: &Scene) -> Result<()> {
    let dir = scene.dir.display();
    let edge = scene::edge_name(&scene.domain);
    let port = scene.edge.port();
    let base = format!("https://{edge}:{port}");
    let alice = scene.users.iter().find(|user| user.id == "alice");
    let alice = alice.context("nobody is called alice")?;
    let (id, password) = (&alice.id, &alice.password);
    let verb = format!("{base}/{}", journey::domain_segment(scene));
    let photos = &scene.photos;
    let photo = journey::proxied(scene, &format!("{photos}/photos/{id}.jpg"))?;
    let private = journey::proxied(scene, &format!("{photos}/private/salaries.xls"))?;
    let [edge_name, core_name] = scene.names;
    let [edge_admin, core_admin] = &scene.admins;
    let ca = scene.trust.display();

    say("It keeps running. In another terminal:\n");
    say("  # curl as a client outside that trusts this demo's authority");
    say(&format!(
        "  edge() {{ {}curl -s --cacert {ca} --resolve {edge}:{port}:{} -c {dir}/cookies -b {dir}/cookies \"$@\"; }}",
        prefix(&scene.outside),
        scene.edge.ip()
    ));
    say("  # sign in; the cookie is kept for the next requests");
    say(&format!(
        "  edge -i -u {id}:{password} '{verb}/get_edge_config?service_name=_cisco-uds'"
    ));
    say("  # a photo, by its path at the edge");
    say(&format!(
        "  edge -o /dev/null -w '%{{http_code}} %{{size_download}} bytes\\n' '{base}{photo}'"
    ));
    say("  # something that no rule allows, and the rule that would be needed");
    say(&format!(
        "  edge -o /dev/null -w '%{{http_code}}\\n' '{base}{private}'; grep 'to allow it' {dir}/{core_name}.log | tail -n 1"
    ));
    say("  # add a rule: it counts within seconds (then 404: the photo server has no such file)");
    say(&format!(
        "  printf '\\n[[rule]]\\nurl = \"{photos}/private/salaries.xls\"\\nmatch = \"exact\"\\n' >>{dir}/allow-list.toml"
    ));
    say("  # what the operator sees");
    for (name, (place, admin)) in [(edge_name, edge_admin), (core_name, core_admin)] {
        say(&format!(
            "  {}curl -s http://{admin}/status   # {name}; also /metrics, /ready",
            prefix(place)
        ));
    }
    say(&format!(
        "  less {dir}/{edge_name}.log {dir}/{core_name}.log {dir}/{edge_name}.toml {dir}/{core_name}.toml"
    ));
    say(&format!(
        "\nTo stop: Ctrl-C, or  kill {}\n",
        std::process::id()
    ));
    Ok(())
}

/// What stands before a command so that it runs there.
fn prefix(place: &Place) -> String {
    match place {
        Place::Host => String::new(),
        Place::Namespace(name) => format!("ip netns exec {name} "),
    }
}
