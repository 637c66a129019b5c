//! Where the shared store is, and getting there: over TLS that this product makes itself, over TCP, or on this machine.
//!
//! The protocol is the library's; name look-up, connecting and verification are those of every other inner server.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use common::limits;
use common::net::{Host, HostPort};
use common::redact::Secret;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo};
use std::net::IpAddr;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::super::store::StoreError;
use crate::dial::{self, InsideTls};
use crate::discovery::dns::Dns;

/// The place in a URL: `rediss://host:port/database`, `redis://host:port/database` or `unix:///path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreAddress {
    /// How to get there.
    pub way: StoreWay,
    /// The number of the database.
    pub database: i64,
}

/// How to get to the shared store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreWay {
    /// Unprotected, for a network that is.
    Tcp(HostPort),
    /// Verified by name.
    Tls(HostPort),
    /// A socket of this machine.
    Unix(PathBuf),
}

/// Why a text is no such URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreAddressError {
    /// Another scheme, or none.
    #[error("does not begin with rediss://, redis:// or unix:///")]
    Scheme,
    /// A user or password, which do not belong into a URL.
    #[error("has a user or a password in it; they go into `user` and `password_file`")]
    Secret,
    /// No host or a bad port.
    #[error("has no host and port that can be dialled")]
    Host,
    /// The path is no number.
    #[error("ends in something that is no number of a database")]
    Database,
}

impl FromStr for StoreAddress {
    type Err = StoreAddressError;

    fn from_str(text: &str) -> Result<Self, StoreAddressError> {
        if let Some(path) = text.strip_prefix("unix://") {
            let way = StoreWay::Unix(path.into());
            let is_absolute = path.starts_with('/');
            return if is_absolute {
                Ok(Self { way, database: 0 })
            } else {
                Err(StoreAddressError::Scheme)
            };
        }
        let (rest, is_secure) = match text.strip_prefix("rediss://") {
            Some(rest) => (rest, true),
            None => {
                let rest = text.strip_prefix("redis://");
                (rest.ok_or(StoreAddressError::Scheme)?, false)
            }
        };
        if rest.contains('@') {
            return Err(StoreAddressError::Secret);
        }
        let (place, database) = rest.split_once('/').unwrap_or((rest, ""));
        let database = match database {
            "" => 0,
            number => number
                .parse::<u16>()
                .map_err(|_| StoreAddressError::Database)?
                .into(),
        };
        let place = place.parse::<HostPort>().or_else(|_| {
            let host = Host::parse(place).map_err(|_| StoreAddressError::Host)?;
            Ok(HostPort { host, port: PORT })
        })?;
        let way = if is_secure {
            StoreWay::Tls(place)
        } else {
            StoreWay::Tcp(place)
        };
        Ok(Self { way, database })
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.way {
            StoreWay::Tcp(place) => write!(f, "redis://{place}/{}", self.database),
            StoreWay::Tls(place) => write!(f, "rediss://{place}/{}", self.database),
            StoreWay::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// Everything it takes to connect.
#[derive(Clone)]
pub struct Dialer {
    /// Where to.
    pub address: StoreAddress,
    /// As whom; `None` for the default user of the store.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret<String>>,
    /// How its certificate is verified.
    pub tls: InsideTls,
    /// Who knows its name; not needed for a socket of this machine.
    pub dns: Option<Arc<Dns>>,
    /// The local address to dial from.
    pub bind_address: Option<IpAddr>,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dialer").field(&self.address).finish()
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection, and what drives it: it works only while the second is polled.
pub(super) type Driven = (
    MultiplexedConnection,
    Box<dyn Future<Output = ()> + Send + Unpin>,
);

impl Dialer {
    /// Connects and signs in.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with the reason.
    pub(super) async fn connect(&self) -> Result<Driven, StoreError> {
        timeout(limits::STORE_CONNECT_TIMEOUT, self.try_connect())
            .await
            .unwrap_or_else(|_| Err(unavailable("no connection in time")))
    }

    async fn try_connect(&self) -> Result<Driven, StoreError> {
        let stream = self.open().await?;
        let mut info = RedisConnectionInfo::default()
            .set_db(self.address.database)
            .set_skip_set_lib_name();
        if let Some(user) = &self.user {
            info = info.set_username(user);
        }
        if let Some(password) = &self.password {
            info = info.set_password(password.reveal());
        }
        let config =
            AsyncConnectionConfig::new().set_response_timeout(Some(limits::STORE_ANSWER_TIMEOUT));
        let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, config)
            .await
            .map_err(failed)?;
        Ok((connection, Box::new(Box::pin(driver))))
    }

    async fn open(&self) -> Result<Box<dyn Stream>, StoreError> {
        let place = match &self.address.way {
            StoreWay::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(unavailable)?;
                return Ok(Box::new(stream));
            }
            StoreWay::Tcp(place) | StoreWay::Tls(place) => place,
        };
        let addresses = match (&place.host, &self.dns) {
            (Host::Address(address), _) => vec![*address],
            (Host::Name(_), Some(dns)) => dns.addresses(&place.host).await.map_err(unavailable)?,
            (Host::Name(_), None) => return Err(unavailable("nobody knows its name")),
        };
        let limit = limits::STORE_CONNECT_TIMEOUT;
        let stream = dial::connect(&addresses, place.port, self.bind_address, limit)
            .await
            .map_err(unavailable)?;
        if matches!(self.address.way, StoreWay::Tcp(_)) {
            return Ok(Box::new(stream));
        }
        let tls = self.tls.load_full();
        let stream = dial::secure(stream, &place.host, tls, limit).await;
        Ok(Box::new(stream.map_err(unavailable)?))
    }
}

/// What the library says of a failure.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
pub(super) fn failed(error: redis::RedisError) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

pub(super) fn unavailable(why: impl fmt::Display) -> StoreError {
    StoreError::Unavailable(why.to_string())
}

const PORT: u16 = 6379;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_written() {
        for (text, normal) in [
            (
                "rediss://store.example.com:6380/2",
                "rediss://store.example.com:6380/2",
            ),
            ("redis://10.0.0.7", "redis://10.0.0.7:6379/0"),
            ("redis://[fd00::7]:1/", "redis://[fd00::7]:1/0"),
            ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ] {
            let address: StoreAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), normal);
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said() {
        for (text, error) in [
            ("http://store", StoreAddressError::Scheme),
            ("unix://relative", StoreAddressError::Scheme),
            ("redis://user:secret@store", StoreAddressError::Secret),
            ("redis://store/x", StoreAddressError::Database),
            ("redis://", StoreAddressError::Host),
        ] {
            assert_eq!(text.parse::<StoreAddress>(), Err(error), "{text}");
        }
    }
}
