//! What a packet is answered with.

use std::net::IpAddr;

use super::cookie::{Checked, CookieKeys};
use super::proof::{Missing, Proof};
use super::query::{Query, Question};
use super::rate::Likeness;
use super::write::{Opt, Section, TRUNCATED, Writer};
use super::zone::{Node, Place, Set, Zone};
use super::{Name, Rcode, name, number};
use crate::limits;
use crate::time::UnixTime;

/// Answers questions about the zones it has.
#[derive(Clone, Debug)]
pub struct Responder {
    /// The longest names first.
    zones: Vec<Zone>,
    cookies: CookieKeys,
}

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// With a connection behind it.
    Tcp,
    /// Maybe from somebody else than it says.
    Udp,
}

/// Who asks, and when.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The address of the client.
    pub client: IpAddr,
    /// How the query came.
    pub transport: Transport,
    /// The clock that cookies carry.
    pub now: UnixTime,
}

/// What a query came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The query can't be read, or has a version of EDNS that is not known.
    Malformed,
    /// The name exists without such a record.
    NoData,
    /// The name does not exist.
    NxDomain,
    /// Records.
    Records,
    /// Not for this server, not for anybody, or not implemented.
    Refused,
}

/// An answer, and what is to be known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// What it says.
    pub rcode: Rcode,
    /// The same in fewer words.
    pub outcome: Outcome,
    /// Whether the client has proved that it is at its address.
    pub has_cookie: bool,
    /// Whether records were left out.
    pub is_truncated: bool,
    /// The name of the question in lower case, and its type.
    pub question: Option<(smallvec::SmallVec<[u8; 64]>, u16)>,
    /// Where the sections begin.
    pub question_end: usize,
    /// The length of the OPT record at the end.
    pub opt_bytes: usize,
}

impl Answered {
    /// What it is counted with.
    #[must_use]
    pub fn likeness(&self) -> Likeness<'_> {
        match (self.outcome, &self.question) {
            (Outcome::Records, Some((name, kind))) => Likeness::Records(name, *kind),
            (Outcome::NoData, _) => Likeness::NoData,
            (Outcome::NxDomain, _) => Likeness::NxDomain,
            (Outcome::Malformed | Outcome::Refused | Outcome::Records, _) => Likeness::Refusal,
        }
    }
}

/// Takes every record out of an answer and says so in it.
pub fn truncate(answer: &mut Vec<u8>, answered: &Answered) {
    let opt_at = answer.len().saturating_sub(answered.opt_bytes);
    if answered.question_end < opt_at {
        answer.drain(answered.question_end..opt_at);
    }
    if let Some(flags) = answer.get_mut(2) {
        *flags |= TRUNCATED;
    }
    let additionals = u16::from(answered.opt_bytes > 0).to_be_bytes();
    if let Some(counts) = answer.get_mut(6..12) {
        counts.copy_from_slice(&[0, 0, 0, 0, additionals[0], additionals[1]]);
    }
}

/// Where a question leads, step by step (RFC 1034 section 4.3.2).
#[derive(Default)]
struct Walk<'a> {
    /// The names on the way, and what is there: of all but the last a CNAME.
    sets: smallvec::SmallVec<[(&'a [u8], &'a Set); 4]>,
    /// Those of them that a wildcard stood for.
    expanded: smallvec::SmallVec<[&'a [u8]; 2]>,
    /// The name where there is nothing, if the way ends so.
    nothing: Option<(&'a [u8], Missing)>,
}

impl Responder {
    /// Serves `zones`; cookies are made and checked with `cookies`.
    #[must_use]
    pub fn new(mut zones: Vec<Zone>, cookies: CookieKeys) -> Self {
        zones.sort_by_key(|zone| std::cmp::Reverse(zone.apex().wire().len()));
        Self { zones, cookies }
    }

    /// The zones, longest names first.
    #[must_use]
    pub fn zones(&self) -> &[Zone] {
        &self.zones
    }

    /// Writes the answer to `packet` into `out`; `None` if it gets none.
    pub fn answer(&self, packet: &[u8], asked: &Asked, out: &mut Vec<u8>) -> Option<Answered> {
        let query = Query::read(packet).ok()?;
        let edns = query.edns.as_ref();
        let cookie = edns.and_then(|edns| edns.cookie);
        let cookie = cookie.and_then(|value| self.cookies.check(value, asked.client, asked.now));
        let mut opt = edns.map(|edns| Opt {
            rcode: Rcode::NoError,
            dnssec_ok: edns.dnssec_ok,
            cookie: cookie.map(|checked| checked.reply),
        });
        let opt_bytes = opt.as_ref().map_or(0, Opt::len);
        let room = room(&query, asked.transport).saturating_sub(opt_bytes);
        let mut writer = Writer::new(out, &query, room);
        let question_end = writer.question_end();
        let mut lower = smallvec::SmallVec::<[u8; 64]>::new();
        let (rcode, outcome) = match self.check(&query) {
            Err(rcode) => (rcode, refusal(rcode)),
            // Only a cookie was asked for.
            Ok(None) => (Rcode::NoError, Outcome::NoData),
            Ok(Some((zone, question))) => {
                lower.extend_from_slice(question.name);
                lower.make_ascii_lowercase();
                let dnssec_ok = edns.is_some_and(|edns| edns.dnssec_ok);
                zone.write(&question, &lower, dnssec_ok, &mut writer)
            }
        };
        if let Some(opt) = &mut opt {
            opt.rcode = rcode;
        }
        let is_authoritative =
            matches!(rcode, Rcode::NoError | Rcode::NxDomain) && !lower.is_empty();
        let is_truncated = writer.finish(rcode, is_authoritative, opt.as_ref());
        Some(Answered {
            rcode,
            outcome,
            has_cookie: cookie.is_some_and(|Checked { is_valid, .. }| is_valid),
            is_truncated,
            question: query.question.map(|question| (lower, question.kind)),
            question_end,
            opt_bytes,
        })
    }

    /// The zone that a question is for.
    fn check<'q>(&self, query: &Query<'q>) -> Result<Option<(&Zone, Question<'q>)>, Rcode> {
        if query.edns.is_some_and(|edns| edns.version > 0) {
            return Err(Rcode::BadVersion);
        }
        if let Some(fault) = query.fault {
            return Err(fault);
        }
        let Some(question) = query.question else {
            return Ok(None);
        };
        match question.kind {
            // Types of transactions and of EDNS are never asked for (RFC 6895 section 3.1).
            number::OPT | 249 | 250 => return Err(Rcode::FormErr),
            253 | 254 => return Err(Rcode::NotImp),
            number::AXFR | number::IXFR => return Err(Rcode::Refused),
            _ => {}
        }
        if question.class != number::IN {
            return Err(Rcode::Refused);
        }
        let mut lower = smallvec::SmallVec::<[u8; 64]>::from_slice(question.name);
        lower.make_ascii_lowercase();
        let zone = self
            .zones
            .iter()
            .find(|zone| name::is_within(&lower, zone.apex().wire()));
        zone.map(|zone| Some((zone, question)))
            .ok_or(Rcode::Refused)
    }
}

fn refusal(rcode: Rcode) -> Outcome {
    match rcode {
        Rcode::BadVersion | Rcode::FormErr => Outcome::Malformed,
        Rcode::NoError | Rcode::NotImp | Rcode::NxDomain | Rcode::Refused => Outcome::Refused,
    }
}

/// The longest answer that the client takes.
fn room(query: &Query<'_>, transport: Transport) -> usize {
    let udp = || {
        let offered = query.edns.map_or(0, |edns| edns.payload_bytes);
        let clamped = offered.clamp(
            limits::DNS_UDP_BYTES_WITHOUT_EDNS,
            limits::DNS_UDP_PAYLOAD_BYTES_MAX,
        );
        usize::from(clamped)
    };
    match transport {
        Transport::Tcp => usize::from(u16::MAX),
        Transport::Udp => udp(),
    }
}

impl Zone {
    /// Writes the answer about a name in lower case.
    fn write(
        &self,
        question: &Question<'_>,
        lower: &[u8],
        dnssec_ok: bool,
        writer: &mut Writer<'_>,
    ) -> (Rcode, Outcome) {
        let walk = self.walk(lower, question.kind);
        for (number, (owner, set)) in walk.sets.iter().enumerate() {
            match number {
                0 => writer.answer(set, dnssec_ok),
                _ => writer.set(Section::Answer, owner, set, dnssec_ok),
            }
        }
        if walk.nothing.is_some() {
            writer.negative(self, question.name, dnssec_ok);
        }
        if dnssec_ok {
            for (owner, set) in walk.proof(self).records() {
                writer.set(Section::Authority, owner.wire(), set, dnssec_ok);
            }
        }
        match walk.nothing {
            Some((_, Missing::Name)) => (Rcode::NxDomain, Outcome::NxDomain),
            Some((_, Missing::Type | Missing::TypeOfWildcard)) => (Rcode::NoError, Outcome::NoData),
            None => {
                // What an alias leads to is for whoever asks for it.
                if let ([(_, set)], true) = (&walk.sets[..], question.kind != number::ANY)
                    && set.kind != number::CNAME
                {
                    writer.addresses(self, set, dnssec_ok);
                }
                (Rcode::NoError, Outcome::Records)
            }
        }
    }

    /// As far as this zone goes.
    fn walk<'a>(&'a self, question: &'a [u8], kind: u16) -> Walk<'a> {
        let mut walk = Walk::default();
        let mut name = question;
        while walk.sets.len() < limits::DNS_ALIASES_MAX {
            let (node, is_expanded) = match self.place(name) {
                Place::Name(node) => (node, false),
                Place::Wildcard(node) => (node, true),
                Place::None => {
                    walk.nothing = Some((name, Missing::Name));
                    break;
                }
            };
            let (set, target) = match at_node(node, kind) {
                AtNode::Alias(set, target) => (set, Some(target)),
                AtNode::Nothing => {
                    let missing = if is_expanded {
                        Missing::TypeOfWildcard
                    } else {
                        Missing::Type
                    };
                    walk.nothing = Some((name, missing));
                    break;
                }
                AtNode::Set(set) => (set, None),
            };
            walk.sets.push((name, set));
            if is_expanded {
                walk.expanded.push(name);
            }
            match target.filter(|target| target.is_within(self.apex())) {
                Some(target) => name = target.wire(),
                None => break,
            }
        }
        walk
    }
}

impl Walk<'_> {
    fn proof<'z>(&self, zone: &'z Zone) -> Proof<'z> {
        let mut proof = Proof::default();
        for name in &self.expanded {
            proof.add_expanded(zone, name);
        }
        if let Some((name, missing)) = self.nothing {
            proof.add_missing(zone, name, missing);
        }
        proof
    }
}

/// What a name has of a type.
enum AtNode<'z> {
    Alias(&'z Set, &'z Name),
    Nothing,
    Set(&'z Set),
}

fn at_node(node: &Node, kind: u16) -> AtNode<'_> {
    let set = match kind {
        number::ANY => node.any(),
        _ => node.set(kind),
    };
    if let Some(set) = set {
        return AtNode::Set(set);
    }
    let alias = node
        .set(number::CNAME)
        .filter(|_| kind != number::NSEC && kind != number::RRSIG);
    let target = alias.and_then(|set| set.records.first()?.target.as_ref());
    match (alias, target) {
        (Some(set), Some((target, _))) => AtNode::Alias(set, target),
        (_, _) => AtNode::Nothing,
    }
}

#[cfg(test)]
mod tests;
