//! Reading a query: the header, one question, and what EDNS says. Strict, and without a single allocation.

use super::number;
use super::{Rcode, name};
use crate::limits;
use crate::wire::{Reader, Truncated};

/// A query, or as much of it as could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// Comes back in the answer.
    pub id: u16,
    /// What is asked for; 0 for a question.
    pub opcode: u8,
    /// Comes back in the answer.
    pub recursion_desired: bool,
    /// The question, if there is just one and it can be read.
    pub question: Option<Question<'a>>,
    /// What EDNS says, if the query has it.
    pub edns: Option<Edns<'a>>,
    /// Why it can't be answered.
    pub fault: Option<Rcode>,
}

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<'a> {
    /// The name in wire form, in the letter case of the query.
    pub name: &'a [u8],
    /// The type of record.
    pub kind: u16,
    /// The class.
    pub class: u16,
    /// All of it, as it stands in the packet.
    pub bytes: &'a [u8],
}

/// What the OPT record says (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns<'a> {
    /// The longest answer over UDP that the client takes.
    pub payload_bytes: u16,
    /// 0 is known here.
    pub version: u8,
    /// Whether signatures are wanted.
    pub dnssec_ok: bool,
    /// The cookie option: 8 octets of the client's, and up to 32 of a server's.
    pub cookie: Option<&'a [u8]>,
}

/// The packet is no query, or not even a header: nobody gets an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no query")]
pub struct NoQuery;

/// What makes a query malformed.
struct Malformed;

impl From<Truncated> for Malformed {
    fn from(_: Truncated) -> Self {
        Self
    }
}

impl<'a> Query<'a> {
    /// Reads a packet.
    ///
    /// # Errors
    /// [`NoQuery`] if answering it could make two servers talk to each other for ever.
    pub fn read(packet: &'a [u8]) -> Result<Self, NoQuery> {
        let mut reader = Reader::new(packet);
        let [id1, id2, upper, _, counts @ ..] = reader.array::<12>().map_err(|_| NoQuery)?;
        // RFC 8906 section 8: QR is set in answers only.
        if upper & 0x80 != 0 {
            return Err(NoQuery);
        }
        let opcode = (upper >> 3) & 0x0F;
        let mut query = Self {
            id: u16::from_be_bytes([id1, id2]),
            opcode,
            recursion_desired: upper & 1 != 0,
            question: None,
            edns: None,
            fault: None,
        };
        let [q1, q2, rest @ ..] = counts;
        let questions = u16::from_be_bytes([q1, q2]);
        let records = rest.as_chunks().0;
        if opcode != 0 {
            query.fault = Some(Rcode::NotImp);
        }
        if query.body(&mut reader, questions, records).is_err() {
            query.fault.get_or_insert(Rcode::FormErr);
        }
        // Of another kind of request only EDNS is understood.
        if opcode != 0 {
            query.question = None;
        }
        Ok(query)
    }

    fn body(
        &mut self,
        reader: &mut Reader<'a>,
        questions: u16,
        records: &[[u8; 2]],
    ) -> Result<(), Malformed> {
        if questions > 1 {
            return Err(Malformed);
        }
        if questions == 1 {
            self.question = Some(question(reader)?);
        }
        let mut records = records.iter().map(|count| u16::from_be_bytes(*count));
        let (answers, authorities) = (records.next().unwrap_or(0), records.next().unwrap_or(0));
        let others = u32::from(answers).saturating_add(u32::from(authorities));
        // Of every record at least 11 octets are there, so that the loops end with the packet.
        for _ in 0..others {
            record(reader)?;
        }
        for _ in 0..records.next().unwrap_or(0) {
            let record = record(reader)?;
            if record.kind != number::OPT {
                continue;
            }
            // RFC 6891 section 6.1.1: one of them at most, at the root.
            if self.edns.is_some() || !record.is_of_root {
                return Err(Malformed);
            }
            self.edns = Some(Edns::bare(&record));
            self.edns = Some(Edns::read(&record)?);
        }
        // RFC 7873 section 5.4: a query without a question asks for a cookie.
        let has_cookie = self.edns.is_some_and(|edns| edns.cookie.is_some());
        if reader.clone().all().is_empty() && (questions == 1 || has_cookie) {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}

fn question<'a>(reader: &mut Reader<'a>) -> Result<Question<'a>, Malformed> {
    let rest = reader.clone().all();
    let len = name::length(rest).map_err(|_| Malformed)?;
    let name = reader.slice(len)?;
    let (kind, class) = (u16_of(reader)?, u16_of(reader)?);
    let bytes = rest.get(..len.saturating_add(4)).ok_or(Malformed)?;
    Ok(Question {
        name,
        kind,
        class,
        bytes,
    })
}

/// A record of a query; only OPT is looked at.
struct Record<'a> {
    is_of_root: bool,
    kind: u16,
    class: u16,
    ttl: u32,
    rdata: &'a [u8],
}

fn record<'a>(reader: &mut Reader<'a>) -> Result<Record<'a>, Malformed> {
    let is_of_root = skip_name(reader)?;
    let (kind, class) = (u16_of(reader)?, u16_of(reader)?);
    let ttl = reader.u32()?;
    let len = u16_of(reader)?;
    let rdata = reader.slice(usize::from(len))?;
    Ok(Record {
        is_of_root,
        kind,
        class,
        ttl,
        rdata,
    })
}

/// Goes past a name, whose pointers are not followed; whether it is the root's.
fn skip_name(reader: &mut Reader<'_>) -> Result<bool, Malformed> {
    let mut octets = 0_usize;
    loop {
        let len = usize::from(reader.u8()?);
        match len {
            0 => return Ok(octets == 0),
            0xC0.. => {
                reader.u8()?;
                return Ok(false);
            }
            1..=limits::DNS_LABEL_BYTES_MAX => {
                reader.slice(len)?;
                octets = octets.saturating_add(len).saturating_add(1);
                if octets >= limits::DNS_WIRE_NAME_BYTES_MAX {
                    return Err(Malformed);
                }
            }
            _ => return Err(Malformed),
        }
    }
}

impl<'a> Edns<'a> {
    /// Without the options.
    const fn bare(record: &Record<'a>) -> Self {
        let [_, version, flags, _] = record.ttl.to_be_bytes();
        Self {
            payload_bytes: record.class,
            version,
            dnssec_ok: flags & 0x80 != 0,
            cookie: None,
        }
    }

    fn read(record: &Record<'a>) -> Result<Self, Malformed> {
        let mut edns = Self::bare(record);
        // What options look like is said by the version.
        if edns.version != 0 {
            return Ok(edns);
        }
        let mut options = Reader::new(record.rdata);
        while !options.clone().all().is_empty() {
            let code = u16_of(&mut options)?;
            let len = usize::from(u16_of(&mut options)?);
            let value = options.slice(len)?;
            if code == number::COOKIE && edns.cookie.is_none() {
                // RFC 7873 section 5.2.2.
                if !matches!(len, 8 | 16..=40) {
                    return Err(Malformed);
                }
                edns.cookie = Some(value);
            }
        }
        Ok(edns)
    }
}

fn u16_of(reader: &mut Reader<'_>) -> Result<u16, Truncated> {
    reader.array().map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [u8; 12] = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    const QUESTION: &[u8] = b"\x01a\x04Test\0\0\x21\0\x01";

    fn with_additional(rest: &[u8]) -> Vec<u8> {
        let mut packet = [HEADER.as_slice(), QUESTION, rest].concat();
        packet[11] = 1;
        packet
    }

    #[test]
    fn a_plain_question_is_read_in_its_letter_case() {
        let packet = [HEADER.as_slice(), QUESTION].concat();

        let query = Query::read(&packet).unwrap();

        assert_eq!(
            (query.id, query.recursion_desired, query.fault),
            (0x1234, true, None)
        );
        let question = query.question.unwrap();
        assert_eq!(
            (question.name, question.kind),
            (b"\x01a\x04Test\0".as_slice(), number::SRV)
        );
        assert_eq!((question.bytes, question.class), (QUESTION, number::IN));
    }

    #[test]
    fn answers_and_fragments_of_headers_are_no_queries() {
        let mut answer = [HEADER.as_slice(), QUESTION].concat();
        answer[2] |= 0x80;

        assert_eq!(Query::read(&answer), Err(NoQuery));
        assert_eq!(Query::read(&HEADER[..11]), Err(NoQuery));
        assert_eq!(Query::read(b""), Err(NoQuery));
    }

    #[test]
    fn every_cut_of_a_query_is_malformed_and_keeps_its_id() {
        let cookie = b"\0\0\x29\x04\xd0\0\0\x80\0\0\x0c\0\x0a\0\x08abcdefgh";
        let packet = with_additional(cookie);
        let whole = Query::read(&packet).unwrap();
        assert_eq!(whole.fault, None);
        let edns = whole.edns.unwrap();
        assert_eq!((edns.payload_bytes, edns.dnssec_ok), (1232, true));
        assert_eq!(edns.cookie, Some(b"abcdefgh".as_slice()));

        for len in 12..packet.len() {
            let cut = Query::read(&packet[..len]).unwrap();
            assert_eq!((cut.id, cut.fault), (0x1234, Some(Rcode::FormErr)), "{len}");
        }
    }

    #[test]
    fn what_stands_behind_the_end_is_malformed() {
        let packet = [HEADER.as_slice(), QUESTION, b"x"].concat();

        assert_eq!(Query::read(&packet).unwrap().fault, Some(Rcode::FormErr));
    }

    #[test]
    fn a_cookie_of_an_impossible_length_or_a_second_opt_is_malformed() {
        let short = with_additional(b"\0\0\x29\x04\xd0\0\0\0\0\0\x0b\0\x0a\0\x07abcdefg");
        let mut twice = with_additional(&b"\0\0\x29\x04\xd0\0\0\0\0\0\0".repeat(2));
        twice[11] = 2;

        for packet in [short, twice] {
            let query = Query::read(&packet).unwrap();
            assert_eq!(query.fault, Some(Rcode::FormErr));
            assert!(query.edns.is_some(), "the answer has an OPT record too");
        }
    }

    #[test]
    fn a_question_that_points_elsewhere_is_malformed() {
        let packet = [HEADER.as_slice(), b"\xc0\x0c\0\x21\0\x01"].concat();

        assert_eq!(Query::read(&packet).unwrap().fault, Some(Rcode::FormErr));
    }

    #[test]
    fn other_kinds_of_requests_are_not_implemented_whatever_is_in_them() {
        for opcode in 1..16_u8 {
            let mut packet = HEADER.to_vec();
            packet[2] = opcode << 3;

            let query = Query::read(&packet).unwrap();

            assert_eq!((query.opcode, query.fault), (opcode, Some(Rcode::NotImp)));
        }
    }

    #[test]
    fn no_question_but_a_cookie_asks_for_a_cookie() {
        let mut packet = [
            HEADER.as_slice(),
            b"\0\0\x29\x04\xd0\0\0\0\0\0\x0c\0\x0a\0\x08abcdefgh",
        ]
        .concat();
        (packet[5], packet[11]) = (0, 1);

        assert_eq!(Query::read(&packet).unwrap().fault, None);

        let mut none = HEADER.to_vec();
        none[5] = 0;
        assert_eq!(Query::read(&none).unwrap().fault, Some(Rcode::FormErr));
    }
}
