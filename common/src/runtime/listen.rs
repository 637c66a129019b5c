//! Listening sockets, accepting on them, and the settings that every TCP connection gets.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::limits;

/// Binds a TCP listener. An IPv6 wildcard takes IPv4 as well.
///
/// # Errors
/// The system's error, with the address in its text.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let bound = || {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(limits::LISTEN_BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    bound().map_err(|error| {
        io::Error::new(error.kind(), format!("can't listen on {address}: {error}"))
    })
}

/// Accepts the next connection; backs off while the process is out of file descriptors or memory.
pub async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, canonical(peer)),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(side = "local", reason = %error,
                    remedy = "raise LimitNOFILE or lower connections_max", "can't accept connections");
                tokio::time::sleep(limits::ACCEPT_BACK_OFF).await;
            }
        }
    }
}

/// An IPv4 client on a dual-stack socket is shown as IPv4.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

/// The connection was gone before it was accepted; the listener is fine.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

/// No delay for small writes, and a peer that vanished is noticed by the kernel.
///
/// # Errors
/// The system's error; the connection is dead then.
pub fn configure(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(limits::TCP_KEEPALIVE_IDLE)
        .with_interval(limits::TCP_KEEPALIVE_INTERVAL)
        .with_retries(limits::TCP_KEEPALIVE_RETRIES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// As [`configure`], for clients that are silent for hours: phones are woken less often, and one that takes nothing of
/// what is sent to it is dead as well.
///
/// # Errors
/// The system's error; the connection is dead then.
pub fn configure_quiet(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(limits::TCP_QUIET_KEEPALIVE_IDLE)
        .with_interval(limits::TCP_KEEPALIVE_INTERVAL)
        .with_retries(limits::TCP_KEEPALIVE_RETRIES);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(limits::TCP_QUIET_USER_TIMEOUT))
}

/// As [`configure`], for the link: unacknowledged bytes make the connection dead as soon as silence does.
///
/// # Errors
/// The system's error; the connection is dead then.
pub fn configure_link(stream: &TcpStream) -> io::Result<()> {
    configure(stream)?;
    let dead_after: Duration = limits::LINK_DEAD_AFTER;
    SockRef::from(stream).set_tcp_user_timeout(Some(dead_after))
}

/// After [`configure_link`], for a connection that may stand still as long as its request may: to the kernel a peer that
/// does not read is as dead as one that is gone. Whether this one is gone, the control stream finds out.
///
/// # Errors
/// The system's error; the connection is dead then.
pub fn let_stand_still(stream: &TcpStream) -> io::Result<()> {
    let dead_after: Duration = limits::HTTP_STALL_TIMEOUT;
    SockRef::from(stream).set_tcp_user_timeout(Some(dead_after))
}
