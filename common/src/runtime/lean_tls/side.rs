//! rustls' interface without buffers, alike for both sides.

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{CommonState, ProtocolVersion};

/// The side of a connection that this process is.
pub(super) trait Side {
    /// What rustls calls its side.
    type Data;

    /// Whether what is to be sent now are tickets alone, and the handshake done.
    fn is_last_flight_optional(common: &CommonState) -> bool;

    /// What has been agreed on.
    fn common(&self) -> &CommonState;

    /// Looks at the next records.
    fn process<'c, 'i>(&'c mut self, records: &'i mut [u8])
    -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Side for UnbufferedServerConnection {
    type Data = rustls::server::ServerConnectionData;

    fn is_last_flight_optional(common: &CommonState) -> bool {
        !common.is_handshaking() && common.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    fn common(&self) -> &CommonState {
        self
    }

    fn process<'c, 'i>(
        &'c mut self,
        records: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(records)
    }
}

impl Side for UnbufferedClientConnection {
    type Data = rustls::client::ClientConnectionData;

    fn is_last_flight_optional(_: &CommonState) -> bool {
        false
    }

    fn common(&self) -> &CommonState {
        self
    }

    fn process<'c, 'i>(
        &'c mut self,
        records: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(records)
    }
}

/// Appends the alert of a handshake that has failed. `shown` is what rustls has seen: it remembers places in there.
pub(super) fn drain<S: Side>(side: &mut S, shown: &mut [u8], out: &mut Vec<u8>) {
    // With nothing to be sent rustls would look at the same records once more.
    while side.common().wants_write() {
        match side.process(shown).state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out),
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(_) | Err(_) => return,
        }
    }
}

/// Appends what rustls wants to send.
pub(super) fn encode<Data>(data: &mut EncodeTlsData<'_, Data>, out: &mut Vec<u8>) {
    let start = out.len();
    let written = data.encode(&mut []).or_else(|error| {
        let EncodeError::InsufficientSize(needed) = error else {
            return Ok(0);
        };
        out.resize(start.saturating_add(needed.required_size), 0);
        data.encode(out.get_mut(start..).unwrap_or_default())
    });
    let written: Result<usize, EncodeError> = written;
    out.truncate(start.saturating_add(written.unwrap_or(0)));
}
