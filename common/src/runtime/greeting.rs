//! Sends and receives the greeting of `link::greeting` on a fresh connection, under a deadline.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::limits;
use crate::link::greeting::{self, GreetingError};
use crate::runtime::clock;

/// Why the greeting did not come about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection broke.
    #[error("the connection broke during the greeting")]
    Io(#[from] io::Error),
    /// The peer's message can't be read.
    #[error(transparent)]
    Peer(#[from] GreetingError),
    /// The peer took too long.
    #[error("the peer did not greet within {} s", limits::LINK_GREETING_TIMEOUT.as_secs())]
    Timeout,
}

/// The number that tells this process from the one before it, for the greeting.
#[must_use]
pub fn instance() -> u64 {
    let mut bytes = [0; 8];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        return clock::unix_ms();
    }
    u64::from_be_bytes(bytes)
}

/// Sends a greeting.
///
/// # Errors
/// [`Error`] if the connection breaks or takes too long.
pub async fn send(
    io: &mut (impl AsyncWrite + Unpin),
    message: &impl Serialize,
) -> Result<(), Error> {
    let bytes = greeting::encode(message);
    let sending = async {
        io.write_all(&bytes).await?;
        io.flush().await
    };
    within(sending).await?.map_err(Error::Io)
}

/// Receives a greeting.
///
/// # Errors
/// [`Error`] if the connection breaks, takes too long or says something else.
pub async fn receive<T: DeserializeOwned>(io: &mut (impl AsyncRead + Unpin)) -> Result<T, Error> {
    let receiving = async {
        let mut prefix = [0; 4];
        io.read_exact(&mut prefix).await?;
        let mut body = vec![0; greeting::body_len(prefix)?];
        io.read_exact(&mut body).await?;
        Ok(greeting::decode(&body)?)
    };
    within(receiving).await?
}

async fn within<T>(work: impl Future<Output = T>) -> Result<T, Error> {
    tokio::time::timeout(limits::LINK_GREETING_TIMEOUT, work)
        .await
        .map_err(|_| Error::Timeout)
}
