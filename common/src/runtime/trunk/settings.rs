//! How QUIC is set up for media: datagrams only, nothing held back, the link's identity on both sides.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use quinn_proto::congestion::{Controller, ControllerFactory};
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    AckFrequencyConfig, ClientConfig, IdleTimeout, MtuDiscoveryConfig, RttEstimator, ServerConfig,
    TransportConfig, VarInt,
};

use crate::limits;

/// The ALPN name of the trunk.
const TRUNK_ALPN: &[u8] = b"edge-media/1";

/// The dialling side, from the configuration of the link.
///
/// # Errors
/// A text that says which part is refused.
pub fn client(link: &rustls::ClientConfig) -> Result<ClientConfig, String> {
    let mut tls = link.clone();
    tls.alpn_protocols = vec![TRUNK_ALPN.to_vec()];
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| error.to_string())?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport());
    Ok(config)
}

/// The listening side, from the configuration of the link.
///
/// # Errors
/// A text that says which part is refused.
pub fn server(link: &rustls::ServerConfig) -> Result<ServerConfig, String> {
    let mut tls = link.clone();
    tls.alpn_protocols = vec![TRUNK_ALPN.to_vec()];
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| error.to_string())?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport());
    Ok(config)
}

fn transport() -> Arc<TransportConfig> {
    let mut acknowledgements = AckFrequencyConfig::default();
    acknowledgements
        .ack_eliciting_threshold(VarInt::from_u32(limits::TRUNK_PACKETS_PER_ACKNOWLEDGEMENT))
        .max_ack_delay(Some(limits::TRUNK_ACKNOWLEDGEMENT_DELAY));
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(limits::TRUNK_MTU);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(GREETING_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(GREETING_WINDOW_BYTES))
        .max_idle_timeout(IdleTimeout::try_from(limits::LINK_DEAD_AFTER).ok())
        .keep_alive_interval(Some(limits::LINK_KEEPALIVE_INTERVAL))
        .initial_mtu(limits::TRUNK_MTU)
        .mtu_discovery_config(Some(discovery))
        .ack_frequency_config(Some(acknowledgements))
        // Differently marked packets overtake each other, and nothing is ever sent again.
        .packet_threshold(limits::TRUNK_REORDERING_MAX)
        .datagram_receive_buffer_size(Some(limits::TRUNK_DATAGRAM_BUFFER_BYTES))
        .datagram_send_buffer_size(limits::TRUNK_DATAGRAM_BUFFER_BYTES)
        .allow_spin(false)
        .congestion_controller_factory(Arc::new(FixedWindow));
    Arc::new(transport)
}

/// Streams carry a greeting each way and nothing else.
const GREETING_WINDOW_BYTES: u32 = 8192;

/// Media is sent when it is there or it is of no use: a window that never shrinks. How much there is, edge-c decides when
/// it admits calls.
#[derive(Clone, Copy, Debug)]
struct FixedWindow;

impl ControllerFactory for FixedWindow {
    fn build(self: Arc<Self>, _now: Instant, _current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Self)
    }
}

impl Controller for FixedWindow {
    fn on_ack(
        &mut self,
        _now: Instant,
        _sent: Instant,
        _bytes: u64,
        _app_limited: bool,
        _rtt: &RttEstimator,
    ) {
    }

    fn on_congestion_event(
        &mut self,
        _now: Instant,
        _sent: Instant,
        _is_persistent_congestion: bool,
        _lost_bytes: u64,
    ) {
    }

    fn on_mtu_update(&mut self, _new_mtu: u16) {}

    fn window(&self) -> u64 {
        limits::TRUNK_WINDOW_BYTES
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(*self)
    }

    fn initial_window(&self) -> u64 {
        limits::TRUNK_WINDOW_BYTES
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
