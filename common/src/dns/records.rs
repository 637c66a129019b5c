//! The records of a zone, read from the text of a zone file (RFC 1035 section 5) and checked for what is served here.

use std::collections::BTreeMap;

use domain::base::iana::Class;
use domain::base::name::ToName as _;
use domain::base::rdata::ComposeRecordData as _;
use domain::zonefile::inplace::{Entry, ScannedRecord, Zonefile};

use super::hashed::{Hash, Hashing, hash_of_label};
use super::{Name, number};
use crate::limits;
use crate::time::UnixTime;

/// All records of a zone, checked.
#[derive(Clone, Debug)]
pub struct Records {
    apex: Name,
    list: Vec<Record>,
    /// Whether there are signatures.
    is_signed: bool,
    /// How the names of its proofs are hashed, if they are.
    hashing: Option<Hashing>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) owner: Name,
    pub(super) kind: u16,
    pub(super) ttl: u32,
    pub(super) rdata: Box<[u8]>,
}

/// Why a zone is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordsError {
    /// Something beside what must be alone.
    #[error("{0} has {1} and other records")]
    Beside(Name, &'static str),
    /// NSEC3 records that prove nothing.
    #[error("{0} has NSEC3 records, and {1}")]
    Hashed(Name, String),
    /// The text can't be read.
    #[error("near line {0}")]
    Syntax(String),
    /// NS below the apex.
    #[error("{0} has NS records below the apex: this server refers nobody elsewhere")]
    Delegation(Name),
    /// Another file.
    #[error("has $INCLUDE, which is not supported")]
    Include,
    /// A record that would need more than being copied into answers.
    #[error("{0} has a {1} record, which is not served here")]
    Kind(Name, &'static str),
    /// Not one SOA, at the apex.
    #[error("there must be one SOA record, at {0}")]
    Soa(Name),
    /// No name server.
    #[error("there must be NS records at {0}")]
    NoNameServer(Name),
    /// Not below the apex.
    #[error("{0} is outside the zone")]
    Outside(Name),
    /// More than fits.
    #[error(
        "has over {} records, or over {} octets of one name and type",
        limits::DNS_ZONE_RECORDS_MAX,
        limits::DNS_RECORD_SET_BYTES_MAX
    )]
    TooMany,
}

impl Records {
    /// Reads the text of the zone `apex`.
    ///
    /// # Errors
    /// [`RecordsError`], the first that is found.
    pub fn parse(apex: &Name, text: &str) -> Result<Self, RecordsError> {
        let syntax = |error: &dyn std::fmt::Display| RecordsError::Syntax(error.to_string());
        // The reader wants the last line ended.
        let mut file = Zonefile::from(format!("{text}\n").as_str());
        let origin = domain::base::Name::from_octets(apex.wire().to_vec().into());
        file.set_origin(origin.map_err(|error| syntax(&error))?);
        file.set_default_class(Class::IN);
        let mut list = Vec::new();
        while let Some(entry) = file.next_entry().map_err(|error| syntax(&error))? {
            match entry {
                Entry::Record(record) => list.push(Record::new(&record)),
                Entry::Include { .. } => return Err(RecordsError::Include),
            }
            if list.len() > limits::DNS_ZONE_RECORDS_MAX {
                return Err(RecordsError::TooMany);
            }
        }
        Self::check(apex.clone(), list)
    }

    fn check(apex: Name, mut list: Vec<Record>) -> Result<Self, RecordsError> {
        list.sort_by(|a, b| (&a.owner, a.kind, &a.rdata).cmp(&(&b.owner, b.kind, &b.rdata)));
        list.dedup_by(|a, b| (&a.owner, a.kind, &a.rdata) == (&b.owner, b.kind, &b.rdata));
        for record in &list {
            record.check(&apex)?;
        }
        let count = |kind| list.iter().filter(|record| record.kind == kind).count();
        let starts = |record: &Record| record.kind == number::SOA && record.owner == apex;
        if count(number::SOA) != 1 || !list.iter().any(starts) {
            return Err(RecordsError::Soa(apex));
        }
        // There are none below the apex.
        if count(number::NS) == 0 {
            return Err(RecordsError::NoNameServer(apex));
        }
        let mut sets: BTreeMap<(&Name, u16), (usize, usize)> = BTreeMap::new();
        let mut plain_kinds: BTreeMap<&Name, (Option<&'static str>, usize)> = BTreeMap::new();
        for record in &list {
            let (octets, count) = sets.entry((&record.owner, record.kind)).or_default();
            *octets = octets.saturating_add(record.rdata.len().saturating_add(12));
            *count = count.saturating_add(1);
            if *octets > limits::DNS_RECORD_SET_BYTES_MAX {
                return Err(RecordsError::TooMany);
            }
            if !matches!(record.kind, number::RRSIG | number::NSEC) {
                let (alone, count) = plain_kinds.entry(&record.owner).or_default();
                *alone = alone.or(match record.kind {
                    number::CNAME => Some("a CNAME"),
                    number::NSEC3 => Some("an NSEC3 record"),
                    _ => None,
                });
                *count = count.saturating_add(1);
                if let (Some(alone), 2..) = (*alone, *count) {
                    return Err(RecordsError::Beside(record.owner.clone(), alone));
                }
            }
        }
        let is_signed = list.iter().any(|record| record.kind == number::RRSIG);
        let hashing = hashing(&apex, &list)?;
        Ok(Self {
            apex,
            list,
            is_signed,
            hashing,
        })
    }

    /// The name of the zone.
    #[must_use]
    pub const fn apex(&self) -> &Name {
        &self.apex
    }

    /// Whether there are signatures: nothing may be left out of such a zone.
    #[must_use]
    pub const fn is_signed(&self) -> bool {
        self.is_signed
    }

    /// When the first signature is no longer good.
    #[must_use]
    pub fn signatures_expire(&self) -> Option<UnixTime> {
        let signatures = self
            .list
            .iter()
            .filter(|record| record.kind == number::RRSIG);
        let expire = signatures.filter_map(|record| {
            let (octets, _) = record.rdata.get(8..)?.split_first_chunk::<4>()?;
            Some(UnixTime(u64::from(u32::from_be_bytes(*octets))))
        });
        expire.min()
    }

    /// Whether the zone has records of this name.
    #[must_use]
    pub fn has(&self, name: &Name) -> bool {
        self.list.iter().any(|record| record.owner == *name)
    }

    /// The names by which clients find edges here.
    pub fn services(&self) -> impl Iterator<Item = Name> {
        let names: std::collections::BTreeSet<Name> = self
            .service_records()
            .map(|record| record.owner.clone())
            .collect();
        names.into_iter()
    }

    /// Whether clients are led to an edge of this name.
    #[must_use]
    pub fn leads_to(&self, edge: &Name) -> bool {
        let mut targets = self.service_records().filter_map(Record::target);
        targets.any(|(target, _)| target == *edge)
    }

    fn service_records(&self) -> impl Iterator<Item = &Record> {
        let is_service = |record: &&Record| {
            record.kind == number::SRV
                && record.owner.labels().next() == Some(super::service::LABEL)
        };
        self.list.iter().filter(is_service)
    }

    pub(super) fn list(&self) -> &[Record] {
        &self.list
    }

    pub(super) const fn hashing(&self) -> Option<&Hashing> {
        self.hashing.as_ref()
    }
}

/// How the names of the NSEC3 records are hashed that are to be used; `None` if there are none, or NSEC records beside them.
fn hashing(apex: &Name, list: &[Record]) -> Result<Option<Hashing>, RecordsError> {
    let of_kind = |kind| list.iter().filter(move |record| record.kind == kind);
    let refuse = |why: String| Err(RecordsError::Hashed(apex.clone(), why));
    let mut proofs = of_kind(number::NSEC3);
    if proofs.clone().next().is_none() || of_kind(number::NSEC).any(|record| record.owner == *apex)
    {
        return Ok(None);
    }
    if let Some(stray) = proofs.clone().find(|record| record.hash(apex).is_none()) {
        return refuse(format!("{} is no hash right below it", stray.owner));
    }
    let mut why = "no NSEC3PARAM record".to_owned();
    for parameters in of_kind(number::NSEC3PARAM).filter(|record| record.owner == *apex) {
        match Hashing::read(&parameters.rdata) {
            Ok(hashing) => {
                let hash = Some(hashing.hash(apex.wire()));
                let is_apex = |record: &Record| {
                    record.hash(apex) == hash
                        && Hashing::read(&record.rdata).as_ref() == Ok(&hashing)
                };
                if proofs.any(is_apex) {
                    return Ok(Some(hashing));
                }
                why = "none of them is its own".to_owned();
            }
            Err(fault) => why = format!("its NSEC3PARAM record {fault}"),
        }
    }
    refuse(why)
}

impl Record {
    fn new(record: &ScannedRecord) -> Self {
        let owner: Vec<u8> = record.owner().to_canonical_name::<Vec<u8>>().into_octets();
        let mut rdata = Vec::new();
        // Writing into a vector can't fail.
        let Ok(()) = record.data().compose_rdata(&mut rdata);
        Self {
            // A name of the reader is a name.
            owner: Name::from_wire(&owner).unwrap_or_else(|_| Name::root()),
            kind: record.rtype().to_int(),
            ttl: record.ttl().as_secs(),
            rdata: rdata.into(),
        }
    }

    fn check(&self, apex: &Name) -> Result<(), RecordsError> {
        if !self.owner.is_within(apex) {
            return Err(RecordsError::Outside(self.owner.clone()));
        }
        match self.kind {
            number::NS if self.owner != *apex => Err(RecordsError::Delegation(self.owner.clone())),
            number::DNAME => Err(RecordsError::Kind(self.owner.clone(), "DNAME")),
            _ => Ok(()),
        }
    }

    /// The hash that an NSEC3 record is owned by.
    fn hash(&self, apex: &Name) -> Option<Hash> {
        let is_right_below = self.owner.parent().as_ref() == Some(apex);
        let label = self.owner.labels().next().filter(|_| is_right_below)?;
        hash_of_label(label)
    }

    /// The name that the record leads to, and where in its data it begins.
    pub(super) fn target(&self) -> Option<(Name, usize)> {
        let at = match self.kind {
            number::NS | number::CNAME => 0,
            number::MX => 2,
            number::SRV => 6,
            _ => return None,
        };
        let name = Name::from_wire(self.rdata.get(at..)?).ok()?;
        Some((name, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Domain;

    const START: &str = "$TTL 300\n@ SOA ns1 hostmaster 1 3600 600 86400 60\n@ NS ns1\n";

    fn apex() -> Name {
        Name::from(&Domain::parse("example.test").unwrap())
    }

    fn parse(rest: &str) -> Result<Records, RecordsError> {
        Records::parse(&apex(), &format!("{START}{rest}"))
    }

    #[test]
    fn a_zone_file_is_read_in_its_usual_forms() {
        let text = "; comment\nns1 IN A 192.0.2.1\n\t60 AAAA 2001:db8::1\n_x._tcp SRV 1 2 8443 NS1\n_x._tcp SRV 1 2 8443 NS1\n";

        let records = parse(text).unwrap();

        let kinds: Vec<(String, u16, u32)> = records
            .list()
            .iter()
            .map(|record| (record.owner.to_string(), record.kind, record.ttl))
            .collect();
        assert!(
            kinds.contains(&("ns1.example.test.".into(), number::AAAA, 60)),
            "{kinds:?}"
        );
        let srv: Vec<_> = records
            .list()
            .iter()
            .filter(|record| record.kind == number::SRV)
            .collect();
        assert_eq!(srv.len(), 1, "the same record twice is one");
        assert_eq!(srv[0].target().unwrap().0.to_string(), "ns1.example.test.");
        assert!(!records.is_signed());
    }

    #[test]
    fn what_is_not_served_is_refused_by_name() {
        for (text, expected) in [
            (
                "x.other.test. A 192.0.2.1",
                "x.other.test. is outside the zone",
            ),
            (
                "sub NS ns1",
                "sub.example.test. has NS records below the apex: this server refers nobody elsewhere",
            ),
            (
                "* NS ns1",
                "*.example.test. has NS records below the apex: this server refers nobody elsewhere",
            ),
            (
                "sub DNAME other.test.",
                "sub.example.test. has a DNAME record, which is not served here",
            ),
            (
                "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom NSEC3 1 0 0 - 0P9MHAVEQVM6T7VBL5LOP2U3T2RP3TOM A",
                "example.test. has NSEC3 records, and no NSEC3PARAM record",
            ),
            (
                "@ NSEC3PARAM 1 0 0 -\n0p9mhaveqvm6t7vbl5lop2u3t2rp3tom NSEC3 1 0 0 - 0P9MHAVEQVM6T7VBL5LOP2U3T2RP3TOM A",
                "example.test. has NSEC3 records, and none of them is its own",
            ),
            (
                "@ NSEC3PARAM 1 0 51 -\n0p9mhaveqvm6t7vbl5lop2u3t2rp3tom NSEC3 1 0 51 - 0P9MHAVEQVM6T7VBL5LOP2U3T2RP3TOM A",
                "example.test. has NSEC3 records, and its NSEC3PARAM record has over 50 iterations",
            ),
            (
                "a NSEC3 1 0 0 - 0P9MHAVEQVM6T7VBL5LOP2U3T2RP3TOM A",
                "example.test. has NSEC3 records, and a.example.test. is no hash right below it",
            ),
            (
                "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom NSEC3 1 0 0 - 0P9MHAVEQVM6T7VBL5LOP2U3T2RP3TOM A\n0p9mhaveqvm6t7vbl5lop2u3t2rp3tom A 192.0.2.1",
                "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom.example.test. has an NSEC3 record and other records",
            ),
            (
                "a CNAME b\na A 192.0.2.1",
                "a.example.test. has a CNAME and other records",
            ),
            (
                "sub SOA ns1 hostmaster 1 2 3 4 5",
                "there must be one SOA record, at example.test.",
            ),
            ("$INCLUDE other", "has $INCLUDE, which is not supported"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn an_error_names_the_place() {
        let error = parse("ns1 A 192.0.2.256").unwrap_err().to_string();

        assert!(
            error.starts_with("near line ") && error.contains("IPv4"),
            "{error}"
        );
    }

    #[test]
    fn a_zone_needs_its_start_and_its_servers() {
        let apex = apex();

        let none = Records::parse(&apex, "@ 60 NS ns1").unwrap_err();
        assert_eq!(none, RecordsError::Soa(apex.clone()));
        let no_server = Records::parse(&apex, "@ 60 SOA ns1 hostmaster 1 2 3 4 5").unwrap_err();
        assert_eq!(no_server, RecordsError::NoNameServer(apex));
    }
}
