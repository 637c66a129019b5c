//! One client asks the same as fast as it can; others are served.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};

use super::scene::{SERVICE, Scene, dig, listen, server, table};

const PER_SECOND: u32 = 10;
const SECONDS: u32 = 3;
/// So many queries at most: several times what the server is allowed to answer.
const QUERIES_MAX: u32 = 50_000;

#[test]
fn who_repeats_a_question_is_held_back_and_others_are_served() {
    let mut scene = Scene::prepare();
    let edge = &mut scene.pair.edges[0];
    edge.set("dns", "listen", listen(1));
    let limit = [
        ("responses_per_second", i64::from(PER_SECOND).into()),
        ("slip", 2.into()),
    ];
    edge.set("dns", "rate_limit", table(limit));
    edge.set(
        "dns",
        "zone",
        vec![table([
            ("name", SERVICE.into()),
            ("domains", vec!["example.com"].into()),
        ])],
    );
    edge.start_alone().unwrap();
    let client = scene.zones.client();
    let socket = client.udp("0.0.0.0:0".parse().unwrap()).unwrap();
    let is_over = AtomicBool::new(false);

    let (sent, heard, served) = thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(&socket, server(1), &is_over));
        // The same network and the same question: a client like any other, which goes over to TCP when told to.
        let mut served = 0_u32;
        while !is_over.load(Ordering::Relaxed) {
            let answer = dig(
                &client,
                server(1),
                &format!("{SERVICE} SOA +norec +nocookie +tries=5 +time=1"),
            );
            served += u32::from(
                answer.contains("status: NOERROR") && !answer.contains("flags: qr aa tc"),
            );
            assert!(answer.contains("status: NOERROR"), "{answer}");
        }
        let (sent, heard) = flooding.join().unwrap();
        (sent, heard, served)
    });

    // A second's worth after a pause, then the rate; half of what is over it goes out empty.
    let whole_max = PER_SECOND * (SECONDS + 2);
    assert!(sent > 20 * whole_max, "the flood is none: {sent}");
    assert!(heard.whole <= whole_max, "{heard:?} of {sent}");
    assert!(heard.whole >= PER_SECOND, "{heard:?} of {sent}");
    assert!(heard.truncated <= sent / 2 + 1, "{heard:?} of {sent}");
    assert!(served > 0);
    let (_, page) = scene.pair.edges[0].ask_admin("/metrics").unwrap();
    for how in ["dropped", "slipped"] {
        let zero = format!("edge_dns_answers_limited_total{{how=\"{how}\"}} 0\n");
        assert!(!page.contains(&zero), "{page}");
    }
    let log = scene.pair.edges[0].log().unwrap();
    assert_eq!(
        log.matches("answers were held back").count(),
        1,
        "one line, whatever comes: {log}"
    );
}

#[derive(Debug, Default)]
struct Heard {
    whole: u32,
    truncated: u32,
}

fn flood(socket: &UdpSocket, to: SocketAddr, is_over: &AtomicBool) -> (u32, Heard) {
    let mut query = Message::query();
    query.add_query(Query::query(
        Name::from_ascii(SERVICE).unwrap(),
        RecordType::SOA,
    ));
    let query = query.to_vec().unwrap();
    socket.set_nonblocking(true).unwrap();
    let (mut sent, mut heard, mut buffer) = (0, Heard::default(), [0; 2048]);
    let started = Instant::now();
    let end = started + Duration::from_secs(SECONDS.into());
    while Instant::now() < end && sent < QUERIES_MAX {
        sent += u32::from(socket.send_to(&query, to).is_ok());
        read(socket, &mut buffer, &mut heard);
    }
    // What is under way still counts.
    socket.set_nonblocking(false).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    read(socket, &mut buffer, &mut heard);
    is_over.store(true, Ordering::Relaxed);
    (sent, heard)
}

fn read(socket: &UdpSocket, buffer: &mut [u8], heard: &mut Heard) {
    while socket.recv(buffer).is_ok() {
        if buffer[2] & 2 == 0 {
            heard.whole += 1;
        } else {
            heard.truncated += 1;
        }
    }
}
