//! Look-ups at the inside name servers, with the last good answer kept through outages.
//!
//! Only services of [`KnownService`] and hosts named by configuration, SRV records or UDS are looked up: no client can
//! name a query.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use common::limits;
use common::mra::edge_config::{KnownService, SrvServer};
use common::net::{Domain, Host};
use common::telemetry::ByLabel;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
    ServerOrderingStrategy,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError as AnswerError, NetError};
use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

use crate::metrics::DnsOutcome;

/// Where inside names are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsConfig {
    /// The name servers, asked over UDP and TCP.
    pub servers: Vec<SocketAddr>,
    /// How long one server may take for one answer.
    pub timeout: Duration,
}

/// Why a look-up gave neither records nor their absence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// The host has no address record.
    #[error("there is no address record")]
    NoAddress,
    /// The resolver could not be set up.
    #[error("the resolver could not be set up: {0}")]
    Setup(String),
    /// No name server gave an answer, and none is remembered.
    #[error("no name server could say: {0}")]
    Unanswered(String),
}

/// What name servers say of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SrvAnswer {
    /// There are no SRV records of that name.
    Absent,
    /// The records, in no order, never empty.
    Records(Vec<SrvServer>),
    /// The only target is `.`: the service is decidedly not available (RFC 2782).
    Withdrawn,
}

impl SrvAnswer {
    /// The records; none if there is no such service.
    #[must_use]
    pub fn into_servers(self) -> Vec<SrvServer> {
        match self {
            Self::Records(servers) => servers,
            Self::Absent | Self::Withdrawn => Vec::new(),
        }
    }
}

/// The resolver.
#[derive(Debug)]
pub struct Dns {
    /// `None` without name servers: every service is absent and every name without address.
    resolver: Option<TokioResolver>,
    services: Mutex<Kept<SrvAnswer>>,
    addresses: Mutex<Kept<Vec<IpAddr>>>,
    lookups: Option<ByLabel<DnsOutcome, Counter>>,
}

impl Dns {
    /// Makes a resolver that asks `config.servers` and nobody else.
    ///
    /// # Errors
    /// [`DnsError::Setup`] if the resolver can't be built.
    pub fn new(config: &DnsConfig) -> Result<Self, DnsError> {
        let resolver = if config.servers.is_empty() {
            None
        } else {
            Some(build(config).map_err(|error| DnsError::Setup(error.to_string()))?)
        };
        Ok(Self {
            resolver,
            services: Mutex::default(),
            addresses: Mutex::default(),
            lookups: None,
        })
    }

    /// Counts look-ups from now on.
    #[must_use]
    pub fn counting(mut self, lookups: ByLabel<DnsOutcome, Counter>) -> Self {
        self.lookups = Some(lookups);
        self
    }

    /// Gives the answer on, and counts it: `asked` says how asking went.
    fn counted<T>(&self, answer: Result<T, DnsError>, asked: DnsOutcome) -> Result<T, DnsError> {
        let has_failed = !matches!(asked, DnsOutcome::Answered | DnsOutcome::NoName);
        let outcome = if has_failed && answer.is_ok() {
            DnsOutcome::Stale
        } else {
            asked
        };
        if let Some(lookups) = &self.lookups {
            lookups.of(outcome).inc();
        }
        answer
    }

    /// The SRV records of `<service>._tcp.<zone>`.
    ///
    /// # Errors
    /// [`DnsError::Unanswered`] if no server said whether there are any, and no earlier answer is remembered.
    pub async fn service(&self, service: KnownService, zone: &str) -> Result<SrvAnswer, DnsError> {
        let Ok(name) = Name::from_str(&format!("{}._tcp.{zone}.", service.as_str())) else {
            // Longer than a name can be: nobody can have made such a record.
            return Ok(SrvAnswer::Absent);
        };
        self.srv_of(name).await
    }

    /// The SRV records of a name that the configuration has.
    ///
    /// # Errors
    /// As [`Self::service`].
    pub async fn srv(&self, name: &Domain) -> Result<SrvAnswer, DnsError> {
        match fqdn(name) {
            Ok(name) => self.srv_of(name).await,
            Err(_) => Ok(SrvAnswer::Absent),
        }
    }

    async fn srv_of(&self, name: Name) -> Result<SrvAnswer, DnsError> {
        let Some(resolver) = &self.resolver else {
            return Ok(SrvAnswer::Absent);
        };
        if let Some(answer) = kept(&self.services).during_outage(&name, Instant::now()) {
            return self.counted(answer, DnsOutcome::Failed);
        }
        let asked = resolver.srv_lookup(name.clone()).await;
        let label = label(asked.as_ref().err());
        let outcome = match asked {
            Ok(lookup) => Ok(records(&lookup)),
            Err(error) if is_absent(&error) => Ok(SrvAnswer::Absent),
            Err(error) => Err(error),
        };
        let answer = kept(&self.services).settle(name, outcome, Instant::now());
        self.counted(answer, label)
    }

    /// The addresses of a host, IPv6 and IPv4; an address is its own.
    ///
    /// # Errors
    /// [`DnsError::NoAddress`] if there is none, [`DnsError::Unanswered`] if no server could say and no earlier answer
    /// is remembered.
    pub async fn addresses(&self, host: &Host) -> Result<Vec<IpAddr>, DnsError> {
        let domain = match host {
            Host::Address(address) => return Ok(vec![*address]),
            Host::Name(name) => name,
        };
        let (Some(resolver), Ok(name)) = (&self.resolver, fqdn(domain)) else {
            return Err(DnsError::NoAddress);
        };
        let remembered = kept(&self.addresses).during_outage(&name, Instant::now());
        let addresses = if let Some(answer) = remembered {
            self.counted(answer, DnsOutcome::Failed)?
        } else {
            let asked = resolver.lookup_ip(name.clone()).await;
            let label = label(asked.as_ref().err());
            let outcome = match asked {
                Ok(found) => Ok(found.iter().take(limits::ADDRESSES_MAX).collect()),
                Err(error) if is_absent(&error) => Ok(Vec::new()),
                Err(error) => Err(error),
            };
            let answer = kept(&self.addresses).settle(name, outcome, Instant::now());
            self.counted(answer, label)?
        };
        if addresses.is_empty() {
            Err(DnsError::NoAddress)
        } else {
            Ok(addresses)
        }
    }
}

fn build(config: &DnsConfig) -> Result<TokioResolver, NetError> {
    let servers = config
        .servers
        .iter()
        .map(|server| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()]
                .map(|mut connection| {
                    connection.port = server.port();
                    connection
                })
                .to_vec();
            NameServerConfig::new(server.ip(), true, connections)
        })
        .collect();
    let mut builder = TokioResolver::builder_with_config(
        ResolverConfig::from_name_servers(servers),
        TokioRuntimeProvider::default(),
    );
    let options = builder.options_mut();
    options.timeout = config.timeout;
    options.attempts = 2;
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    options.use_hosts_file = ResolveHosts::Never;
    options.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
    options.positive_max_ttl = Some(limits::DNS_POSITIVE_TTL_MAX);
    options.negative_max_ttl = Some(limits::DNS_NEGATIVE_TTL_MAX);
    options.edns_payload_len = limits::DNS_UDP_PAYLOAD_BYTES_MAX;
    options.cache_size = u64::try_from(limits::DNS_NAMES_MAX).unwrap_or(u64::MAX);
    options.try_tcp_on_error = true;
    options.case_randomization = true;
    builder.build()
}

fn fqdn(domain: &Domain) -> Result<Name, hickory_proto::ProtoError> {
    Name::from_str(&format!("{domain}."))
}

fn records(lookup: &Lookup) -> SrvAnswer {
    let mut is_withdrawn = false;
    let mut servers = Vec::new();
    for record in lookup.answers() {
        let RData::SRV(srv) = &record.data else {
            continue;
        };
        if srv.target.is_root() {
            is_withdrawn = true;
            continue;
        }
        // A target that is no host name can't be in a certificate either.
        let Ok(address) = Host::parse(&srv.target.to_ascii()) else {
            continue;
        };
        if srv.port != 0 && servers.len() < limits::SRV_RECORDS_MAX {
            servers.push(SrvServer {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                address,
            });
        }
    }
    match (servers.is_empty(), is_withdrawn) {
        (false, _) => SrvAnswer::Records(servers),
        (true, true) => SrvAnswer::Withdrawn,
        (true, false) => SrvAnswer::Absent,
    }
}

fn label(error: Option<&NetError>) -> DnsOutcome {
    match error {
        None => DnsOutcome::Answered,
        Some(error) if is_absent(error) => DnsOutcome::NoName,
        Some(NetError::Timeout) => DnsOutcome::TimedOut,
        Some(_) => DnsOutcome::Failed,
    }
}

/// NXDOMAIN and NODATA are answers; everything else is a failure to answer.
fn is_absent(error: &NetError) -> bool {
    let NetError::Dns(AnswerError::NoRecordsFound(none)) = error else {
        return false;
    };
    let is_negative = matches!(
        none.response_code,
        ResponseCode::NXDomain | ResponseCode::NoError
    );
    // A bare referral says only that this server does not know (RFC 2308 section 2.2).
    let is_referral = none.ns.is_some() && none.soa.is_none();
    is_negative && !is_referral
}

/// The last good answer of each name, and which names no server could say anything about just now.
#[derive(Debug)]
struct Kept<T> {
    names: BTreeMap<Name, Answered<T>>,
}

#[derive(Debug)]
struct Answered<T> {
    /// The last good answer and when it came.
    good: Option<(T, Instant)>,
    /// No server could be reached since; asked again after this.
    outage: Option<Outage>,
}

#[derive(Debug)]
struct Outage {
    until: Instant,
    reason: String,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self {
            names: BTreeMap::new(),
        }
    }
}

impl<T: Clone> Kept<T> {
    /// What is said of `name` without asking, because servers did not answer a moment ago.
    fn during_outage(&self, name: &Name, now: Instant) -> Option<Result<T, DnsError>> {
        let kept = self.names.get(name)?;
        let outage = kept.outage.as_ref().filter(|outage| now < outage.until)?;
        Some(match kept.fresh(now) {
            Some(answer) => Ok(answer),
            None => Err(DnsError::Unanswered(outage.reason.clone())),
        })
    }

    fn settle(
        &mut self,
        name: Name,
        outcome: Result<T, NetError>,
        now: Instant,
    ) -> Result<T, DnsError> {
        self.make_room(&name);
        match outcome {
            Ok(answer) => {
                let kept = Answered {
                    good: Some((answer.clone(), now)),
                    outage: None,
                };
                self.names.insert(name, kept);
                Ok(answer)
            }
            Err(error) => {
                let reason = error.to_string();
                let kept = self.names.entry(name.clone()).or_insert(Answered {
                    good: None,
                    outage: None,
                });
                let is_new = kept.outage.is_none();
                kept.outage = Some(Outage {
                    until: now + limits::DNS_OUTAGE_HOLD,
                    reason: reason.clone(),
                });
                let answer = kept.fresh(now);
                if is_new {
                    let has_answer = answer.is_some();
                    tracing::warn!(%name, reason, has_answer, "no name server answers; the last good answer is used if there is one");
                }
                answer.ok_or(DnsError::Unanswered(reason))
            }
        }
    }

    fn make_room(&mut self, name: &Name) {
        if self.names.len() < limits::DNS_NAMES_MAX || self.names.contains_key(name) {
            return;
        }
        let oldest = self
            .names
            .iter()
            .min_by_key(|(_, kept)| kept.good.as_ref().map(|(_, at)| *at))
            .map(|(name, _)| name.clone());
        if let Some(oldest) = oldest {
            self.names.remove(&oldest);
        }
    }
}

impl<T: Clone> Answered<T> {
    fn fresh(&self, now: Instant) -> Option<T> {
        self.good
            .as_ref()
            .filter(|(_, at)| now.duration_since(*at) < limits::DNS_LAST_GOOD_AGE_MAX)
            .map(|(answer, _)| answer.clone())
    }
}

fn kept<T>(mutex: &Mutex<Kept<T>>) -> std::sync::MutexGuard<'_, Kept<T>> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
