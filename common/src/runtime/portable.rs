//! A TCP connection that may go on in the runtime of another thread: a socket is heard by the runtime that it was made in,
//! and what lives on another thread wakes that one for each message.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A TCP connection, at home in one runtime or on its way to another.
#[derive(Debug)]
pub struct Portable {
    place: Place,
}

#[derive(Debug)]
enum Place {
    Here(TcpStream),
    Away(std::net::TcpStream),
    /// The system failed on the way: the connection is closed.
    Gone,
}

impl Portable {
    /// At home where the connection was made.
    #[must_use]
    pub const fn new(stream: TcpStream) -> Self {
        Self {
            place: Place::Here(stream),
        }
    }

    /// The connection itself, for its settings and addresses.
    ///
    /// # Errors
    /// `NotConnected` while it is on its way.
    pub fn tcp(&self) -> io::Result<&TcpStream> {
        match &self.place {
            Place::Here(stream) => Ok(stream),
            Place::Away(_) | Place::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Leaves the runtime; nobody may be reading or writing.
    ///
    /// # Errors
    /// The system's error; the connection is closed then.
    pub fn leave(&mut self) -> io::Result<()> {
        self.go(|place| match place {
            Place::Here(stream) => stream.into_std().map(Place::Away),
            Place::Away(_) | Place::Gone => Ok(place),
        })
    }

    /// Is at home in the runtime that calls this.
    ///
    /// # Errors
    /// The system's error; the connection is closed then.
    pub fn arrive(&mut self) -> io::Result<()> {
        self.go(|place| match place {
            Place::Away(stream) => TcpStream::from_std(stream).map(Place::Here),
            Place::Here(_) | Place::Gone => Ok(place),
        })
    }

    fn go(&mut self, way: impl FnOnce(Place) -> io::Result<Place>) -> io::Result<()> {
        self.place = way(std::mem::replace(&mut self.place, Place::Gone))?;
        Ok(())
    }

    fn io(self: Pin<&mut Self>) -> io::Result<Pin<&mut TcpStream>> {
        match &mut self.get_mut().place {
            Place::Here(stream) => Ok(Pin::new(stream)),
            Place::Away(_) | Place::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl AsyncRead for Portable {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        wanted: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io()?.poll_read(cx, wanted)
    }
}

impl AsyncWrite for Portable {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io()?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::runtime::workers::Workers;

    #[tokio::test]
    async fn a_connection_goes_on_in_another_runtime_where_it_stopped() {
        let workers = Workers::start("test", NonZeroUsize::new(1)).unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let mut client = client.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = Portable::new(stream);
        client.write_all(b"one").await.unwrap();
        let mut read = [0; 3];
        stream.read_exact(&mut read).await.unwrap();

        stream.leave().unwrap();
        let on_the_way = stream.read(&mut read).await.unwrap_err();
        workers.spawn_on(0, async move {
            stream.arrive().unwrap();
            let mut read = [0; 3];
            stream.read_exact(&mut read).await.unwrap();
            stream.write_all(&read).await.unwrap();
        });

        assert_eq!(on_the_way.kind(), io::ErrorKind::NotConnected);
        client.write_all(b"two").await.unwrap();
        let mut echo = String::new();
        client.read_to_string(&mut echo).await.unwrap();
        assert_eq!(echo, "two");
    }
}
