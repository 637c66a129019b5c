//! What a packet is answered with.

use std::net::IpAddr;

use super::cookie::{Checked, CookieKeys};
use super::query::{Query, Question};
use super::rate::Likeness;
use super::write::{Opt, Section, TRUNCATED, Writer};
use super::zone::{Node, Set, Zone};
use super::{Name, Rcode, name, number, proof};
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

/// What the question leads to.
enum Found<'z> {
    /// A set at the question's name.
    Set(&'z Set),
    /// A chain of other names, and where it ends.
    Chain(
        smallvec::SmallVec<[(&'z Name, &'z Set); 4]>,
        Option<Nothing<'z>>,
    ),
    Nothing(Nothing<'z>),
}

/// Nothing of the type at a name.
struct Nothing<'z> {
    name: NameOf<'z>,
    exists: bool,
}

/// The name that there is nothing at: the question's, or one that it leads to.
enum NameOf<'z> {
    Question,
    Target(&'z Name),
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
        let nothing = match self.find(lower, question.kind) {
            Found::Set(set) => {
                writer.answer(set, dnssec_ok);
                // What an alias leads to is for whoever asks for it.
                if question.kind != number::ANY && set.kind != number::CNAME {
                    writer.addresses(self, set, dnssec_ok);
                }
                return (Rcode::NoError, Outcome::Records);
            }
            Found::Chain(links, end) => {
                for (number, (owner, set)) in links.iter().enumerate() {
                    match number {
                        0 => writer.answer(set, dnssec_ok),
                        _ => writer.set(Section::Answer, owner.wire(), set, dnssec_ok),
                    }
                }
                match end {
                    None => return (Rcode::NoError, Outcome::Records),
                    Some(nothing) => nothing,
                }
            }
            Found::Nothing(nothing) => nothing,
        };
        let about = match nothing.name {
            NameOf::Question => lower,
            NameOf::Target(name) => name.wire(),
        };
        writer.negative(self, question.name, dnssec_ok);
        if dnssec_ok && !self.chain.is_empty() {
            let proof = if nothing.exists {
                proof::of_no_data(self, about)
            } else {
                proof::of_no_name(self, about)
            };
            for owner in proof {
                if let Some(set) = self
                    .node(owner.wire())
                    .and_then(|node| node.set(number::NSEC))
                {
                    writer.set(Section::Authority, owner.wire(), set, dnssec_ok);
                }
            }
        }
        if nothing.exists {
            (Rcode::NoError, Outcome::NoData)
        } else {
            (Rcode::NxDomain, Outcome::NxDomain)
        }
    }

    fn find(&self, name: &[u8], kind: u16) -> Found<'_> {
        let Some(node) = self.node(name) else {
            return Found::Nothing(Nothing {
                name: NameOf::Question,
                exists: false,
            });
        };
        match at_node(node, kind) {
            AtNode::Set(set) => Found::Set(set),
            AtNode::Nothing => Found::Nothing(Nothing {
                name: NameOf::Question,
                exists: true,
            }),
            AtNode::Alias(first, target) => self.follow(first, target, kind),
        }
    }

    /// RFC 1034 section 4.3.2 step 3a, as far as this zone goes.
    fn follow<'z>(&'z self, first: &'z Set, mut target: &'z Name, kind: u16) -> Found<'z> {
        let mut links: smallvec::SmallVec<[(&Name, &Set); 4]> =
            smallvec::smallvec![(self.apex(), first)];
        while links.len() < limits::DNS_ALIASES_MAX && target.is_within(self.apex()) {
            let nothing = |exists| Nothing {
                name: NameOf::Target(target),
                exists,
            };
            let Some(node) = self.node(target.wire()) else {
                return Found::Chain(links, Some(nothing(false)));
            };
            match at_node(node, kind) {
                AtNode::Set(set) => {
                    links.push((target, set));
                    break;
                }
                AtNode::Nothing => return Found::Chain(links, Some(nothing(true))),
                AtNode::Alias(set, next) => {
                    links.push((target, set));
                    target = next;
                }
            }
        }
        Found::Chain(links, None)
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
