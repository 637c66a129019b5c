//! BIND beside the client, with the zones that an edge has, and what both are asked.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::place::Place;
use support::process::Process;

use super::scene::{comparable, dig};

/// The key of its cookies.
pub(super) const COOKIE_KEY: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";

/// A BIND that serves zones; ends when it is dropped.
pub(super) struct Bind {
    /// Where it listens.
    pub(super) at: SocketAddr,
    _process: Process,
}

impl Bind {
    /// Starts it in the namespace of `place` with these zones, each a name and a file.
    pub(super) fn start(place: &Place, dir: &Path, zones: &[(&str, &Path)]) -> Self {
        // Nothing but this test is in the namespace.
        let at: SocketAddr = "127.0.0.1:5353".parse().unwrap();
        let dir = dir.join("bind");
        let (first, _) = zones[0];
        fs::create_dir_all(&dir).unwrap();
        let zones = zones.iter().map(|(name, file)| {
            format!(
                "zone \"{name}\" {{ type primary; file \"{}\"; }};\n",
                file.display()
            )
        });
        let zones: String = zones.collect();
        let text = format!(
            "options {{\n  directory \"{}\";\n  pid-file none;\n  session-keyfile none;\n  lock-file none;\n  \
             listen-on port {} {{ {}; }};\n  listen-on-v6 {{ none; }};\n  recursion no;\n  dnssec-validation no;\n  \
             notify no;\n  empty-zones-enable no;\n  allow-query {{ any; }};\n  allow-transfer {{ none; }};\n  \
             minimal-responses no-auth;\n  max-udp-size 1232;\n  cookie-algorithm siphash24;\n  \
             cookie-secret \"{COOKIE_KEY}\";\n  require-server-cookie yes;\n}};\ncontrols {{ }};\n{zones}",
            dir.display(),
            at.port(),
            at.ip()
        );
        fs::write(dir.join("named.conf"), text).unwrap();
        let mut command = place.command("named");
        command
            .args(["-g", "-n", "1", "-c"])
            .arg(dir.join("named.conf"));
        let mut process = Process::spawn("named", command, &dir.join("named.log")).unwrap();
        let is_ready = || {
            Ok(dig(place, at, &format!("{first} SOA +norec +noedns +tries=1")).contains("NOERROR"))
        };
        process.wait_ready(is_ready).unwrap();
        Self {
            at,
            _process: process,
        }
    }
}

/// Asks both the same, and fails if any answer differs.
pub(super) fn compare<'q>(
    client: &Place,
    ours: SocketAddr,
    theirs: SocketAddr,
    questions: impl Iterator<Item = &'q str>,
) {
    let mut different = Vec::new();
    for question in questions {
        let question = match question.contains("+rec") || question.contains("+cookie") {
            true => question.to_owned(),
            false => format!("{question} +norec +nocookie"),
        };
        let ours = dig(client, ours, &question);
        let theirs = dig(client, theirs, &question);
        assert!(
            !theirs.contains("no servers could be reached"),
            "{question}\n{theirs}"
        );
        if comparable(&ours) != comparable(&theirs) {
            different.push(format!(
                "=== {question}\n--- ours\n{ours}--- BIND\n{theirs}"
            ));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// Signs a zone the way operators do, away from the edge; with NSEC unless `options` say otherwise.
pub(super) fn sign(dir: &Path, apex: &str, text: &str, options: &[&str]) -> PathBuf {
    let zone = format!("{apex}.zone");
    fs::write(dir.join(&zone), format!("{text}\n")).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let key = ["-q", "-a", "ECDSAP256SHA256", "-n", "ZONE", apex];
    run("dnssec-keygen", &key);
    run("dnssec-keygen", &[&["-f", "KSK"], &key[..]].concat());
    let signed = format!("{apex}.signed");
    let usual = ["-q", "-S", "-o", apex, "-f", &signed, &zone];
    run("dnssec-signzone", &[options, &usual[..]].concat());
    dir.join(signed)
}
