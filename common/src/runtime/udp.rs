//! UDP sockets of the media threads: bound, marked (DSCP) and read without waiting, segmented and coalesced by the kernel.
//!
//! Not here: who is sent what. No tokio: a media thread sleeps in [`watch`] and nowhere else.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo, RxqOvfl, UdpGroSegment};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrLike,
    SockaddrStorage, recvmsg, sendmsg, setsockopt,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::limits;
use crate::media::class::Dscp;
use crate::media::supply::Family;

pub mod poll;
pub mod watch;

/// Binds a UDP socket that never waits.
///
/// # Errors
/// The system's error.
pub fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM.nonblocking(),
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Asks for large buffers; the system gives as much as it allows (`net.core.rmem_max`).
///
/// # Errors
/// The system's error.
pub fn enlarge_buffers(socket: &UdpSocket, bytes: usize) -> io::Result<()> {
    let socket = socket2::SockRef::from(socket);
    socket.set_recv_buffer_size(bytes)?;
    socket.set_send_buffer_size(bytes)
}

/// Marks everything that is sent from this socket, which is bound to an address of that family.
///
/// # Errors
/// The system's error.
pub fn mark(socket: &UdpSocket, family: Family, dscp: Dscp) -> io::Result<()> {
    let socket = socket2::SockRef::from(socket);
    let octet = u32::from(dscp.octet());
    match family {
        Family::V4 => socket.set_tos_v4(octet),
        Family::V6 => socket.set_tclass_v6(octet),
    }
}

/// A socket with many packets to and from few peers: the trunk's.
#[derive(Debug)]
pub struct BulkSocket {
    socket: UdpSocket,
    /// Whether the own address of each packet matters, because the socket has several.
    is_wildcard: bool,
    may_segment: bool,
    buffer: Vec<u8>,
    control: Vec<u8>,
    drops: u32,
}

/// Some packets of one peer in a row, all as long as `segment` but the last, which may be shorter.
#[derive(Debug)]
pub struct Received<'a> {
    /// Who sent them.
    pub from: SocketAddr,
    /// The own address they came to, if the socket has several.
    pub to: Option<IpAddr>,
    /// Length of each.
    pub segment: usize,
    /// All of them.
    pub bytes: &'a [u8],
}

/// Where packets go, and how.
#[derive(Clone, Copy, Debug)]
pub struct Destination {
    /// To whom.
    pub to: SocketAddr,
    /// From which own address, if the socket has several.
    pub from: Option<IpAddr>,
    /// How they are marked.
    pub dscp: Dscp,
}

impl BulkSocket {
    /// Binds the socket and turns on what the system offers.
    ///
    /// # Errors
    /// The system's error.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = bind(address)?;
        enlarge_buffers(&socket, limits::TRUNK_SOCKET_BUFFER_BYTES)?;
        // Without these packets just come and go one at a time, and drops are not told.
        for refused in [
            setsockopt(&socket, UdpGroSegment, &true),
            setsockopt(&socket, RxqOvfl, &1),
        ] {
            if let Err(error) = refused {
                tracing::debug!(reason = %error, "the system lacks an option of the trunk's socket");
            }
        }
        let is_wildcard = address.ip().is_unspecified();
        if is_wildcard {
            if address.is_ipv6() {
                setsockopt(&socket, Ipv6RecvPacketInfo, &true)?;
            }
            // On an IPv6 socket this is for the IPv4 peers of a dual-stack one.
            if let Err(error) = setsockopt(&socket, Ipv4PacketInfo, &true)
                && address.is_ipv4()
            {
                return Err(error.into());
            }
        }
        Ok(Self {
            socket,
            is_wildcard,
            may_segment: true,
            buffer: vec![0; limits::TRUNK_RECEIVE_BYTES],
            control: nix::cmsg_space!(i32, u32, [u8; 64]),
            drops: 0,
        })
    }

    /// The socket itself.
    #[must_use]
    pub const fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// How many packets one call of [`Self::send`] may carry.
    #[must_use]
    pub const fn segments_max(&self) -> usize {
        if self.may_segment {
            limits::TRUNK_SEGMENTS_MAX
        } else {
            1
        }
    }

    /// Packets that the system has dropped because nobody read them in time.
    #[must_use]
    pub const fn drops(&self) -> u32 {
        self.drops
    }

    /// Reads what has arrived from one peer; `None` if nothing has.
    ///
    /// # Errors
    /// The system's error.
    pub fn receive(&mut self) -> io::Result<Option<Received<'_>>> {
        let mut slices = [IoSliceMut::new(&mut self.buffer)];
        let fd = self.socket.as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT;
        let message =
            match recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut self.control), flags) {
                Ok(message) => message,
                Err(Errno::EAGAIN) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
        let len = message.bytes;
        let from = message.address.as_ref().and_then(socket_addr);
        let (mut segment, mut to, mut drops) = (len, None, None);
        for control in message.cmsgs()? {
            #[expect(
                clippy::wildcard_enum_match_arm,
                reason = "the library's enum has dozens; only these were asked for"
            )]
            match control {
                ControlMessageOwned::UdpGroSegments(size) => {
                    segment = usize::try_from(size).unwrap_or(len);
                }
                ControlMessageOwned::RxqOvfl(count) => drops = Some(count),
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    to = Some(IpAddr::from(info.ipi_addr.s_addr.to_ne_bytes()));
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    to = Some(IpAddr::from(info.ipi6_addr.s6_addr));
                }
                _ => {}
            }
        }
        self.drops = drops.unwrap_or(self.drops);
        let Some(from) = from else {
            return Ok(None);
        };
        let bytes = self.buffer.get(..len).unwrap_or_default();
        Ok(Some(Received {
            from,
            to: to.filter(|_| self.is_wildcard),
            segment: segment.max(1),
            bytes,
        }))
    }

    /// Sends `bytes`, cut into packets of `segment` octets if that is given; `false` if the system has no room for them.
    ///
    /// # Errors
    /// The system's error; the packets are lost then, and the socket can be used on.
    pub fn send(
        &mut self,
        bytes: &[u8],
        segment: Option<usize>,
        destination: &Destination,
    ) -> io::Result<bool> {
        let tos = destination.dscp.octet();
        let class = i32::from(tos);
        let segment = segment.and_then(|segment| u16::try_from(segment).ok());
        let is_ipv4 = destination.to.ip().to_canonical().is_ipv4();
        let marking = if is_ipv4 {
            ControlMessage::Ipv4Tos(&tos)
        } else {
            ControlMessage::Ipv6TClass(&class)
        };
        let source4;
        let source6;
        let mut control: smallvec::SmallVec<[ControlMessage<'_>; 3]> = smallvec::smallvec![marking];
        if let Some(segment) = &segment {
            control.push(ControlMessage::UdpGsoSegments(segment));
        }
        match destination.from {
            Some(IpAddr::V4(from)) => {
                source4 = packet_info4(from);
                control.push(ControlMessage::Ipv4PacketInfo(&source4));
            }
            Some(IpAddr::V6(from)) => {
                source6 = packet_info6(from);
                control.push(ControlMessage::Ipv6PacketInfo(&source6));
            }
            None => {}
        }
        let result = match destination.to {
            SocketAddr::V4(to) => self.send_to(bytes, &control, &SockaddrIn::from(to)),
            SocketAddr::V6(to) => self.send_to(bytes, &control, &SockaddrIn6::from(to)),
        };
        match result {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::ENOBUFS) => Ok(false),
            // Some drivers and tunnels can't; the next ones go out one at a time.
            Err(Errno::EIO | Errno::EINVAL) if segment.is_some() && self.may_segment => {
                self.may_segment = false;
                tracing::info!("the system does not cut packets for the trunk: each is sent alone");
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn send_to(
        &self,
        bytes: &[u8],
        control: &[ControlMessage<'_>],
        to: &impl SockaddrLike,
    ) -> nix::Result<usize> {
        let slices = [IoSlice::new(bytes)];
        let flags = MsgFlags::MSG_DONTWAIT;
        sendmsg(self.socket.as_raw_fd(), &slices, control, flags, Some(to))
    }
}

fn socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::V4(SocketAddrV4::from(*v4)));
    }
    let v6 = address.as_sockaddr_in6()?;
    Some(SocketAddr::V6(SocketAddrV6::from(*v6)))
}

fn packet_info4(from: std::net::Ipv4Addr) -> nix::libc::in_pktinfo {
    let address = |octets| nix::libc::in_addr {
        s_addr: u32::from_ne_bytes(octets),
    };
    nix::libc::in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: address(from.octets()),
        ipi_addr: address([0; 4]),
    }
}

const fn packet_info6(from: std::net::Ipv6Addr) -> nix::libc::in6_pktinfo {
    nix::libc::in6_pktinfo {
        ipi6_addr: nix::libc::in6_addr {
            s6_addr: from.octets(),
        },
        ipi6_ifindex: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(address: &str) -> (BulkSocket, BulkSocket, SocketAddr) {
        let any: SocketAddr = address.parse().unwrap();
        let (left, right) = (
            BulkSocket::bind(any).unwrap(),
            BulkSocket::bind(any).unwrap(),
        );
        let mut to = right.socket().local_addr().unwrap();
        if to.ip().is_unspecified() {
            to.set_ip([127, 0, 0, 1].into());
        }
        (left, right, to)
    }

    #[test]
    fn packets_sent_in_one_call_arrive_as_they_were_cut() {
        let (mut left, mut right, to) = pair("127.0.0.1:0");
        let bytes: Vec<u8> = (0..250).collect();
        let destination = Destination {
            to,
            from: None,
            dscp: Dscp::EF,
        };

        assert!(left.send(&bytes, Some(100), &destination).unwrap());

        let mut received = Vec::new();
        while let Some(some) = right.receive().unwrap() {
            assert_eq!(some.from, left.socket.local_addr().unwrap());
            received.extend(some.bytes.chunks(some.segment).map(<[u8]>::to_vec));
        }
        let lengths: Vec<usize> = received.iter().map(Vec::len).collect();
        assert_eq!((lengths, received.concat()), (vec![100, 100, 50], bytes));
    }

    #[test]
    fn a_socket_with_several_addresses_tells_and_takes_which() {
        let (mut left, mut right, to) = pair("0.0.0.0:0");
        let from: IpAddr = [127, 0, 0, 5].into();
        let destination = Destination {
            to,
            from: Some(from),
            dscp: Dscp::CS3,
        };

        assert!(left.send(b"hello", None, &destination).unwrap());

        let received = right.receive().unwrap().unwrap();
        assert_eq!((received.from.ip(), received.to), (from, Some(to.ip())));
    }

    #[test]
    fn packets_are_marked() {
        let (mut left, right, to) = pair("127.0.0.1:0");
        setsockopt(&right.socket, nix::sys::socket::sockopt::IpRecvTos, &true).unwrap();
        let destination = Destination {
            to,
            from: None,
            dscp: Dscp::AF41,
        };

        assert!(left.send(b"hello", None, &destination).unwrap());

        let mut buffer = [0; 16];
        let mut control = nix::cmsg_space!([u8; 64]);
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let fd = right.socket.as_raw_fd();
        let flags = MsgFlags::empty();
        let message = recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut control), flags);
        let marks: Vec<_> = message.unwrap().cmsgs().unwrap().collect();
        assert!(
            marks.contains(&ControlMessageOwned::Ipv4Tos(34 << 2)),
            "{marks:?}"
        );
    }
}
