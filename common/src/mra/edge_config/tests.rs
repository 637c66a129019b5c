use proptest::prelude::*;

use super::*;

/// The public instance of reference section 4, without the blanks between elements.
fn public_instance() -> EdgeConfig {
    let edge = |tls_port| {
        vec![TlsServer {
            address: host("edge1.example.com"),
            tls_port,
        }]
    };
    let failed = |service: KnownService| Service {
        name: service.into(),
        answer: ServiceAnswer::NameError,
    };
    EdgeConfig {
        services: vec![
            failed(KnownService::CiscoPhoneTftp),
            failed(KnownService::CupLogin),
            Service {
                name: KnownService::CiscoUds.into(),
                answer: ServiceAnswer::Servers(vec![SrvServer {
                    priority: 1,
                    weight: 1,
                    port: 8443,
                    address: host("cucm.example.com"),
                }]),
            },
        ],
        tftp_servers: Vec::new(),
        sip_edges: edge(5061),
        sip_route: SipRoute::parse("<sip:192.0.2.100:5061;transport=tls;lr>").unwrap(),
        xmpp_edges: edge(5222),
        http_edges: edge(8443),
        user_uds: vec![TlsServer {
            address: host("cucm.example.com"),
            tls_port: 8443,
        }],
    }
}

#[test]
fn the_public_instance_is_written_element_by_element() {
    let lines = public_instance().write().replace("><", ">\n<");

    insta::assert_snapshot!(lines, @r#"
    <?xml version='1.0' encoding='UTF-8'?>
    <getEdgeConfigResponse version="1.0">
    <serviceConfig>
    <service>
    <name>_cisco-phone-tftp</name>
    <error>NameError</error>
    </service>
    <service>
    <name>_cuplogin</name>
    <error>NameError</error>
    </service>
    <service>
    <name>_cisco-uds</name>
    <server>
    <priority>1</priority>
    <weight>1</weight>
    <port>8443</port>
    <address>cucm.example.com</address>
    </server>
    </service>
    <service>
    <name>tftpServer</name>
    <address>
    </address>
    <address>
    </address>
    </service>
    </serviceConfig>
    <edgeConfig>
    <sipEdgeServer>
    <server>
    <address>edge1.example.com</address>
    <tlsPort>5061</tlsPort>
    </server>
    </sipEdgeServer>
    <sipRequest>
    <route>&lt;sip:192.0.2.100:5061;transport=tls;lr&gt;</route>
    </sipRequest>
    <xmppEdgeServer>
    <server>
    <address>edge1.example.com</address>
    <tlsPort>5222</tlsPort>
    </server>
    </xmppEdgeServer>
    <httpEdgeServer>
    <server>
    <address>edge1.example.com</address>
    <tlsPort>8443</tlsPort>
    </server>
    </httpEdgeServer>
    <turnEdgeServer/>
    <userUdsServer>
    <server>
    <address>cucm.example.com</address>
    <tlsPort>8443</tlsPort>
    </server>
    </userUdsServer>
    </edgeConfig>
    </getEdgeConfigResponse>
    "#);
}

#[test]
fn the_public_instance_reads_back() {
    let config = public_instance();

    assert_eq!(EdgeConfig::parse(config.write().as_bytes()), Ok(config));
}

#[test]
fn blanks_between_elements_do_not_matter() {
    let config = public_instance();
    let spaced = config.write().replace("><", ">\n   <");

    assert_eq!(EdgeConfig::parse(spaced.as_bytes()), Ok(config));
}

#[test]
fn ipv6_addresses_have_no_brackets() {
    let mut config = public_instance();
    config.tftp_servers = vec![host("[2001:db8::7]"), host("192.0.2.7"), host("tftp3")];

    let text = config.write();

    assert!(text.contains(
        "<name>tftpServer</name><address>2001:db8::7</address><address>192.0.2.7</address>\
         <address>tftp3</address></service>"
    ));
    assert_eq!(EdgeConfig::parse(text.as_bytes()), Ok(config));
}

#[test]
fn one_change_to_the_document_is_noticed() {
    let text = public_instance().write();
    for (from, to, error) in [
        (
            "<turnEdgeServer/>",
            "",
            EdgeConfigError::Missing("turnEdgeServer"),
        ),
        (
            "<turnEdgeServer/>",
            "<turnEdgeServer>x</turnEdgeServer>",
            EdgeConfigError::Value("turnEdgeServer"),
        ),
        (
            "<turnEdgeServer/>",
            "<turnEdgeServer/><turnEdgeServer/>",
            EdgeConfigError::TooMany("turnEdgeServer"),
        ),
        (
            "<turnEdgeServer/>",
            "<turnEdgeServer/><x/>",
            EdgeConfigError::Unknown("x".to_owned()),
        ),
        (
            "<error>NameError</error>",
            "<error>Oops</error>",
            EdgeConfigError::Value("error"),
        ),
        (
            "<error>NameError</error>",
            "",
            EdgeConfigError::Missing("server"),
        ),
        (
            "<tlsPort>5061</tlsPort>",
            "<tlsPort>0</tlsPort>",
            EdgeConfigError::Value("tlsPort"),
        ),
        (
            "<priority>1</priority>",
            "<priority>65536</priority>",
            EdgeConfigError::Value("priority"),
        ),
        (
            "<name>tftpServer</name>",
            "<name>tftp</name>",
            EdgeConfigError::Unknown("address".to_owned()),
        ),
        (
            "version=\"1.0\"",
            "version=\"2\"",
            EdgeConfigError::Value("getEdgeConfigResponse"),
        ),
    ] {
        assert!(text.contains(from), "{from}");
        let changed = text.replacen(from, to, 1);

        assert_eq!(
            EdgeConfig::parse(changed.as_bytes()),
            Err(error),
            "{from} -> {to}"
        );
    }
}

#[test]
fn a_document_type_and_too_long_a_document_are_refused() {
    use crate::mra::xml::XmlError;

    let text = public_instance().write();
    let with_dtd = text.replacen('\n', "<!DOCTYPE x [<!ENTITY a 'b'>]>", 1);
    let padded = text + &" ".repeat(crate::limits::EDGE_CONFIG_BYTES_MAX);

    assert_eq!(
        EdgeConfig::parse(with_dtd.as_bytes()),
        Err(XmlError::Doctype.into())
    );
    assert_eq!(
        EdgeConfig::parse(padded.as_bytes()),
        Err(XmlError::TooLong.into())
    );
}

#[test]
fn lists_have_exact_bounds() {
    let mut config = public_instance();
    let max = crate::limits::EDGE_CONFIG_SERVERS_MAX;
    config.http_edges = vec![config.http_edges[0].clone(); max];
    config.tftp_servers = vec![host("tftp"); max];
    let fits = EdgeConfig::parse(config.write().as_bytes());
    config.http_edges.push(config.http_edges[0].clone());

    assert!(fits.is_ok());
    assert_eq!(
        EdgeConfig::parse(config.write().as_bytes()),
        Err(EdgeConfigError::TooMany("server"))
    );
}

proptest! {
    #[test]
    fn every_configuration_reads_back_as_written(config in any_config()) {
        prop_assert_eq!(EdgeConfig::parse(config.write().as_bytes()), Ok(config));
    }

    #[test]
    fn damaged_documents_never_panic_and_what_is_read_reads_back(
        config in any_config(),
        at in 0_usize..4096,
        byte: u8,
    ) {
        let mut text = config.write().into_bytes();
        let at = at % text.len();
        text[at] = byte;

        fuzz_round_trip(&text);
    }
}

fn host(text: &str) -> Host {
    Host::parse(text).unwrap()
}

fn any_host() -> impl Strategy<Value = Host> {
    prop_oneof![
        "[a-z][a-z0-9]{0,8}(\\.[a-z]{1,6}){0,2}".prop_map(|text| host(&text)),
        any::<std::net::IpAddr>().prop_map(Host::Address),
    ]
}

fn any_tls_servers() -> impl Strategy<Value = Vec<TlsServer>> {
    let server =
        (any_host(), 1_u16..).prop_map(|(address, tls_port)| TlsServer { address, tls_port });
    proptest::collection::vec(server, 0..4)
}

fn any_service() -> impl Strategy<Value = Service> {
    let server = (any::<u16>(), any::<u16>(), any::<u16>(), any_host()).prop_map(
        |(priority, weight, port, address)| SrvServer {
            priority,
            weight,
            port,
            address,
        },
    );
    let answer = prop_oneof![
        Just(ServiceAnswer::NameError),
        Just(ServiceAnswer::ServerFailure),
        proptest::collection::vec(server, 1..4).prop_map(ServiceAnswer::Servers),
    ];
    ("_[a-z0-9-]{1,20}", answer).prop_map(|(name, answer)| Service {
        name: ServiceName::parse(&name).unwrap(),
        answer,
    })
}

fn any_config() -> impl Strategy<Value = EdgeConfig> {
    (
        proptest::collection::vec(any_service(), 0..4),
        proptest::collection::vec(any_host(), 0..4),
        [
            any_tls_servers(),
            any_tls_servers(),
            any_tls_servers(),
            any_tls_servers(),
        ],
        // `&`, `;` and quotes must come through escaping.
        "sips?:[!-;=?-~]{1,40}",
    )
        .prop_map(
            |(services, tftp_servers, [sip, xmpp, http, uds], uri)| EdgeConfig {
                services,
                tftp_servers,
                sip_edges: sip,
                sip_route: SipRoute::parse(&format!("<{uri}>")).unwrap(),
                xmpp_edges: xmpp,
                http_edges: http,
                user_uds: uds,
            },
        )
}
