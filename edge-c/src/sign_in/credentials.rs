//! What an `Authorization` field says.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use common::limits;
use common::redact::Secret;
use common::session::UserName;
use zeroize::Zeroize;

/// Why an `Authorization` field proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// A token, while only passwords are accepted.
    #[error("token authorisation is off")]
    Bearer,
    /// The field can't be read.
    #[error("the credentials can't be read")]
    Malformed,
    /// No field.
    #[error("there are no credentials")]
    Missing,
    /// Neither Basic nor Bearer.
    #[error("the scheme is not supported")]
    Scheme,
}

/// A user name and a password, as the client wrote them.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    pub(super) login: UserName,
    pub(super) password: Secret<String>,
}

impl Credentials {
    /// Reads the value of an `Authorization` field (RFC 7617 section 2, in UTF-8).
    pub(super) fn parse(field: Option<&Secret<String>>) -> Result<Self, CredentialsError> {
        let field = field.ok_or(CredentialsError::Missing)?.reveal();
        if field.len() > FIELD_BYTES_MAX {
            return Err(CredentialsError::Malformed);
        }
        let (scheme, value) = field.split_once(' ').unwrap_or((field, ""));
        if scheme.eq_ignore_ascii_case("bearer") {
            return Err(CredentialsError::Bearer);
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(CredentialsError::Scheme);
        }
        let bytes = LENIENT
            .decode(value.trim_matches(' '))
            .map_err(|_| CredentialsError::Malformed)?;
        let mut text = String::from_utf8(bytes).map_err(|error| {
            error.into_bytes().zeroize();
            CredentialsError::Malformed
        })?;
        let read = Self::split(&text);
        text.zeroize();
        read
    }

    /// The field that proves `user` with this password.
    pub(super) fn field_for(&self, user: &UserName) -> Secret<String> {
        let mut text = format!("{}:{}", user.as_str(), self.password.reveal());
        let field = Secret::new(format!("Basic {}", LENIENT.encode(&text)));
        text.zeroize();
        field
    }

    fn split(text: &str) -> Result<Self, CredentialsError> {
        let (login, password) = text.split_once(':').ok_or(CredentialsError::Malformed)?;
        let is_password = password.len() <= limits::PASSWORD_BYTES_MAX
            && !password.is_empty()
            && !password.chars().any(char::is_control);
        let login = UserName::parse(login).map_err(|_| CredentialsError::Malformed)?;
        if !is_password || login.as_str().len() > limits::USER_ID_BYTES_MAX {
            return Err(CredentialsError::Malformed);
        }
        Ok(Self {
            login,
            password: Secret::new(password.to_owned()),
        })
    }
}

/// Clients differ in whether they pad.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Scheme, blank and base64 of the longest name and password.
const FIELD_BYTES_MAX: usize =
    8 + (limits::USER_ID_BYTES_MAX + limits::PASSWORD_BYTES_MAX + 3) / 3 * 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(field: &str) -> Result<Credentials, CredentialsError> {
        Credentials::parse(Some(&Secret::new(field.to_owned())))
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", LENIENT.encode(text))
    }

    #[test]
    fn a_name_ends_at_the_first_colon_and_a_password_may_hold_more() {
        let read = parse(&basic("älice@example.com:pass:wörd")).unwrap();

        assert_eq!(read.login.as_str(), "älice@example.com");
        assert_eq!(read.password.reveal(), "pass:wörd");
    }

    #[test]
    fn scheme_case_and_padding_do_not_matter() {
        for field in [
            "basic YTpi",
            "BASIC  YTpi",
            "Basic YTpiYw",
            "Basic YTpiYw==",
        ] {
            assert!(parse(field).is_ok(), "{field}");
        }
    }

    #[test]
    fn what_proves_nothing_says_why() {
        let long = "x".repeat(limits::PASSWORD_BYTES_MAX + 1);
        for (field, error) in [
            ("Bearer abc".to_owned(), CredentialsError::Bearer),
            ("Bearer".to_owned(), CredentialsError::Bearer),
            ("Digest x".to_owned(), CredentialsError::Scheme),
            (String::new(), CredentialsError::Scheme),
            ("Basic".to_owned(), CredentialsError::Malformed),
            ("Basic !".to_owned(), CredentialsError::Malformed),
            ("Basic /w==".to_owned(), CredentialsError::Malformed),
            (basic("alice"), CredentialsError::Malformed),
            (basic(":secret"), CredentialsError::Malformed),
            (basic("alice:"), CredentialsError::Malformed),
            (basic("ali\nce:secret"), CredentialsError::Malformed),
            (basic("alice:sec\0ret"), CredentialsError::Malformed),
            (basic(&format!("alice:{long}")), CredentialsError::Malformed),
            (
                basic(&format!("{long}:secret")),
                CredentialsError::Malformed,
            ),
            (
                format!("Basic {}", "A".repeat(1 << 20)),
                CredentialsError::Malformed,
            ),
        ] {
            assert_eq!(parse(&field).unwrap_err(), error, "{field:.40}");
        }
        assert_eq!(
            Credentials::parse(None).unwrap_err(),
            CredentialsError::Missing
        );
    }

    #[test]
    fn the_longest_name_and_password_fit() {
        let name = "n".repeat(limits::USER_ID_BYTES_MAX);
        let password = "p".repeat(limits::PASSWORD_BYTES_MAX);

        assert!(parse(&basic(&format!("{name}:{password}"))).is_ok());
    }

    #[test]
    fn the_field_for_the_home_cluster_has_its_user_id() {
        let read = parse(&basic("alice@example.com:secret")).unwrap();

        let field = read.field_for(&UserName::parse("Alice").unwrap());

        assert_eq!(field.reveal(), &basic("Alice:secret"));
        assert!(!format!("{read:?}").contains("secret\""));
    }
}
