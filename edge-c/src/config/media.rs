//! `[media]`: where media of calls is received inside, and where it may go.

use std::collections::BTreeSet;
use std::net::IpAddr;

use common::config::{Problem, Table, Value};
use common::limits;
use common::media::supply::Family;

use crate::media::Config;

/// `None` without `[media]`, and if something is wrong with it.
pub(super) fn read(table: &Table<'_>, is_sip: bool) -> Option<Config> {
    if !table.is_present() {
        return None;
    }
    let allowed = "an inside address of this machine, such as [\"10.0.0.5\"]";
    let listen = table.required_list("listen", allowed, address);
    let families: BTreeSet<Family> = listen.iter().map(|one| Family::of(*one)).collect();
    if families.len() < listen.len() {
        let why = "has several addresses of one family";
        table.refuse("listen", why, "one IPv4 and one IPv6 address at most");
    }
    let ports = table.or(
        "ports",
        limits::MEDIA_INNER_PORTS_DEFAULT,
        Value::port_range,
    );
    let allowed = "the networks of phones and media servers, such as [\"10.0.0.0/8\"]";
    let networks = table.required_list("networks", allowed, Value::ip_net);
    let silence_max = table.or("silence_timeout", limits::MEDIA_SILENCE_MAX, |value| {
        value.duration(&limits::MEDIA_SILENCE_RANGE)
    });
    if !is_sip {
        let why = "has no effect without [sip]";
        table.warn("listen", why, "add [sip], or leave [media] out");
    }
    Some(Config {
        listen,
        ports,
        networks,
        silence_max,
    })
}

fn address(value: &Value<'_>) -> Result<IpAddr, Problem> {
    let address = value.ip_addr()?;
    if address.is_unspecified() || address.is_multicast() {
        let allowed = "the very address that phones shall send to";
        return Err(Problem::invalid("is no address of one machine", allowed));
    }
    Ok(address)
}
