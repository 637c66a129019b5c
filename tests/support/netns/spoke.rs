//! Networks of single devices behind the zones: a home behind its NAT, a desk phone behind the router inside.
//!
//! Every phone needs an address of its own, and leaves from it: programs that bind no address for what they send would
//! all leave from the first address of a zone.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;

use super::{Zones, ip, load_rules, public};
use crate::place::Place;

/// A network behind a NAT in the client's zone, with one device in it. Gone when dropped.
#[derive(Debug)]
pub struct Home {
    number: u8,
    name: String,
    router: Place,
}

/// A device with an address inside. Gone when dropped.
#[derive(Debug)]
pub struct Desk {
    number: u8,
    name: String,
}

impl Zones {
    /// A home whose NAT has the public IPv4 address with that last number, from 110 on.
    pub fn add_home(&self, number: u8) -> Result<Home> {
        let home = Home {
            number,
            name: self.name(&format!("home{number}")),
            router: self.client(),
        };
        let (device, [address, _]) = (format!("home{number}"), public(number));
        self.add_spoke("client", &home.name, &device)?;
        self.ip_in(
            "client",
            &[
                "address",
                "add",
                &format!("192.168.{number}.1/24"),
                "dev",
                &device,
            ],
        )?;
        self.ip_in(
            "client",
            &["address", "add", &format!("{address}/24"), "dev", "public0"],
        )?;
        let own = format!("{}/24", home.address());
        ip(&["-n", &home.name, "address", "add", &own, "dev", "lan0"])?;
        let router = format!("192.168.{number}.1");
        ip(&["-n", &home.name, "route", "add", "default", "via", &router])?;
        home.translate(number)?;
        Ok(home)
    }

    /// A device with the inside IPv4 address of that last number, from 70 on.
    pub fn add_desk(&self, number: u8) -> Result<Desk> {
        let desk = Desk {
            number,
            name: self.name(&format!("desk{number}")),
        };
        let device = format!("desk{number}");
        self.add_spoke("inside", &desk.name, &device)?;
        let own = format!("{}/32", desk.address());
        self.ip_in("inside", &["route", "add", &own, "dev", &device])?;
        ip(&["-n", &desk.name, "address", "add", &own, "dev", "lan0"])?;
        let router = super::inside(EDGE_C)[0].to_string();
        ip(&["-n", &desk.name, "route", "add", &router, "dev", "lan0"])?;
        ip(&["-n", &desk.name, "route", "add", "default", "via", &router])?;
        Ok(desk)
    }

    /// Lets the DMZ open TCP connections to that address inside: for a foreign edge that dials inwards, which the pair
    /// never does.
    pub fn admit_from_dmz(&self, address: IpAddr) -> Result<()> {
        let rule = ["insert", "rule", "inet", "zones", "from_dmz", "ip", "daddr"];
        let address = address.to_string();
        let rule: Vec<&str> = rule
            .into_iter()
            .chain([address.as_str(), "accept"])
            .collect();
        self.run_in("filter", "nft", &rule)
    }

    /// A namespace on the end of a cable to `zone`, where the cable's end is `device`.
    fn add_spoke(&self, zone: &str, name: &str, device: &str) -> Result<()> {
        self.run_in(zone, "sysctl", &["-q", "-w", "net.ipv4.ip_forward=1"])?;
        ip(&["netns", "add", name])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        let cable = [
            "link", "add", device, "type", "veth", "peer", "name", "lan0", "netns", name,
        ];
        self.ip_in(zone, &cable)?;
        self.ip_in(zone, &["link", "set", device, "up"])?;
        ip(&["-n", name, "link", "set", "lan0", "up"])
    }
}

impl Home {
    /// Where the device runs.
    #[must_use]
    pub fn place(&self) -> Place {
        Place::Namespace(self.name.clone())
    }

    /// Its private address, which nobody outside the home can reach.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        Ipv4Addr::new(192, 168, self.number, 2).into()
    }

    /// The public address that others see at the start.
    #[must_use]
    pub fn public(&self) -> IpAddr {
        let [address, _] = public(self.number);
        address
    }

    /// Pulls the cable out, or puts it back: nobody is told.
    pub fn set_plugged(&self, is_plugged: bool) -> Result<()> {
        let state = if is_plugged { "up" } else { "down" };
        ip(&["-n", &self.name, "link", "set", "lan0", state])?;
        if !is_plugged {
            return Ok(());
        }
        // Routes go with the cable.
        let router = format!("192.168.{}.1", self.number);
        ip(&["-n", &self.name, "route", "add", "default", "via", &router])
    }

    /// From now on the NAT gives datagrams another public address, that of the client's zone with that last number;
    /// TCP connections keep theirs. What a NAT does that has forgotten its mappings.
    pub fn move_datagrams(&self, number: u8) -> Result<()> {
        self.translate(number)
    }

    /// One to one, without state: a change counts for connections under way, too.
    fn translate(&self, datagrams: u8) -> Result<()> {
        let (own, table) = (self.address(), format!("home{}", self.number));
        let (tcp, [udp, _]) = (self.public(), public(datagrams));
        load_rules(
            &self.router,
            &self.name,
            &format!(
                "table ip {table}\ndelete table ip {table}\ntable ip {table} {{\n\
                 chain out {{\n type filter hook postrouting priority 300\n\
                 oifname \"public0\" ip saddr {own} meta l4proto udp ip saddr set {udp}\n\
                 oifname \"public0\" ip saddr {own} ip saddr set {tcp}\n}}\n\
                 chain in {{\n type filter hook prerouting priority -300\n\
                 iifname \"public0\" ip daddr {udp} meta l4proto udp ip daddr set {own}\n\
                 iifname \"public0\" ip daddr {tcp} meta l4proto != udp ip daddr set {own}\n}}\n}}\n"
            ),
        )
    }
}

impl Desk {
    /// Where the device runs.
    #[must_use]
    pub fn place(&self) -> Place {
        Place::Namespace(self.name.clone())
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        let [address, _] = super::inside(self.number);
        address
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Nothing to be done if it fails; the next run removes what is left.
        drop(ip(&["netns", "delete", &self.name]));
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        drop(ip(&["netns", "delete", &self.name]));
    }
}

/// The router of desk phones: the zone's own first address.
const EDGE_C: u8 = 20;
