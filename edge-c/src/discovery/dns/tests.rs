use hickory_proto::rr::RecordType;

use super::*;
use crate::testing::{Mode, TestDns};

const NAME: &str = "_cisco-uds._tcp.example.com";

#[tokio::test]
async fn records_come_with_priority_weight_port_and_target() {
    let (server, dns) = start().await;
    server.add_srv(NAME, 2, 20, 8443, "cucm2.example.com");
    server.add_srv(NAME, 1, 5, 8444, "cucm1.example.com");

    let SrvAnswer::Records(mut records) = look_up(&dns).await.unwrap() else {
        panic!("no records");
    };

    records.sort();
    assert_eq!(
        records,
        [record(1, 5, 8444, "cucm1"), record(2, 20, 8443, "cucm2")]
    );
}

#[tokio::test]
async fn no_name_no_srv_record_and_a_withdrawn_service_are_told_apart_from_failure() {
    let (server, dns) = start().await;
    assert_eq!(look_up(&dns).await, Ok(SrvAnswer::Absent));
    server.add_address(NAME, "192.0.2.1".parse().unwrap());
    assert_eq!(look_up(&dns).await, Ok(SrvAnswer::Absent));
    server.remove(NAME);
    server.add_srv(NAME, 0, 0, 0, ".");
    assert_eq!(look_up(&dns).await, Ok(SrvAnswer::Withdrawn));

    for mode in [Mode::Fail, Mode::Silent] {
        let (server, dns) = start().await;
        server.set_mode(mode);
        let answer = look_up(&dns).await;
        assert!(matches!(answer, Err(DnsError::Unanswered(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn the_last_good_answer_outlives_the_name_server() {
    for mode in [Mode::Fail, Mode::Silent] {
        let (server, dns) = start().await;
        server.add_srv(NAME, 1, 1, 8443, "cucm1.example.com");
        let good = look_up(&dns).await;

        server.set_mode(mode);

        assert_eq!(look_up(&dns).await, good, "{mode:?}");
    }
}

#[tokio::test]
async fn an_outage_is_not_waited_for_at_each_look_up() {
    let (server, dns) = start().await;
    server.add_srv(NAME, 1, 1, 8443, "cucm1.example.com");
    look_up(&dns).await.unwrap();
    server.set_mode(Mode::Fail);
    look_up(&dns).await.unwrap();
    let asked = server.times_asked(NAME, RecordType::SRV);

    for _ in 0..10 {
        look_up(&dns).await.unwrap();
    }

    assert_eq!(server.times_asked(NAME, RecordType::SRV), asked);
}

#[tokio::test]
async fn a_name_that_was_never_answered_fails_at_once_during_an_outage() {
    let (server, dns) = start().await;
    server.set_mode(Mode::Fail);
    look_up(&dns).await.unwrap_err();
    let asked = server.times_asked(NAME, RecordType::SRV);

    look_up(&dns).await.unwrap_err();

    assert_eq!(server.times_asked(NAME, RecordType::SRV), asked);
}

#[tokio::test]
async fn a_name_that_is_gone_is_gone_even_if_servers_fail_afterwards() {
    let (server, dns) = start().await;
    server.add_srv(NAME, 1, 1, 8443, "cucm1.example.com");
    look_up(&dns).await.unwrap();
    server.remove(NAME);
    assert_eq!(look_up(&dns).await, Ok(SrvAnswer::Absent));

    server.set_mode(Mode::Fail);

    assert_eq!(look_up(&dns).await, Ok(SrvAnswer::Absent));
}

#[tokio::test]
async fn hosts_have_addresses_of_both_families() {
    let (server, dns) = start().await;
    server.add_address("cucm1.example.com", "192.0.2.1".parse().unwrap());
    server.add_address("cucm1.example.com", "2001:db8::1".parse().unwrap());

    let mut addresses = dns.addresses(&host("cucm1.example.com")).await.unwrap();

    addresses.sort();
    assert_eq!(
        addresses,
        [
            "192.0.2.1".parse::<IpAddr>().unwrap(),
            "2001:db8::1".parse().unwrap()
        ]
    );
    assert_eq!(
        dns.addresses(&host("none.example.com")).await,
        Err(DnsError::NoAddress)
    );
}

#[tokio::test]
async fn an_address_is_not_looked_up() {
    let (server, dns) = start().await;

    assert_eq!(
        dns.addresses(&host("192.0.2.9")).await,
        Ok(vec!["192.0.2.9".parse().unwrap()])
    );
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn without_name_servers_nothing_is_found_and_nothing_fails() {
    let config = DnsConfig {
        servers: Vec::new(),
        timeout: Duration::from_secs(1),
    };
    let dns = Dns::new(&config).unwrap();

    assert_eq!(look_up(&dns).await, Ok(SrvAnswer::Absent));
    assert_eq!(
        dns.addresses(&host("cucm1.example.com")).await,
        Err(DnsError::NoAddress)
    );
}

#[test]
fn an_answer_is_too_old_after_a_day_of_outage_and_asked_again_every_few_seconds() {
    let mut kept = Kept::default();
    let name = Name::from_str(&format!("{NAME}.")).unwrap();
    let start = Instant::now();
    let settle = |kept: &mut Kept<u8>, outcome, at| kept.settle(name.clone(), outcome, at);
    let outage = || Err(NetError::Timeout);
    settle(&mut kept, Ok(1), start).unwrap();
    assert_eq!(kept.during_outage(&name, start), None);

    let late = start + limits::DNS_LAST_GOOD_AGE_MAX - Duration::from_secs(1);
    assert_eq!(settle(&mut kept, outage(), late), Ok(1));
    assert_eq!(kept.during_outage(&name, late), Some(Ok(1)));
    assert_eq!(
        kept.during_outage(&name, late + limits::DNS_OUTAGE_HOLD),
        None
    );

    let too_late = start + limits::DNS_LAST_GOOD_AGE_MAX;
    assert!(matches!(
        kept.during_outage(&name, too_late),
        None | Some(Err(_))
    ));
    assert!(settle(&mut kept, outage(), too_late).is_err());
}

#[test]
fn the_number_of_remembered_names_has_a_bound_and_the_oldest_goes() {
    let mut kept = Kept::default();
    let start = Instant::now();
    let name = |i: usize| Name::from_str(&format!("n{i}.")).unwrap();

    for i in 0..=limits::DNS_NAMES_MAX {
        let at = start + Duration::from_secs(i.try_into().unwrap());
        kept.settle(name(i), Ok(i), at).unwrap();
    }

    assert_eq!(kept.names.len(), limits::DNS_NAMES_MAX);
    assert!(!kept.names.contains_key(&name(0)));
}

async fn start() -> (TestDns, Dns) {
    let server = TestDns::start().await;
    let config = DnsConfig {
        servers: vec![server.address()],
        timeout: Duration::from_millis(150),
    };
    let dns = Dns::new(&config).unwrap();
    (server, dns)
}

async fn look_up(dns: &Dns) -> Result<SrvAnswer, DnsError> {
    dns.service(KnownService::CiscoUds, "example.com").await
}

fn record(priority: u16, weight: u16, port: u16, name: &str) -> SrvServer {
    SrvServer {
        priority,
        weight,
        port,
        address: host(&format!("{name}.example.com")),
    }
}

fn host(text: &str) -> Host {
    Host::parse(text).unwrap()
}
