//! What edge-c counts. Everything with closed labels is resolved here once; see `common::telemetry`.

use common::policy::allow_list::NodeKind;
use common::runtime::dns;
use common::telemetry::{
    self, ByLabel, ByLabels, Certificates, HandshakeOutcome, Link, Named, Requests,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::dial::DialError;
use crate::media::metrics::MediaMetrics;
use crate::sessions::StoreMetrics;
use crate::sip::metrics::SipMetrics;
use crate::sso::metrics::SsoMetrics;
use crate::tokens::metrics::TokenMetrics;
use crate::xmpp::metrics::XmppMetrics;

common::label! {
    /// How a sign-in ended.
    pub enum SignInOutcome as "outcome" {
        /// The password is wrong or the user unknown.
        BadCredentials = "bad_credentials",
        /// The request was not understood.
        BadRequest = "bad_request",
        /// The token is not good.
        BadToken = "bad_token",
        /// Proved a while ago, and not asked for again.
        Cached = "cached",
        /// No credentials yet: the challenge was sent.
        Challenged = "challenged",
        /// The token was good once.
        ExpiredToken = "expired_token",
        /// Proved at the home cluster.
        Proved = "proved",
        /// Too many of this user.
        RateLimited = "rate_limited",
        /// No home cluster could be asked.
        Unavailable = "unavailable",
    }
}

common::label! {
    /// How a look-up of a user's home cluster ended.
    pub enum ClusterOutcome as "outcome" {
        /// Known from before.
        Cached = "cached",
        /// No node answered.
        Failed = "failed",
        /// Found.
        Found = "found",
        /// No cluster knows the user.
        NotFound = "not_found",
    }
}

common::label! {
    /// How a look-up in the inside DNS ended.
    pub enum DnsOutcome as "outcome" {
        /// Answered by a name server, or not long ago.
        Answered = "answered",
        /// No answer, or one that says that the server failed.
        Failed = "failed",
        /// No such name or no such record.
        NoName = "no_name",
        /// No answer; an older one was served.
        Stale = "stale",
        /// Too slow.
        TimedOut = "timed_out",
    }
}

common::label! {
    /// What the allow list said.
    pub enum ListVerdict as "verdict" {
        /// A rule made from a discovered node allows it.
        Automatic = "allowed_automatic",
        /// No rule matches.
        NoRule = "denied_no_rule",
        /// A rule matches but for the deployment.
        OtherDeployment = "denied_deployment",
        /// A rule matches but for the method.
        OtherMethod = "denied_method",
        /// A rule matched until it expired.
        RuleExpired = "denied_expired",
        /// A rule of the file allows it.
        Rule = "allowed_rule",
        /// The target is not one that is forwarded.
        Target = "denied_target",
    }
}

common::label! {
    /// How dialling an inner server ended.
    pub enum DialOutcome as "outcome" {
        /// Its certificate is not trusted or has another name.
        BadCertificate = "bad_certificate",
        /// Connected.
        Ok = "ok",
        /// Nobody listens, or no route.
        Refused = "refused",
        /// The name has no address.
        Resolve = "resolve",
        /// Too slow.
        TimedOut = "timed_out",
        /// TLS failed for another reason.
        Tls = "tls",
    }
}

common::label! {
    /// Why a session ended.
    pub enum SessionEnd as "reason" {
        /// There were too many, and it was the oldest.
        Evicted = "evicted",
        /// Its time was over.
        Expired = "expired",
        /// Somebody ended it.
        Revoked = "revoked",
    }
}

/// Everything that edge-c counts. Clones share the numbers.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Requests that came over links.
    pub requests: Requests,
    /// The links to every edge-e.
    pub link: Link,
    /// TLS handshakes on links, from this side.
    pub link_handshakes: ByLabel<HandshakeOutcome, Counter>,
    /// Sign-ins.
    pub sign_ins: ByLabel<SignInOutcome, Counter>,
    /// How long a sign-in took.
    pub sign_in_seconds: ByLabel<SignInOutcome, Histogram>,
    /// Look-ups of home clusters.
    pub cluster_lookups: ByLabel<ClusterOutcome, Counter>,
    /// Look-ups in the inside DNS.
    pub dns_lookups: ByLabel<DnsOutcome, Counter>,
    /// Zones that are served inside.
    pub names: dns::Metrics,
    /// Inner servers: 1 if up. [`Named::of_both`] with [`NodeKind`].
    pub node_up: Named<Gauge>,
    /// Dials of inner servers.
    pub dials: ByLabels<NodeKind, DialOutcome, Counter>,
    /// Dials of origins that only a rule of the file names.
    pub other_dials: ByLabel<DialOutcome, Counter>,
    /// Sessions that are live.
    pub sessions: Gauge,
    /// Sessions issued.
    pub sessions_issued: Counter,
    /// Sessions that ended.
    pub sessions_ended: ByLabel<SessionEnd, Counter>,
    /// The store that sessions are shared in.
    pub store: StoreMetrics,
    /// Requests whose cookie names no session.
    pub sessions_unknown: Counter,
    /// What the allow list said.
    pub verdicts: ByLabel<ListVerdict, Counter>,
    /// Requests that a rule of the file allowed, by its line in the file: the ones never hit can go.
    pub rule_hits: Named<Counter>,
    /// Certificates in use.
    pub certificates: Certificates,
    /// SIP.
    pub sip: SipMetrics,
    /// XMPP.
    pub xmpp: XmppMetrics,
    /// Single sign-on.
    pub sso: SsoMetrics,
    /// Tokens and issuers.
    pub tokens: TokenMetrics,
    /// Media of calls.
    pub media: MediaMetrics,
}

impl DialOutcome {
    /// The label of a dial that failed.
    #[must_use]
    pub const fn failed(error: &DialError) -> Self {
        match error {
            DialError::Certificate(_) | DialError::Name => Self::BadCertificate,
            DialError::Connect(_) => Self::Refused,
            DialError::ConnectTimeout | DialError::TlsTimeout => Self::TimedOut,
            DialError::Tls(_) => Self::Tls,
        }
    }
}

impl Metrics {
    /// Counts a dial of a node, or of an origin that is none.
    pub fn dialled(&self, kind: Option<NodeKind>, outcome: DialOutcome) {
        match kind {
            Some(kind) => self.dials.of(kind, outcome).inc(),
            None => self.other_dials.of(outcome).inc(),
        };
    }

    /// Registers all of them in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            requests: Requests::register(registry),
            link: Link::register(registry),
            link_handshakes: ByLabel::register(
                registry,
                "tls_handshakes",
                "TLS handshakes on links by outcome",
            ),
            sign_ins: ByLabel::register(registry, "sign_ins", "Sign-ins by outcome"),
            sign_in_seconds: ByLabel::register_with(
                registry,
                "sign_in_seconds",
                "How long sign-ins took",
                telemetry::seconds,
            ),
            cluster_lookups: ByLabel::register(
                registry,
                "cluster_lookups",
                "Look-ups of home clusters by outcome",
            ),
            names: dns::Metrics::register(registry),
            dns_lookups: ByLabel::register(
                registry,
                "dns_lookups",
                "Look-ups in the inside DNS by outcome",
            ),
            node_up: Named::register(registry, "node_up", "Whether an inner server is up", "node"),
            dials: ByLabels::register(
                registry,
                "upstream_dials",
                "Connections to inner servers by kind and outcome",
            ),
            other_dials: ByLabel::register(
                registry,
                "other_dials",
                "Connections to origins of manual rules by outcome",
            ),
            sessions: telemetry::gauge(registry, "sessions", "Sessions that are live"),
            sessions_issued: telemetry::counter(registry, "sessions_issued", "Sessions issued"),
            sessions_ended: ByLabel::register(
                registry,
                "sessions_ended",
                "Sessions that ended, by reason",
            ),
            store: StoreMetrics::register(registry),
            sessions_unknown: telemetry::counter(
                registry,
                "sessions_unknown",
                "Requests whose cookie names no session",
            ),
            verdicts: ByLabel::register(
                registry,
                "allow_list_verdicts",
                "What the allow list said",
            ),
            rule_hits: Named::register(
                registry,
                "allow_list_rule_hits",
                "Requests that a rule of the file allowed, by its line in the file",
                "rule",
            ),
            certificates: Certificates::register(registry),
            sip: SipMetrics::register(registry),
            xmpp: XmppMetrics::register(registry),
            sso: SsoMetrics::register(registry),
            tokens: TokenMetrics::register(registry),
            media: MediaMetrics::register(registry),
        }
    }
}

#[cfg(test)]
mod tests {
    use common::telemetry::LinkPurpose;
    use common::time::UnixTime;
    use prometheus_client::encoding::text;

    use super::*;

    #[test]
    fn every_metric_has_the_prefix_and_a_help_text() {
        let mut registry = telemetry::registry("edge-c");
        let metrics = Metrics::register(&mut registry);
        metrics
            .dials
            .of(NodeKind::Unity, DialOutcome::TimedOut)
            .inc();
        metrics
            .node_up
            .of_both("cucm1.example.com", NodeKind::Ucm)
            .set(1);

        let mut page = String::new();
        text::encode(&mut page, &registry).unwrap();

        let dial = "edge_upstream_dials_total{kind=\"unity\",outcome=\"timed_out\"} 1\n";
        assert!(page.contains(dial), "{page}");
        assert!(page.contains("edge_node_up{node=\"cucm1.example.com\",kind=\"ucm\"} 1\n"));
        let build = "edge_build_info{product=\"edge-c\",version=\"";
        assert!(page.contains(build), "{page}");
        let types = page.lines().filter(|line| line.starts_with("# TYPE "));
        let helps = page.lines().filter(|line| line.starts_with("# HELP edge_"));
        assert_eq!(types.count(), helps.count());
    }

    /// Names in the alerts that the other edge alone has, or that are there once they count something.
    const ELSEWHERE: &[&str] = &[
        "edge_connections_total",
        "edge_reloads_total",
        "edge_task_panics_total",
    ];

    #[test]
    fn alerts_ask_for_metrics_that_exist() {
        let mut registry = telemetry::registry("edge-c");
        let metrics = Metrics::register(&mut registry);
        drop(
            metrics
                .link
                .connections
                .of_both("peer", LinkPurpose::Control),
        );
        drop(metrics.link.clock_skew.of("peer"));
        metrics
            .certificates
            .expires("link.certificate", UnixTime(0));
        drop(metrics.node_up.of_both("cucm1", NodeKind::Ucm));
        drop(metrics.sip.node_up.of("tls:192.0.2.1:5061"));
        drop(metrics.xmpp.node_up.of("tls:192.0.2.1:5223"));
        drop(metrics.xmpp.node_binds_channel.of("tls:192.0.2.1:5223"));
        metrics.tokens.keys_age("corp", 0);
        let mut page = String::new();
        text::encode(&mut page, &registry).unwrap();

        let alerts = include_str!("../../deploy/prometheus-alerts.yml");
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let words = alerts.split(|c| !is_name(c));
        let names = words.filter(|word| word.starts_with("edge_"));
        for name in names.filter(|name| !ELSEWHERE.contains(name)) {
            let name = name.strip_suffix("_total").unwrap_or(name);
            assert!(page.contains(&format!("# TYPE {name} ")), "{name}");
        }
    }
}
