//! Three zones of the network with a packet filter before the innermost, as namespaces.
//!
//! ```text
//!  client ----------- dmz ------------ filter ----------- inside
//!   .100-.103   .11 .12  .11 .12      .1    .1        .20 .21 .31 ..
//!  203.0.113.0/24        10.9.0.0/24          10.9.1.0/24
//!  2001:db8:a::/64       fd00:9:0::/64        fd00:9:1::/64
//! ```
//!
//! Phones get networks of their own behind these: [`Zones::add_home`], [`Zones::add_desk`].
//!
//! The filter lets no packet open a connection from the DMZ to the inside: it forwards only what
//! belongs to a connection that the inside opened, and counts the rest. The client has no route
//! to anything but the DMZ's public addresses. Needs root.

mod spoke;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::place::Place;

pub use spoke::{Desk, Home};

/// The namespaces of one test. Gone when dropped.
#[derive(Debug)]
pub struct Zones {
    prefix: String,
}

/// What the filter has counted from the DMZ towards the inside, in packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// TCP over IPv4 that tried to open a connection.
    pub tcp_v4: u64,
    /// TCP over IPv6 that tried to open a connection.
    pub tcp_v6: u64,
    /// Anything else that belongs to no connection.
    pub other: u64,
}

impl Zones {
    /// Makes the namespaces, addresses, routes and the filter.
    pub fn new() -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "network namespaces need root"
        );
        remove_abandoned()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let zones = Self {
            prefix: format!("{PREFIX}{}-{number}-", std::process::id()),
        };
        for zone in ["client", "dmz", "filter", "inside"] {
            ip(&["netns", "add", &zones.name(zone)])?;
            zones.ip_in(zone, &["link", "set", "lo", "up"])?;
            // Addresses are usable at once: nobody else could have them.
            for scope in ["all", "default"] {
                let setting = format!("net.ipv6.conf.{scope}.accept_dad=0");
                zones.run_in(zone, "sysctl", &["-q", "-w", &setting])?;
            }
        }
        zones.connect(("client", "public0"), ("dmz", "public0"))?;
        zones.connect(("dmz", "link0"), ("filter", "dmz0"))?;
        zones.connect(("filter", "inside0"), ("inside", "inside0"))?;
        zones.assign_addresses()?;
        for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            zones.run_in("filter", "sysctl", &["-q", "-w", &format!("{key}=1")])?;
        }
        zones.add_routes()?;
        zones.load_filter()?;
        Ok(zones)
    }

    /// Where clients live.
    #[must_use]
    pub fn client(&self) -> Place {
        self.place("client")
    }

    /// Where edge-e lives.
    #[must_use]
    pub fn dmz(&self) -> Place {
        self.place("dmz")
    }

    /// Where edge-c and the inner servers live.
    #[must_use]
    pub fn inside(&self) -> Place {
        self.place("inside")
    }

    /// What the filter has refused so far.
    pub fn refused(&self) -> Result<Refused> {
        let mut list = self.place("filter").command("nft");
        list.args(["--json", "list", "counters", "table", "inet", "zones"]);
        let output = run(list)?;
        let counters: Listing = serde_json::from_str(&output)?;
        let packets = |name: &str| {
            counters
                .nftables
                .iter()
                .filter_map(|entry| entry.counter.as_ref())
                .find(|counter| counter.name == name)
                .map(|counter| counter.packets)
                .with_context(|| format!("nft has no counter {name}: {output}"))
        };
        Ok(Refused {
            tcp_v4: packets("tcp_v4")?,
            tcp_v6: packets("tcp_v6")?,
            other: packets("other")?,
        })
    }

    /// Fails if anything has tried to open a connection from the DMZ to the inside.
    pub fn assert_nothing_refused(&self) -> Result<()> {
        let refused = self.refused()?;
        ensure!(
            refused == Refused::default(),
            "something in the DMZ called inside: {refused:?}"
        );
        Ok(())
    }

    /// Drops everything between the DMZ and the inside without a reset, as a dead cable does.
    pub fn cut_link(&self) -> Result<()> {
        let chain = "{ type filter hook forward priority filter - 10; policy drop; }";
        self.run_in(
            "filter",
            "nft",
            &["add", "chain", "inet", "zones", "cut", chain],
        )
    }

    /// Drops the datagrams of the link from now on, as a firewall does that knows only of its TCP.
    pub fn block_trunk(&self) -> Result<()> {
        let rule = ["udp", "dport", "7001", "drop"];
        let arguments = [&["insert", "rule", "inet", "zones", "forward"][..], &rule].concat();
        self.run_in("filter", "nft", &arguments)
    }

    /// Mends what [`cut_link`](Self::cut_link) cut.
    pub fn mend_link(&self) -> Result<()> {
        self.run_in(
            "filter",
            "nft",
            &["delete", "chain", "inet", "zones", "cut"],
        )
    }

    fn place(&self, zone: &str) -> Place {
        Place::Namespace(self.name(zone))
    }

    fn name(&self, zone: &str) -> String {
        format!("{}{zone}", self.prefix)
    }

    fn connect(&self, left: (&str, &str), right: (&str, &str)) -> Result<()> {
        let (left_zone, left_device) = left;
        let (right_zone, right_device) = right;
        self.ip_in(
            left_zone,
            &[
                "link",
                "add",
                left_device,
                "type",
                "veth",
                "peer",
                "name",
                right_device,
                "netns",
                &self.name(right_zone),
            ],
        )?;
        self.ip_in(left_zone, &["link", "set", left_device, "up"])?;
        self.ip_in(right_zone, &["link", "set", right_device, "up"])
    }

    fn assign_addresses(&self) -> Result<()> {
        for number in CLIENTS {
            self.assign("client", "public0", public(number))?;
        }
        for number in EDGES {
            self.assign("dmz", "public0", public(number))?;
            self.assign("dmz", "link0", link(number))?;
        }
        self.assign("filter", "dmz0", link(ROUTER))?;
        self.assign("filter", "inside0", inside(ROUTER))?;
        for number in INSIDE {
            self.assign("inside", "inside0", inside(number))?;
        }
        Ok(())
    }

    fn assign(&self, zone: &str, device: &str, addresses: [IpAddr; 2]) -> Result<()> {
        for address in addresses {
            let length = if address.is_ipv4() { 24 } else { 64 };
            let address = format!("{address}/{length}");
            self.ip_in(zone, &["address", "add", &address, "dev", device])?;
        }
        Ok(())
    }

    fn add_routes(&self) -> Result<()> {
        for (zone, routers) in [("dmz", link(ROUTER)), ("inside", inside(ROUTER))] {
            for router in routers {
                let family = if router.is_ipv4() { "-4" } else { "-6" };
                let router = router.to_string();
                self.ip_in(zone, &[family, "route", "add", "default", "via", &router])?;
            }
        }
        Ok(())
    }

    fn load_filter(&self) -> Result<()> {
        load_rules(&self.place("filter"), &self.name("filter"), FILTER)
    }

    fn ip_in(&self, zone: &str, arguments: &[&str]) -> Result<()> {
        let name = self.name(zone);
        let mut all = vec!["-n", name.as_str()];
        all.extend_from_slice(arguments);
        ip(&all)
    }

    fn run_in(&self, zone: &str, program: &str, arguments: &[&str]) -> Result<()> {
        let mut command = self.place(zone).command(program);
        command.args(arguments);
        run(command).map(drop)
    }
}

impl Drop for Zones {
    fn drop(&mut self) {
        for zone in ["client", "dmz", "filter", "inside"] {
            // Nothing to be done if it fails; the next run removes what is left.
            drop(ip(&["netns", "delete", &self.name(zone)]));
        }
    }
}

#[derive(Debug, Deserialize)]
struct Listing {
    nftables: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    counter: Option<Counter>,
}

#[derive(Debug, Deserialize)]
struct Counter {
    name: String,
    packets: u64,
}

/// The public addresses with that last number: clients from 100, edges from 11.
#[must_use]
pub fn public(number: u8) -> [IpAddr; 2] {
    both(
        Ipv4Addr::new(203, 0, 113, number),
        Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, bcd(number)),
    )
}

/// The addresses between DMZ and filter with that last number: edges from 11.
#[must_use]
pub fn link(number: u8) -> [IpAddr; 2] {
    both(
        Ipv4Addr::new(10, 9, 0, number),
        Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, bcd(number)),
    )
}

/// The inside addresses with that last number: edge-c from 20, UCM from 31, see [`INSIDE`].
#[must_use]
pub fn inside(number: u8) -> [IpAddr; 2] {
    both(
        Ipv4Addr::new(10, 9, 1, number),
        Ipv6Addr::new(0xfd00, 9, 1, 0, 0, 0, 0, bcd(number)),
    )
}

fn both(v4: Ipv4Addr, v6: Ipv6Addr) -> [IpAddr; 2] {
    [v4.into(), v6.into()]
}

/// The number whose hexadecimal digits read like the decimal ones, so that `.31` is also `::31`.
fn bcd(number: u8) -> u16 {
    let number = u16::from(number);
    (number / 100) << 8 | (number / 10 % 10) << 4 | (number % 10)
}

/// Removes what test processes that were killed have left.
fn remove_abandoned() -> Result<()> {
    let Ok(entries) = fs::read_dir("/run/netns") else {
        return Ok(());
    };
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|n| n.split_once('-'));
        let Some((pid, _)) = owner.filter(|(pid, _)| pid.parse::<u32>().is_ok()) else {
            continue;
        };
        if !Path::new("/proc").join(pid).exists() {
            // Another test may have removed it just now.
            drop(ip(&["netns", "delete", &name]));
        }
    }
    Ok(())
}

/// Gives a zone's packet filter these rules, all or none.
fn load_rules(place: &Place, name: &str, rules: &str) -> Result<()> {
    let file = std::env::temp_dir().join(format!("{name}.nft"));
    fs::write(&file, rules)?;
    let mut load = place.command("nft");
    load.arg("-f").arg(&file);
    let outcome = run(load).map(drop);
    fs::remove_file(&file)?;
    outcome
}

fn ip(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(arguments);
    run(command).map(drop)
}

fn run(mut command: Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("Failed to run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

static NEXT: AtomicU32 = AtomicU32::new(1);

const PREFIX: &str = "edgetest";
const CLIENTS: [u8; 4] = [100, 101, 102, 103];
const EDGES: [u8; 2] = [11, 12];
const ROUTER: u8 = 1;
/// 20, 21 edge-c; 31 to 34 UCM; 41 to 43 IM and Presence; 51 Unity; 53 DNS; 60 the session store; 61, 62 SIP registrars; 80 photos.
const INSIDE: [u8; 15] = [20, 21, 31, 32, 33, 34, 41, 42, 43, 51, 53, 60, 61, 62, 80];

const FILTER: &str = r#"
table inet zones {
  counter tcp_v4 { }
  counter tcp_v6 { }
  counter other { }
  chain forward {
    type filter hook forward priority filter; policy drop;
    iifname "inside0" oifname "dmz0" accept
    iifname "dmz0" oifname "inside0" jump from_dmz
  }
  chain from_dmz {
    ct state established accept
    ct state related meta l4proto { icmp, ipv6-icmp } accept
    meta nfproto ipv4 meta l4proto tcp counter name tcp_v4 drop
    meta nfproto ipv6 meta l4proto tcp counter name tcp_v6 drop
    counter name other drop
  }
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_read_alike() {
        assert_eq!(inside(31)[1].to_string(), "fd00:9:1::31");
        assert_eq!(public(103)[1].to_string(), "2001:db8:a::103");
    }
}
