//! The header fields edge-e adds to a request on the link: client address, tracking id, edge name.
//!
//! edge-e takes fields of these names away from what clients send; edge-c takes them away before anything goes
//! on to an origin, and treats their values as claims of a machine that may be lost.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::id::TrackingId;
use crate::net::ClientAddr;

/// Address and port the client connected from.
pub const CLIENT: HeaderName = HeaderName::from_static("edge-client");
/// The id that follows the request across both edges.
pub const TRACKING: HeaderName = HeaderName::from_static("x-tracking-id");

/// On a request of edge-e: the token of an answer that was too long for an exchange, and is fetched by this request.
pub const KEPT: HeaderName = HeaderName::from_static("edge-kept");

/// On an answer of edge-c: the client's credentials were wrong. edge-e counts it against the address and takes it away.
pub const AUTH: HeaderName = HeaderName::from_static("edge-auth");
/// The only value of [`AUTH`].
pub const AUTH_FAILED: HeaderValue = HeaderValue::from_static("failed");

/// What edge-e says of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preface {
    /// Where the client connected from.
    pub client: ClientAddr,
    /// The request's id.
    pub tracking: TrackingId,
}

/// A request on the link without a usable preface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefaceError {
    /// No client address, several, or one that can't be read.
    #[error("the request on the link has no usable {CLIENT} field")]
    Client,
    /// No tracking id, several, or one that can't be read.
    #[error("the request on the link has no usable {TRACKING} field")]
    Tracking,
}

impl Preface {
    /// Replaces whatever fields of these names are there.
    pub fn write(&self, fields: &mut HeaderMap) {
        fields.insert(CLIENT, value(&self.client.0));
        fields.insert(TRACKING, value(&self.tracking));
    }

    /// Takes the preface out of the header section.
    ///
    /// # Errors
    /// [`PrefaceError`] if a field is missing, doubled or unreadable.
    pub fn take(fields: &mut HeaderMap) -> Result<Self, PrefaceError> {
        let client = take_one(fields, &CLIENT).ok_or(PrefaceError::Client)?;
        let tracking = take_one(fields, &TRACKING).ok_or(PrefaceError::Tracking)?;
        Ok(Self {
            client: ClientAddr(client),
            tracking,
        })
    }
}

/// Removes what a client, or an origin, may have sent under these names.
pub fn strip(fields: &mut HeaderMap) {
    for name in [&AUTH, &CLIENT, &KEPT, &TRACKING] {
        fields.remove(name);
    }
}

/// An address or identifier as a field value.
#[must_use]
pub fn value(value: &impl ToString) -> HeaderValue {
    // Addresses and hexadecimal digits are visible ASCII, so this always succeeds.
    HeaderValue::try_from(value.to_string()).unwrap_or(HeaderValue::from_static("?"))
}

/// Makes a request one that fetches a kept answer; without a token it asks again.
pub fn fetch_kept(fields: &mut HeaderMap, token: Option<u64>) {
    if let Some(token) = token {
        fields.insert(KEPT, value(&token));
    }
}

/// Takes the token out of a request that fetches a kept answer.
#[must_use]
pub fn take_kept(fields: &mut HeaderMap) -> Option<u64> {
    if fields.contains_key(&KEPT) {
        take_one(fields, &KEPT)
    } else {
        None
    }
}

/// Takes the only field of a name out; nothing if it is missing, doubled or unreadable.
pub(super) fn take_one<T: std::str::FromStr>(
    fields: &mut HeaderMap,
    name: &HeaderName,
) -> Option<T> {
    if fields.get_all(name).iter().nth(1).is_some() {
        fields.remove(name);
        return None;
    }
    fields.remove(name)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preface() -> Preface {
        Preface {
            client: ClientAddr("[2001:db8::7]:50000".parse().unwrap()),
            tracking: TrackingId::new([7; 16]),
        }
    }

    #[test]
    fn a_preface_replaces_what_the_client_sent_and_is_taken_out_again() {
        let mut fields = HeaderMap::new();
        fields.append(CLIENT, HeaderValue::from_static("192.0.2.66:1"));
        fields.append(CLIENT, HeaderValue::from_static("192.0.2.67:1"));
        preface().write(&mut fields);

        assert_eq!(Preface::take(&mut fields), Ok(preface()));
        assert!(fields.is_empty());
    }

    #[test]
    fn nobody_outside_the_pair_can_use_these_names() {
        let mut fields = HeaderMap::new();
        fields.append(AUTH, AUTH_FAILED);
        fields.append(CLIENT, HeaderValue::from_static("192.0.2.66:1"));
        fields.append(KEPT, HeaderValue::from_static("1"));
        fields.append(TRACKING, HeaderValue::from_static("x"));

        strip(&mut fields);

        assert!(fields.is_empty());
    }

    #[test]
    fn a_doubled_or_missing_field_is_refused() {
        let mut fields = HeaderMap::new();
        preface().write(&mut fields);
        fields.append(CLIENT, HeaderValue::from_static("192.0.2.66:1"));

        assert_eq!(Preface::take(&mut fields), Err(PrefaceError::Client));
        assert_eq!(
            Preface::take(&mut HeaderMap::new()),
            Err(PrefaceError::Client)
        );
    }
}
