//! Keep-alives that are answered on the spot (RFC 5626 sections 3.5 and 4.4): line ends by line ends, a STUN Binding by the
//! address that it came from (RFC 8489).

use std::net::SocketAddr;

use bytes::Bytes;
use stun_types::attribute::XorMappedAddress;
use stun_types::message::{
    BINDING, Message, MessageClass, MessageWrite as _, MessageWriteExt as _, MessageWriteVec,
};

/// The answer to a ping.
pub const PONG: &[u8] = b"\r\n";

/// The answer to a STUN message that came from `source`; `None` if it is no Binding request or can't be read.
#[must_use]
pub fn binding_response(request: &[u8], source: SocketAddr) -> Option<Bytes> {
    let request = Message::from_bytes(request).ok()?;
    if !request.has_method(BINDING) || !request.has_class(MessageClass::Request) {
        return None;
    }
    let mut response = Message::builder_success(&request, MessageWriteVec::new());
    let address = XorMappedAddress::new(source, request.transaction_id());
    response.add_attribute(&address).ok()?;
    Some(response.finish().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_request_learns_where_it_came_from() {
        let request = Message::builder_request(BINDING, MessageWriteVec::new()).finish();
        let source: SocketAddr = "[2001:db8::7]:4711".parse().unwrap();

        let response = binding_response(&request, source).unwrap();

        let response = Message::from_bytes(&response).unwrap();
        let request = Message::from_bytes(&request).unwrap();
        assert!(response.has_class(MessageClass::Success));
        assert_eq!(response.transaction_id(), request.transaction_id());
        let address = response.attribute::<XorMappedAddress>().unwrap();
        assert_eq!(address.addr(response.transaction_id()), source);
    }

    #[test]
    fn nothing_else_is_answered() {
        let source = ([192, 0, 2, 1], 1).into();
        let indication = Message::builder_indication(BINDING, MessageWriteVec::new()).finish();

        assert_eq!(binding_response(&indication, source), None);
        assert_eq!(binding_response(b"\0\x01\0\0", source), None);
    }
}
