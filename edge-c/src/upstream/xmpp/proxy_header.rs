//! The PROXY protocol, version 2: what a node is told of the client before anything else.

use std::net::SocketAddr;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::Proxied;

/// The header for a client, or the one that says that the connection is the edge's own.
#[must_use]
pub(super) fn header(proxied: Option<Proxied>) -> Bytes {
    let mut header = BytesMut::with_capacity(52);
    header.put_slice(SIGNATURE);
    match proxied.map(|proxied| (proxied.client, proxied.local)) {
        Some((SocketAddr::V4(client), SocketAddr::V4(local))) => {
            header.put_slice(&[PROXY, TCP4, 0, 12]);
            header.put_slice(&client.ip().octets());
            header.put_slice(&local.ip().octets());
            header.put_u16(client.port());
            header.put_u16(local.port());
        }
        Some((client, local)) => {
            header.put_slice(&[PROXY, TCP6, 0, 36]);
            header.put_slice(&octets(client));
            header.put_slice(&octets(local));
            header.put_u16(client.port());
            header.put_u16(local.port());
        }
        None => header.put_slice(&[LOCAL, UNSPECIFIED, 0, 0]),
    }
    header.freeze()
}

fn octets(address: SocketAddr) -> [u8; 16] {
    match address {
        SocketAddr::V4(v4) => v4.ip().to_ipv6_mapped().octets(),
        SocketAddr::V6(v6) => v6.ip().octets(),
    }
}

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, and whether there is somebody behind the connection.
const PROXY: u8 = 0x21;
const LOCAL: u8 = 0x20;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNSPECIFIED: u8 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    fn told(client: &str, local: &str) -> Vec<u8> {
        let proxied = Proxied {
            client: client.parse().unwrap(),
            local: local.parse().unwrap(),
        };
        header(Some(proxied)).to_vec()
    }

    #[test]
    fn both_ends_of_the_client_s_connection_are_told() {
        let v4 = told("192.0.2.55:40000", "203.0.113.5:5222");
        assert_eq!(&v4[12..16], [0x21, 0x11, 0, 12]);
        assert_eq!(&v4[16..24], [192, 0, 2, 55, 203, 0, 113, 5]);
        assert_eq!(&v4[24..], [0x9c, 0x40, 0x14, 0x66]);

        let v6 = told("[2001:db8::7]:1", "203.0.113.5:5222");
        assert_eq!(&v6[12..16], [0x21, 0x21, 0, 36]);
        assert_eq!(v6.len(), 16 + 36);
        assert_eq!(&v6[16..20], [0x20, 0x01, 0x0d, 0xb8]);
    }

    #[test]
    fn a_connection_of_the_edge_itself_says_so() {
        assert_eq!(&header(None)[12..], [0x20, 0, 0, 0]);
    }
}
