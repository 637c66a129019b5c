//! The shell around `link::control`: one task owns one connection of a control stream.
//!
//! Reading never waits for writing: bytes for the peer wait in a bounded buffer while bytes of the peer are read.

use std::io;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf,
};
use tokio::sync::mpsc;

use crate::limits;
use crate::link::control::{Control, ControlError, Event, Overflow};
use crate::runtime::clock;

/// Why a control connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The peer closed it.
    #[error("the peer closed the control stream")]
    Closed,
    /// The connection broke.
    #[error("the control stream broke: {0}")]
    Io(#[from] io::Error),
    /// More waits for the peer than it ever takes; after a re-dial it gets the whole state.
    #[error(transparent)]
    Overflow(#[from] Overflow),
    /// Nothing was heard for too long.
    #[error("nothing was heard on the control stream for {} s", limits::LINK_DEAD_AFTER.as_secs())]
    PeerLost,
    /// The peer broke the protocol.
    #[error("the peer broke the control protocol: {0}")]
    Peer(#[from] ControlError),
    /// Our own side has no more to say: it shuts down.
    #[error("this side shuts down")]
    Shutdown,
}

impl Ended {
    /// Whether the peer just fell silent: what else it has open is as dead, and won't say so.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        match self {
            Self::PeerLost => true,
            Self::Io(error) => matches!(
                error.kind(),
                io::ErrorKind::TimedOut
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
            ),
            Self::Closed | Self::Overflow(_) | Self::Peer(_) | Self::Shutdown => false,
        }
    }
}

/// Drives `control` over a connection that `handle_connected` was called for, until it ends.
///
/// Messages to send come from `outgoing`; `on_event` is told what happened and may return messages to send at once.
pub async fn drive<O, I, T>(
    control: &mut Control<O, I>,
    io: T,
    outgoing: &mut mpsc::Receiver<O>,
    mut on_event: impl FnMut(Event<I>) -> Vec<O>,
) -> Ended
where
    O: Serialize,
    I: DeserializeOwned,
    T: AsyncRead + AsyncWrite,
{
    let (reader, writer) = tokio::io::split(io);
    let mut shell = Shell {
        reader,
        writer,
        inbound: BytesMut::new(),
        outbound: BytesMut::new(),
        is_flushed: true,
    };
    let ended = loop {
        if let Err(ended) = settle(control, &mut shell.outbound, &mut on_event) {
            break ended;
        }
        if let Err(ended) = shell.step(control, outgoing).await {
            break ended;
        }
    };
    control.handle_eof();
    ended
}

/// Empties the machine's outputs, in the order its contract asks for.
fn settle<O: Serialize, I: DeserializeOwned>(
    control: &mut Control<O, I>,
    outbound: &mut BytesMut,
    on_event: &mut impl FnMut(Event<I>) -> Vec<O>,
) -> Result<(), Ended> {
    while let Some(event) = control.poll_event() {
        let is_lost = matches!(event, Event::PeerLost);
        for message in on_event(event) {
            control.send(&message)?;
        }
        if is_lost {
            return Err(Ended::PeerLost);
        }
    }
    while outbound.len() < limits::CONTROL_WRITE_BUFFER_BYTES {
        let Some(bytes) = control.poll_transmit() else {
            break;
        };
        outbound.extend_from_slice(&bytes);
    }
    Ok(())
}

struct Shell<T> {
    reader: ReadHalf<T>,
    writer: WriteHalf<T>,
    inbound: BytesMut,
    outbound: BytesMut,
    is_flushed: bool,
}

impl<T: AsyncRead + AsyncWrite> Shell<T> {
    /// Waits for one thing to happen. Every branch is cancel safe: `read_buf`, `write` and `flush` keep what they
    /// have done in the buffers, `recv` loses nothing, and the timer is set anew.
    async fn step<O, I>(
        &mut self,
        control: &mut Control<O, I>,
        outgoing: &mut mpsc::Receiver<O>,
    ) -> Result<(), Ended>
    where
        O: Serialize,
        I: DeserializeOwned,
    {
        let timeout = control.poll_timeout().map_or(Duration::ZERO, |(at, _)| {
            at.saturating_duration_since(clock::now())
        });
        let Self {
            reader,
            writer,
            inbound,
            outbound,
            is_flushed,
        } = self;
        // Without room it would be read in pieces of 64 octets.
        inbound.reserve(limits::CONTROL_READ_BUFFER_BYTES);
        let has_work = !outbound.is_empty() || !*is_flushed;
        let writing = async {
            if outbound.is_empty() {
                writer.flush().await.map(|()| 0)
            } else {
                writer.write(outbound).await
            }
        };
        tokio::select! {
            read = reader.read_buf(inbound) => {
                if read? == 0 {
                    return Err(Ended::Closed);
                }
                control.handle_bytes(&inbound.split(), clock::both())?;
            }
            written = writing, if has_work => {
                *is_flushed = outbound.is_empty();
                outbound.advance(written?);
            }
            message = outgoing.recv() => match message {
                Some(message) => {
                    control.send(&message)?;
                    // What was said together leaves together.
                    for _ in 0..limits::CONTROL_CHANNEL_MAX {
                        let Ok(message) = outgoing.try_recv() else {
                            break;
                        };
                        control.send(&message)?;
                    }
                }
                None => return Err(Ended::Shutdown),
            },
            () = tokio::time::sleep(timeout) => control.handle_timeout(clock::both()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Side = Control<u32, u32>;

    fn connected(peer: u64, own: u64) -> Side {
        let mut side = Side::new(clock::now());
        side.handle_connected(peer, None, own, clock::both());
        side
    }

    #[tokio::test(start_paused = true)]
    async fn two_flooding_sides_over_a_narrow_pipe_both_finish() {
        let (a, b) = tokio::io::duplex(256);
        let run = |io, own, peer| async move {
            let (sender, mut outgoing) = mpsc::channel(64);
            let mut side = connected(peer, own);
            let mut applied = 0;
            let flood = async move {
                for number in 0..2000 {
                    sender.send(number).await.unwrap();
                }
                std::future::pending::<()>().await;
            };
            let drive = drive(&mut side, io, &mut outgoing, |event| {
                applied += usize::from(matches!(event, Event::Applied(_)));
                Vec::new()
            });
            tokio::select! {
                () = flood => (),
                ended = tokio::time::timeout(Duration::from_secs(60), drive) => drop(ended),
            }
            applied
        };

        let (left, right) = tokio::join!(run(a, 1, 2), run(b, 2, 1));

        assert_eq!((left, right), (2000, 2000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_ends_the_connection() {
        let (ours, _theirs) = tokio::io::duplex(1 << 16);
        let (_sender, mut outgoing) = mpsc::channel(1);
        let mut side = connected(2, 1);

        let ended = drive(&mut side, ours, &mut outgoing, |_| Vec::new()).await;

        assert!(matches!(ended, Ended::PeerLost), "{ended}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_dialled_anew_rather_than_left_without_commands() {
        let (ours, _theirs) = tokio::io::duplex(256);
        let (sender, mut outgoing) = mpsc::channel(64);
        let mut side = connected(2, 1);
        let flood = async move {
            for number in 0..=u32::try_from(limits::CONTROL_QUEUE_MAX).unwrap() {
                sender.send(number).await.unwrap();
            }
            std::future::pending::<()>().await;
        };

        let ended = tokio::select! {
            () = flood => None,
            ended = drive(&mut side, ours, &mut outgoing, |_| Vec::new()) => Some(ended),
        };

        assert!(matches!(ended, Some(Ended::Overflow(_))), "{ended:?}");
    }
}
