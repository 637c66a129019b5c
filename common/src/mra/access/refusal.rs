//! Every refusal and the answer it becomes: one table for both edges.
//!
//! The client learns the status and nothing else; the reason belongs in the log of the edge that refused.

use std::fmt;
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};

use crate::limits;

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Who called us: the client.
    Downstream,
    /// The link between the edges, or its other end.
    Link,
    /// This process.
    Local,
    /// Whom we called: an inner server.
    Upstream,
}

impl Side {
    /// The label in metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Link => "link",
            Self::Local => "local",
            Self::Upstream => "upstream",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// Why a request gets no answer from an inner server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The request is not proper HTTP, or its path is not of the edge's form.
    #[error("bad request")]
    BadRequest,
    /// The domain is not one of ours, or is switched off.
    #[error("unknown domain")]
    DomainUnknown,
    /// The head is over the limit.
    #[error("head too large")]
    HeadTooLarge,
    /// No edge-c is there to ask.
    #[error("no link")]
    LinkDown {
        /// When it is worth while to ask again.
        retry_after: Duration,
    },
    /// The allow list doesn't have it.
    #[error("not on the allow list")]
    NotAllowed,
    /// No such edge verb or resource.
    #[error("not found")]
    NotFound,
    /// The inner server gave no answer in time.
    #[error("origin timed out")]
    OriginTimeout,
    /// No connection to the inner server, or its certificate is not good.
    #[error("origin unreachable")]
    OriginUnreachable,
    /// This process is at one of its limits, or drains.
    #[error("overloaded")]
    Overloaded {
        /// When it is worth while to ask again.
        retry_after: Duration,
    },
    /// There is no session, or the credentials are wrong: all alike to the client.
    #[error("sign-in required")]
    SignInRequired,
    /// Too many sign-ins.
    #[error("too many sign-ins")]
    TooManySignIns {
        /// When the next one will be looked at.
        retry_after: Duration,
    },
    /// A method that an edge doesn't do: CONNECT.
    #[error("method not supported")]
    Unsupported,
}

impl Refusal {
    /// The status the client sees.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.row().0
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn side(self) -> Side {
        self.row().1
    }

    /// The label of this reason in metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        self.row().2
    }

    /// The table. Reference for 401, 403, 404, 429 and 502: what stock clients are known to understand.
    const fn row(self) -> (StatusCode, Side, &'static str) {
        use Side::{Downstream, Link, Local, Upstream};
        match self {
            Self::BadRequest => (StatusCode::BAD_REQUEST, Downstream, "bad_request"),
            Self::DomainUnknown => (StatusCode::FORBIDDEN, Downstream, "domain_unknown"),
            Self::HeadTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                Downstream,
                "head_too_large",
            ),
            Self::LinkDown { .. } => (StatusCode::SERVICE_UNAVAILABLE, Link, "link_down"),
            Self::NotAllowed => (StatusCode::FORBIDDEN, Downstream, "not_allowed"),
            Self::NotFound => (StatusCode::NOT_FOUND, Downstream, "not_found"),
            Self::OriginTimeout => (StatusCode::GATEWAY_TIMEOUT, Upstream, "origin_timeout"),
            Self::OriginUnreachable => (StatusCode::BAD_GATEWAY, Upstream, "origin_unreachable"),
            Self::Overloaded { .. } => (StatusCode::SERVICE_UNAVAILABLE, Local, "overloaded"),
            Self::SignInRequired => (StatusCode::UNAUTHORIZED, Downstream, "sign_in_required"),
            Self::TooManySignIns { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                Downstream,
                "too_many_sign_ins",
            ),
            Self::Unsupported => (StatusCode::NOT_IMPLEMENTED, Downstream, "unsupported"),
        }
    }

    /// Whether the connection ends with the answer: where the client has nothing more to ask here, or where what follows
    /// on the connection can't be trusted to be a request. (HTTP/2 has no such field: there the stream just ends.)
    #[must_use]
    pub const fn closes_connection(self) -> bool {
        match self {
            Self::BadRequest | Self::DomainUnknown | Self::HeadTooLarge | Self::Unsupported => true,
            Self::LinkDown { .. }
            | Self::NotAllowed
            | Self::NotFound
            | Self::OriginTimeout
            | Self::OriginUnreachable
            | Self::Overloaded { .. }
            | Self::SignInRequired
            | Self::TooManySignIns { .. } => false,
        }
    }

    /// The head of the answer; its body is empty.
    #[must_use]
    pub fn response(self, realm: &Realm) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = self.status();
        let fields = response.headers_mut();
        match self {
            Self::SignInRequired => {
                fields.insert(WWW_AUTHENTICATE, realm.challenge());
            }
            Self::LinkDown { retry_after }
            | Self::Overloaded { retry_after }
            | Self::TooManySignIns { retry_after } => {
                // Zero would invite a client to spin.
                fields.insert(RETRY_AFTER, retry_after.as_secs().max(1).into());
            }
            Self::BadRequest
            | Self::DomainUnknown
            | Self::HeadTooLarge
            | Self::NotAllowed
            | Self::NotFound
            | Self::OriginTimeout
            | Self::OriginUnreachable
            | Self::Unsupported => {}
        }
        if self.closes_connection() {
            fields.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The realm of the Basic challenge (RFC 7617), ready as a field value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Realm(HeaderValue);

/// Why a text can't be a realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RealmError {
    /// A character that is not printable ASCII.
    #[error("has a character that is not printable ASCII")]
    Character,
    /// Longer than [`limits::REALM_BYTES_MAX`].
    #[error("is longer than {} octets", limits::REALM_BYTES_MAX)]
    TooLong,
}

impl Realm {
    /// Takes any printable ASCII; quotes and backslashes are escaped (RFC 9110 section 5.6.4).
    ///
    /// # Errors
    /// [`RealmError`] if it is too long or has other characters.
    pub fn parse(text: &str) -> Result<Self, RealmError> {
        if text.len() > limits::REALM_BYTES_MAX {
            return Err(RealmError::TooLong);
        }
        if !text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
            return Err(RealmError::Character);
        }
        let quoted = text.replace('\\', r"\\").replace('"', "\\\"");
        HeaderValue::try_from(format!("Basic realm=\"{quoted}\""))
            .map(Self)
            .map_err(|_| RealmError::Character)
    }

    fn challenge(&self) -> HeaderValue {
        self.0.clone()
    }

    /// The challenge to show a token (RFC 6750 section 3); `fault` says what was wrong with the one that was shown. It must
    /// be printable ASCII without quotation marks.
    #[must_use]
    pub fn bearer_challenge(&self, fault: Option<&'static str>) -> Option<HeaderValue> {
        let basic = self.0.to_str().ok()?;
        let realm = basic.strip_prefix("Basic ")?;
        let fault = fault.map_or_else(String::new, |fault| {
            format!(", error=\"invalid_token\", error_description=\"{fault}\"")
        });
        HeaderValue::try_from(format!("Bearer {realm}{fault}")).ok()
    }
}

impl Default for Realm {
    /// What the clients have always been shown.
    fn default() -> Self {
        Self(HeaderValue::from_static("Basic realm=\"Cisco-Edge\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    fn head(refusal: Refusal) -> (u16, Vec<(String, String)>) {
        let response = refusal.response(&Realm::default());
        let fields = response
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        (response.status().as_u16(), fields)
    }

    fn field(name: &str, value: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), value.to_owned())]
    }

    #[test]
    fn each_refusal_has_its_status_and_fields() {
        let basic = field("www-authenticate", "Basic realm=\"Cisco-Edge\"");
        let close = field("connection", "close");
        let soon = field("retry-after", "5");
        for (refusal, status, fields) in [
            (Refusal::SignInRequired, 401, basic),
            (Refusal::DomainUnknown, 403, close.clone()),
            (Refusal::NotAllowed, 403, vec![]),
            (Refusal::NotFound, 404, vec![]),
            (
                Refusal::TooManySignIns { retry_after: SOON },
                429,
                soon.clone(),
            ),
            (Refusal::OriginUnreachable, 502, vec![]),
            (Refusal::LinkDown { retry_after: SOON }, 503, soon.clone()),
            (Refusal::Overloaded { retry_after: SOON }, 503, soon),
            (Refusal::OriginTimeout, 504, vec![]),
            (Refusal::BadRequest, 400, close.clone()),
            (Refusal::HeadTooLarge, 431, close.clone()),
            (Refusal::Unsupported, 501, close),
        ] {
            assert_eq!(head(refusal), (status, fields), "{refusal}");
        }
    }

    #[test]
    fn a_refusal_says_whose_fault_it_is() {
        assert_eq!(Refusal::NotAllowed.side(), Side::Downstream);
        assert_eq!(Refusal::OriginUnreachable.side(), Side::Upstream);
        assert_eq!(Refusal::LinkDown { retry_after: SOON }.side(), Side::Link);
        assert_eq!(
            Refusal::Overloaded { retry_after: SOON }.side(),
            Side::Local
        );
    }

    #[test]
    fn retry_after_is_never_zero() {
        let refusal = Refusal::LinkDown {
            retry_after: Duration::ZERO,
        };

        assert_eq!(head(refusal).1, field("retry-after", "1"));
    }

    #[test]
    fn a_realm_of_ones_own_is_quoted() {
        let realm = Realm::parse(r#"My "edge" \o/"#).unwrap();
        let response = Refusal::SignInRequired.response(&realm);

        assert_eq!(
            response.headers()[WWW_AUTHENTICATE],
            r#"Basic realm="My \"edge\" \\o/""#
        );
        assert_eq!(Realm::parse("Cisco-Edge"), Ok(Realm::default()));
    }

    #[test]
    fn a_token_is_asked_for_in_the_same_realm() {
        let realm = Realm::default();

        assert_eq!(
            realm.bearer_challenge(None).unwrap(),
            "Bearer realm=\"Cisco-Edge\""
        );
        assert_eq!(
            realm.bearer_challenge(Some("it has expired")).unwrap(),
            "Bearer realm=\"Cisco-Edge\", error=\"invalid_token\", error_description=\"it has expired\""
        );
    }

    #[test]
    fn a_realm_cannot_smuggle_a_field() {
        assert_eq!(Realm::parse("a\r\nb: c"), Err(RealmError::Character));
        assert_eq!(Realm::parse("\u{e9}"), Err(RealmError::Character));
        assert_eq!(Realm::parse(&"x".repeat(129)), Err(RealmError::TooLong));
    }
}
