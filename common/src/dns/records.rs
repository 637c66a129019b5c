//! The records of a zone, read from the text of a zone file (RFC 1035 section 5) and checked for what is served here.

use std::collections::BTreeMap;

use domain::base::iana::Class;
use domain::base::name::ToName as _;
use domain::base::rdata::ComposeRecordData as _;
use domain::zonefile::inplace::{Entry, ScannedRecord, Zonefile};

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
    /// Something beside a CNAME.
    #[error("{0} has a CNAME and other records")]
    BesideCname(Name),
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
        let mut plain_kinds: BTreeMap<&Name, (bool, usize)> = BTreeMap::new();
        for record in &list {
            let (octets, count) = sets.entry((&record.owner, record.kind)).or_default();
            *octets = octets.saturating_add(record.rdata.len().saturating_add(12));
            *count = count.saturating_add(1);
            if *octets > limits::DNS_RECORD_SET_BYTES_MAX {
                return Err(RecordsError::TooMany);
            }
            if !matches!(record.kind, number::RRSIG | number::NSEC) {
                let (has_cname, others) = plain_kinds.entry(&record.owner).or_default();
                *has_cname |= record.kind == number::CNAME;
                *others = others.saturating_add(1);
                if *has_cname && *others > 1 {
                    return Err(RecordsError::BesideCname(record.owner.clone()));
                }
            }
        }
        let is_signed = list.iter().any(|record| record.kind == number::RRSIG);
        Ok(Self {
            apex,
            list,
            is_signed,
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
        let refuse = |kind| Err(RecordsError::Kind(self.owner.clone(), kind));
        if self.owner.labels().next() == Some(b"*") {
            return refuse("wildcard");
        }
        match self.kind {
            number::NS if self.owner != *apex => Err(RecordsError::Delegation(self.owner.clone())),
            number::DNAME => refuse("DNAME"),
            number::NSEC3 => refuse("NSEC3 (sign the zone with NSEC)"),
            _ => Ok(()),
        }
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
                "* A 192.0.2.1",
                "*.example.test. has a wildcard record, which is not served here",
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
