//! Public SIP over TLS on 5061: each client connection is a flow (RFC 5626) with one stream to a core. Nothing here ever
//! opens a connection to a client.

use std::sync::Arc;

use common::id::TrackingId;
use common::link::stream_preface::{ClientTransport, StreamPreface, StreamProtocol, TlsVersion};
use common::net::{ClientAddr, Domain};
use common::runtime::drain::Signal;
use rustls::ProtocolVersion;
use tokio::net::TcpListener;

use crate::admission::Admission;
use crate::config;
use crate::cores::Cores;
use crate::listener::front::{self, Established, Front};
use crate::metrics::Metrics;

pub(crate) mod client;
pub(crate) mod flow;

use client::TlsClient;
use flow::Flow;

/// What every flow shares, whatever it arrived on.
#[derive(Debug)]
pub struct Sip {
    /// Who is linked, and what they said.
    pub cores: Arc<Cores>,
    /// Limits by address.
    pub admission: Arc<Admission>,
    /// What is counted.
    pub metrics: Metrics,
    /// How often a client may send.
    pub settings: config::Sip,
}

impl Sip {
    /// Accepts until the drain starts.
    pub(crate) async fn serve(self: Arc<Self>, front: Front, listener: TcpListener, drain: Signal) {
        let speak = move |established| {
            let sip = Arc::clone(&self);
            async move { sip.tls_flow(established).await }
        };
        front.serve(listener, drain, speak).await;
    }

    async fn tls_flow(self: Arc<Self>, established: Established) {
        let Established {
            stream,
            agreed,
            peer,
            local,
            drain,
        } = established;
        let preface = StreamPreface {
            protocol: StreamProtocol::Sip,
            transport: ClientTransport::Tls,
            client: ClientAddr(peer),
            local,
            server_name: server_name(agreed.server_name.as_deref()),
            tls_version: tls_version(agreed.version),
            domain: None,
            tracking: TrackingId::new(front::random()),
        };
        Flow::new(self, TlsClient::new(stream), preface, drain)
            .run()
            .await;
    }
}

/// The name that the client asked for, if it is one.
pub(crate) fn server_name(asked: Option<&str>) -> Option<Domain> {
    Domain::parse(asked?).ok()
}

pub(crate) const fn tls_version(agreed: Option<ProtocolVersion>) -> TlsVersion {
    match agreed {
        Some(ProtocolVersion::TLSv1_2) => TlsVersion::V1_2,
        _ => TlsVersion::V1_3,
    }
}
