//! Writing an answer: sections in order, no longer than the client takes, OPT at the end whatever is left out.

use super::cookie::COOKIE_BYTES;
use super::query::Query;
use super::zone::{Place, Set, Stored, Zone};
use super::{Rcode, number};
use crate::limits;

/// An answer under construction.
pub(super) struct Writer<'o> {
    out: &'o mut Vec<u8>,
    /// The longest message, less the OPT record.
    room: usize,
    question_end: usize,
    answers: u16,
    authorities: u16,
    additionals: u16,
    is_truncated: bool,
}

/// What EDNS says in the answer.
pub(super) struct Opt {
    pub(super) rcode: Rcode,
    pub(super) dnssec_ok: bool,
    pub(super) cookie: Option<[u8; COOKIE_BYTES]>,
}

/// Which section records go into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Answer,
    Authority,
}

/// A pointer to the name of the question.
const POINTER_TO_QUESTION: [u8; 2] = [0xC0, 12];
const HEADER_BYTES: usize = 12;
pub(super) const TRUNCATED: u8 = 0x02;
const AUTHORITATIVE: u8 = 0x04;
const IS_ANSWER: u8 = 0x80;

impl Opt {
    pub(super) const fn len(&self) -> usize {
        match self.cookie {
            Some(_) => 11 + 4 + COOKIE_BYTES,
            None => 11,
        }
    }
}

impl<'o> Writer<'o> {
    /// Begins with the header and the question, if there is one.
    pub(super) fn new(out: &'o mut Vec<u8>, query: &Query<'_>, room: usize) -> Self {
        out.clear();
        out.extend_from_slice(&query.id.to_be_bytes());
        let recursion_desired = u8::from(query.recursion_desired);
        out.push(IS_ANSWER | (query.opcode << 3) | recursion_desired);
        let questions = u8::from(query.question.is_some());
        out.extend_from_slice(&[0, 0, questions, 0, 0, 0, 0, 0, 0]);
        if let Some(question) = query.question {
            out.extend_from_slice(question.bytes);
        }
        Self {
            question_end: out.len(),
            out,
            room,
            answers: 0,
            authorities: 0,
            additionals: 0,
            is_truncated: false,
        }
    }

    /// The set with the question's name.
    pub(super) fn answer(&mut self, set: &Set, dnssec_ok: bool) {
        self.set(Section::Answer, &POINTER_TO_QUESTION, set, dnssec_ok);
    }

    /// The set with another name.
    pub(super) fn set(&mut self, section: Section, owner: &[u8], set: &Set, dnssec_ok: bool) {
        let signatures = dnssec_ok.then_some(&set.signatures);
        // A name that was written once is pointed to.
        let pointer =
            pointer_to(self.out.len()).filter(|_| owner.len() > POINTER_TO_QUESTION.len());
        let again = pointer.as_ref().map_or(owner, <[u8; 2]>::as_slice);
        let records = set.records.iter().chain(signatures.into_iter().flatten());
        for (number, stored) in records.enumerate() {
            self.record(if number == 0 { owner } else { again }, stored);
            let count = match section {
                Section::Answer => &mut self.answers,
                Section::Authority => &mut self.authorities,
            };
            *count = count.saturating_add(1);
        }
    }

    /// The SOA record of a negative answer. Its owner is the end of the question's name, if the question is in the zone.
    pub(super) fn negative(&mut self, zone: &Zone, question_name: &[u8], dnssec_ok: bool) {
        let apex = zone.apex().wire();
        let at = question_name.len().checked_sub(apex.len());
        let pointer = at.and_then(|at| pointer_to(HEADER_BYTES.saturating_add(at)));
        let is_end = question_name.len() >= apex.len() && {
            let from = question_name.len().saturating_sub(apex.len());
            question_name
                .get(from..)
                .is_some_and(|end| end.eq_ignore_ascii_case(apex))
        };
        match pointer.filter(|_| is_end) {
            Some(pointer) => self.set(Section::Authority, &pointer, zone.negative(), dnssec_ok),
            None => self.set(Section::Authority, apex, zone.negative(), dnssec_ok),
        }
    }

    /// Addresses of the names that the set at the question's name leads to, as many as fit. Their owners are the names in
    /// the answer, which begins with that set.
    pub(super) fn addresses(&mut self, zone: &Zone, set: &Set, dnssec_ok: bool) {
        let mut at = self.question_end;
        for (number, stored) in set.records.iter().enumerate() {
            let tail_at = at.saturating_add(POINTER_TO_QUESTION.len());
            at = tail_at.saturating_add(stored.tail.len());
            let Some((target, offset)) = &stored.target else {
                continue;
            };
            // Several ports of one server need its addresses once.
            let mut before = set.records.iter().take(number);
            let is_repeated = before.any(|stored| {
                stored
                    .target
                    .as_ref()
                    .is_some_and(|(name, _)| name == target)
            });
            let node = match zone.place(target.wire()) {
                Place::Name(node) | Place::Wildcard(node) if !is_repeated => node,
                Place::Name(_) | Place::None | Place::Wildcard(_) => continue,
            };
            let pointer = pointer_to(tail_at.saturating_add(*offset));
            let owner = pointer
                .as_ref()
                .map_or_else(|| target.wire(), <[u8; 2]>::as_slice);
            for kind in [number::A, number::AAAA] {
                if let Some(addresses) = node.set(kind) {
                    self.additional(owner, addresses, dnssec_ok);
                }
            }
        }
    }

    /// All of a set or nothing of it: leaving it out is no truncation (RFC 2181 section 9).
    fn additional(&mut self, owner: &[u8], set: &Set, dnssec_ok: bool) {
        if self.out.len() > self.room {
            return;
        }
        let (len, count) = (self.out.len(), self.additionals);
        let signatures = dnssec_ok.then_some(&set.signatures);
        for stored in set.records.iter().chain(signatures.into_iter().flatten()) {
            self.record(owner, stored);
            self.additionals = self.additionals.saturating_add(1);
        }
        if self.out.len() > self.room {
            self.out.truncate(len);
            self.additionals = count;
        }
    }

    fn record(&mut self, owner: &[u8], stored: &Stored) {
        self.out.extend_from_slice(owner);
        self.out.extend_from_slice(&stored.tail);
    }

    /// Completes the message; `true` if it was truncated.
    pub(super) fn finish(
        mut self,
        rcode: Rcode,
        is_authoritative: bool,
        opt: Option<&Opt>,
    ) -> bool {
        if self.out.len() > self.room {
            self.out.truncate(self.question_end);
            (self.answers, self.authorities, self.additionals) = (0, 0, 0);
            self.is_truncated = true;
        }
        if let Some(opt) = opt {
            self.opt(opt);
        }
        let [_, low] = rcode.number().to_be_bytes();
        let flags = u8::from(is_authoritative)
            .saturating_mul(AUTHORITATIVE)
            .saturating_add(u8::from(self.is_truncated).saturating_mul(TRUNCATED));
        if let Some([_, _, upper, lower, _, _, counts @ ..]) =
            self.out.first_chunk_mut::<HEADER_BYTES>()
        {
            *upper |= flags;
            *lower = low & 0x0F;
            let all = [self.answers, self.authorities, self.additionals];
            for (place, count) in counts.as_chunks_mut::<2>().0.iter_mut().zip(all) {
                *place = count.to_be_bytes();
            }
        }
        self.is_truncated
    }

    /// RFC 6891 section 6.1.2.
    fn opt(&mut self, opt: &Opt) {
        let [kind1, kind2] = number::OPT.to_be_bytes();
        let [size1, size2] = limits::DNS_UDP_PAYLOAD_BYTES_MAX.to_be_bytes();
        let extended = u8::try_from(opt.rcode.number() >> 4).unwrap_or(0);
        let flags = u8::from(opt.dnssec_ok) << 7;
        let head = [0, kind1, kind2, size1, size2, extended, 0, flags, 0, 0];
        self.out.extend_from_slice(&head);
        match &opt.cookie {
            None => self.out.push(0),
            Some(cookie) => {
                let [code1, code2] = number::COOKIE.to_be_bytes();
                // COOKIE_BYTES and four octets more.
                self.out.extend_from_slice(&[28, code1, code2, 0, 24]);
                self.out.extend_from_slice(cookie);
            }
        }
        self.additionals = self.additionals.saturating_add(1);
    }

    pub(super) const fn question_end(&self) -> usize {
        self.question_end
    }
}

/// Pointers have 14 bits.
fn pointer_to(offset: usize) -> Option<[u8; 2]> {
    let offset = u16::try_from(offset)
        .ok()
        .filter(|offset| *offset < 0x4000)?;
    Some((offset | 0xC000).to_be_bytes())
}
