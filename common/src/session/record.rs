//! A session as it stands in a store: one octet of version, then JSON.
//!
//! JSON because records are read back by the next version of the product: a field it doesn't know is skipped, one that is
//! missing has a default or makes the record unreadable. Records are sealed before they are written anywhere.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use super::{DeviceName, HomeCluster, Method, SealedCredential, Session, SessionId, UserName};
use crate::limits;
use crate::net::{ClientAddr, Deployment, Domain, Host};
use crate::time::UnixTime;

/// The first octet of a record.
pub const RECORD_VERSION: u8 = 1;

/// Why octets are not a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not the JSON of a session.
    #[error("is not a session: {0}")]
    Malformed(String),
    /// Larger than [`limits::SESSION_RECORD_BYTES_MAX`].
    #[error("is too large")]
    TooLarge,
    /// Of another version.
    #[error("has version {0}, known is {RECORD_VERSION}")]
    Version(u8),
}

#[derive(Serialize, Deserialize)]
struct Record {
    user: String,
    domain: Domain,
    deployment: Deployment,
    home: String,
    home_nodes: Vec<String>,
    method: Method,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    client: SocketAddr,
    created: UnixTime,
    expires: UnixTime,
    nodes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
}

impl Session {
    /// Writes the session for a store. Its id is not in it: that is the key it is kept under.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`] if it would not be read back.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let hosts = |hosts: &[Host]| hosts.iter().map(ToString::to_string).collect();
        let record = Record {
            user: self.user.as_str().to_owned(),
            domain: self.domain.clone(),
            deployment: self.deployment.clone(),
            home: self.home.host.to_string(),
            home_nodes: hosts(&self.home.nodes),
            method: self.method,
            device: self.device.as_ref().map(|name| name.as_str().to_owned()),
            client: self.client.0,
            created: self.created,
            expires: self.expires,
            nodes: hosts(&self.nodes),
            credential: self
                .credential
                .as_ref()
                .map(|sealed| STANDARD_NO_PAD.encode(&sealed.0)),
        };
        let mut octets = vec![RECORD_VERSION];
        serde_json::to_writer(&mut octets, &record).map_err(|error| json_error(&error))?;
        if octets.len() > limits::SESSION_RECORD_BYTES_MAX
            || self.nodes.len() > limits::SESSION_NODES_MAX
            || self.home.nodes.len() > limits::SESSION_NODES_MAX
        {
            return Err(RecordError::TooLarge);
        }
        Ok(octets)
    }

    /// Reads what [`Session::encode`] wrote.
    ///
    /// # Errors
    /// [`RecordError`] if it is anything else.
    pub fn decode(id: SessionId, octets: &[u8]) -> Result<Self, RecordError> {
        if octets.len() > limits::SESSION_RECORD_BYTES_MAX {
            return Err(RecordError::TooLarge);
        }
        let (version, json) = octets
            .split_first()
            .ok_or_else(|| RecordError::Malformed("nothing".to_owned()))?;
        if *version != RECORD_VERSION {
            return Err(RecordError::Version(*version));
        }
        let record: Record = serde_json::from_slice(json).map_err(|error| json_error(&error))?;
        record.into_session(id)
    }
}

impl Record {
    fn into_session(self, id: SessionId) -> Result<Session, RecordError> {
        Ok(Session {
            id,
            user: UserName::parse(&self.user).map_err(malformed)?,
            domain: self.domain,
            deployment: self.deployment,
            home: HomeCluster {
                host: Host::parse(&self.home).map_err(malformed)?,
                nodes: hosts(&self.home_nodes)?,
            },
            method: self.method,
            device: self
                .device
                .map(|name| DeviceName::parse(&name))
                .transpose()
                .map_err(malformed)?,
            client: ClientAddr(self.client),
            created: self.created,
            expires: self.expires,
            nodes: hosts(&self.nodes)?,
            credential: self
                .credential
                .map(|text| STANDARD_NO_PAD.decode(text).map(SealedCredential))
                .transpose()
                .map_err(malformed)?,
        })
    }
}

fn hosts(names: &[String]) -> Result<Vec<Host>, RecordError> {
    if names.len() > limits::SESSION_NODES_MAX {
        return Err(RecordError::TooLarge);
    }
    names
        .iter()
        .map(|name| Host::parse(name).map_err(malformed))
        .collect()
}

/// The errors of our own parsers name rules, not values.
fn malformed(error: impl std::fmt::Display) -> RecordError {
    RecordError::Malformed(error.to_string())
}

/// Where it went wrong only: the text of the error would quote the record.
fn json_error(error: &serde_json::Error) -> RecordError {
    let kind = match error.classify() {
        Category::Io => "cannot be written",
        Category::Syntax => "no JSON",
        Category::Data => "not the fields of a session",
        Category::Eof => "cut short",
    };
    RecordError::Malformed(format!("{kind}, at octet {}", error.column()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: SessionId = SessionId([5; 32]);

    fn session() -> Session {
        let host = |text| Host::parse(text).unwrap();
        Session {
            id: ID,
            user: UserName::parse("Alice \"Q\" \u{fc}").unwrap(),
            domain: Domain::parse("example.com").unwrap(),
            deployment: Deployment::standard(),
            home: HomeCluster {
                host: host("cucm2.example.com"),
                nodes: vec![host("cucm2.example.com"), host("2001:db8::1")],
            },
            method: Method::Basic,
            device: Some(DeviceName::parse("CSFALICE").unwrap()),
            client: ClientAddr("[2001:db8::2]:40000".parse().unwrap()),
            created: UnixTime(1_000),
            expires: UnixTime(29_800),
            nodes: vec![host("cucm2.example.com"), host("192.0.2.1")],
            credential: Some(SealedCredential(vec![0, 255, 7])),
        }
    }

    #[test]
    fn a_session_reads_back_as_written() {
        let bare = Session {
            device: None,
            credential: None,
            method: Method::Token,
            nodes: vec![],
            ..session()
        };
        for session in [session(), bare] {
            let read = Session::decode(ID, &session.encode().unwrap()).unwrap();

            assert_eq!(read, session);
            assert_eq!(read.user.as_str(), session.user.as_str());
        }
    }

    #[test]
    fn a_record_of_another_version_is_not_guessed_at() {
        let mut octets = session().encode().unwrap();
        octets[0] = 2;

        assert_eq!(Session::decode(ID, &octets), Err(RecordError::Version(2)));
    }

    #[test]
    fn an_unknown_field_of_a_later_version_is_skipped() {
        let mut octets = session().encode().unwrap();
        octets.pop();
        octets.extend_from_slice(b",\"later\":[1,2]}");

        assert_eq!(Session::decode(ID, &octets), Ok(session()));
    }

    #[test]
    fn an_error_does_not_quote_the_record() {
        let text = String::from_utf8(session().encode().unwrap()).unwrap();
        let wrong = text.replace("\"basic\"", "\"s3cret\"");

        let error = Session::decode(ID, wrong.as_bytes()).unwrap_err();

        assert!(!error.to_string().contains("s3cret"), "{error}");
    }

    #[test]
    fn too_many_nodes_are_refused_before_they_are_stored() {
        let many = Session {
            nodes: vec![Host::parse("cucm.example.com").unwrap(); 65],
            ..session()
        };

        assert_eq!(many.encode(), Err(RecordError::TooLarge));
    }

    proptest! {
        #[test]
        fn damaged_records_are_refused_without_a_panic(at in 0_usize..600, octet in any::<u8>(), cut in 0_usize..600) {
            let mut octets = session().encode().unwrap();
            let at = at % octets.len();
            octets[at] = octet;
            drop(Session::decode(ID, &octets));
            octets.truncate(cut);
            drop(Session::decode(ID, &octets));
        }
    }
}
