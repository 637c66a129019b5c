//! Who a client is: by digest of edge-c's own, by a live session, and no longer once that is revoked.

use common::id::CoreId;
use common::redact::Secret;
use common::session::{HomeCluster, Method, UserName};
use common::sip::auth::TokenFault;
use common::sip::digest::Algorithm;
use common::testing::issuer::Issuer as Signer;
use serde_json::json;

use super::*;
use crate::config::tokens::IssuerKind;
use crate::sessions::{self, NewSession, Selection, Sessions, SystemRandom};
use crate::sip::passwords::{Passwords, Stored};
use crate::sip::users::{Users, is_gone};

fn sessions() -> Sessions {
    let config = sessions::Config {
        core: CoreId(1),
        lifetime: Duration::from_secs(3600),
        cookie_domain: None,
        state: sessions::State::Memory,
        shared: None,
    };
    Sessions::open(config, Arc::new(SystemRandom), clock::unix_now()).unwrap()
}

async fn sign_in(sessions: &Sessions, user: &str, from: [u8; 4]) {
    let host = Host::parse("cucm1.lab.test").unwrap();
    let new = NewSession {
        user: UserName::parse(user).unwrap(),
        domain: Domain::parse("lab.test").unwrap(),
        deployment: Deployment::standard(),
        home: HomeCluster {
            host: host.clone(),
            nodes: vec![host],
        },
        method: Method::Basic,
        device: None,
        client: ClientAddr((from, 50000).into()),
        nodes: Vec::new(),
        credential: None,
        edge_name: Domain::parse("edge1.lab.test").unwrap(),
        until: None,
    };
    sessions.issue(new, clock::unix_now()).await.unwrap();
}

fn users(sessions: &Sessions, stored: Stored) -> Arc<Users> {
    let passwords = Passwords::new(vec!["lab.test".into()], stored);
    Arc::new(Users::new(sessions.clone(), Arc::new(passwords)))
}

/// What a phone answers to a challenge of edge-c (RFC 7616 section 3.4.1).
fn credentials(challenge: &Message, user: &str, password: &str) -> String {
    let value = challenge.values(Name::WwwAuthenticate).next().unwrap();
    let value = std::str::from_utf8(value).unwrap();
    let (_, nonce) = value.split_once("nonce=\"").unwrap();
    let (nonce, _) = nonce.split_once('"').unwrap();
    let hash = |parts: &[&str]| {
        let parts: Vec<_> = parts.iter().map(|part| part.as_bytes()).collect();
        Algorithm::Sha256.hash(&parts)
    };
    let ha1 = hash(&[user, "lab.test", password]);
    let ha2 = hash(&["REGISTER", "sip:lab.test"]);
    let response = hash(&[&ha1, nonce, "00000001", "c", "auth", &ha2]);
    format!(
        "Authorization: Digest username=\"{user}\", realm=\"lab.test\", nonce=\"{nonce}\", uri=\"sip:lab.test\", \
         algorithm=SHA-256, qop=auth, nc=00000001, cnonce=\"c\", response=\"{response}\"\r\n"
    )
}

#[tokio::test]
async fn edge_c_asks_for_the_password_itself_and_the_registrar_sees_none() {
    let mut stored = Stored::default();
    stored.add("1001", "lab.test", "hunter2").unwrap();
    let world = world_with(Setup {
        users: users(&sessions(), stored),
        ..Setup::default()
    })
    .await;
    let (address, mut seen) = udp_registrar_that_trusts().await;
    world.sip.set_registrars(vec![Registrar {
        authentication: Authentication::Edge {
            realm: "lab.test".into(),
            algorithms: Algorithm::USUAL.into(),
        },
        ..registrar(&[(Transport::Udp, address)])
    }]);
    let mut client = world.client().await;

    client.register("1001", "").await;
    let challenge = client.message().await;
    client
        .register("1001", &credentials(&challenge, "1001", "wrong"))
        .await;
    let refused = loop {
        let frame = client.frame().await.unwrap();
        if let Frame::Message(bytes) = frame {
            break Message::parse(bytes).unwrap();
        }
        assert!(matches!(frame, Frame::AuthFailed(Some(_))), "{frame:?}");
    };
    client
        .register("1001", &credentials(&refused, "1001", "hunter2"))
        .await;

    assert_eq!(
        (challenge.status(), refused.status()),
        (Some(401), Some(401))
    );
    while !matches!(client.frame().await.unwrap(), Frame::Gate(Gate::Open)) {}
    let register = seen.recv().await.unwrap();
    assert!(!register.has(Name::Authorization));
}

/// A registrar that accepts whatever edge-c lets through.
async fn udp_registrar_that_trusts() -> (SocketAddr, mpsc::Receiver<Message>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (sender, seen) = mpsc::channel(64);
    drop(tokio::spawn(async move {
        let mut buffer = vec![0; 65_535];
        while let Ok((len, peer)) = socket.recv_from(&mut buffer).await {
            let request = Message::parse(Bytes::copy_from_slice(&buffer[..len])).unwrap();
            let ok = response(&request, "200 OK", "Expires: 600\r\n");
            socket.send_to(ok.as_bytes(), peer).await.unwrap();
            if request.method_token() != b"OPTIONS" {
                drop(sender.try_send(request));
            }
        }
    }));
    (address, seen)
}

#[tokio::test]
async fn a_learned_password_counts_only_while_the_user_is_signed_in() {
    let sessions = sessions();
    let passwords = Arc::new(Passwords::new(vec!["lab.test".into()], Stored::default()));
    let users = Users::new(sessions.clone(), Arc::clone(&passwords));
    let alice = UserName::parse("alice").unwrap();
    sign_in(&sessions, "alice", [192, 0, 2, 7]).await;
    passwords.learn(
        &alice,
        &Secret::new("Basic YWxpY2U6aHVudGVyMg==".to_owned()),
    );

    let known = users.ha1("alice", "lab.test", Algorithm::Md5);
    sessions.revoke(Selection::User(alice)).await.unwrap();
    let revoked = users.ha1("alice", "lab.test", Algorithm::Md5);

    assert_eq!(
        known.unwrap().reveal(),
        &Algorithm::Md5.hash(&[b"alice", b"lab.test", b"hunter2"])
    );
    assert!(revoked.is_none());
}

#[tokio::test]
async fn a_session_counts_from_its_own_address() {
    let sessions = sessions();
    sign_in(&sessions, "Alice", [192, 0, 2, 7]).await;
    let users = users(&sessions, Stored::default());

    assert!(users.is_signed_in("alice", None));
    assert!(users.is_signed_in("alice", Some([192, 0, 2, 7].into())));
    assert!(!users.is_signed_in("alice", Some([192, 0, 2, 8].into())));
    assert!(!users.is_signed_in("bob", None));
}

#[tokio::test]
async fn the_gate_asks_for_a_session_and_a_revoked_one_closes_the_connection() {
    let sessions = sessions();
    let world = world_with(Setup {
        users: users(&sessions, Stored::default()),
        session_gate: SessionGate::User,
        ..Setup::default()
    })
    .await;
    let (address, _seen) = udp_registrar().await;
    world.use_nodes(&[(Transport::Udp, address)]);
    let mut client = world.client().await;

    client.register("1001", "").await;
    let refused = client.message().await;
    sign_in(&sessions, "1001", [192, 0, 2, 7]).await;
    let mut client = world.client().await;
    client.register("1001", "").await;
    let challenged = client.message().await;
    client.register("1001", CREDENTIALS).await;
    while !matches!(client.frame().await.unwrap(), Frame::Gate(Gate::Open)) {}

    assert_eq!(
        (refused.status(), challenged.status()),
        (Some(403), Some(401))
    );
    world.sip.close_users(|aor| is_gone(&sessions, aor));
    assert_eq!(world.sip.status().registrations, 1, "still signed in");
    let user = UserName::parse("1001").unwrap();
    sessions.revoke(Selection::User(user)).await.unwrap();
    world.sip.close_users(|aor| is_gone(&sessions, aor));
    while !matches!(
        client.frame().await.unwrap(),
        Frame::Close(FlowClose::Revoked)
    ) {}
}

#[tokio::test]
async fn a_phones_token_is_judged_like_any_other_and_must_be_its_users() {
    let lab = crate::testing::World::start(&[&["a1.example.com"], &["idp.example.com"]]).await;
    let signer = Signer::ec("k1");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("issuer.json");
    std::fs::write(&file, signer.jwks()).unwrap();
    let mut issuer = crate::testing::TestIssuer::start(&lab).await.config();
    issuer.kind = IssuerKind::Static {
        keys: vec![file],
        decryption_key: None,
    };
    let iss = issuer.rules.issuer.clone().unwrap();
    let passwords = Passwords::new(Vec::new(), Stored::default());
    let users =
        Users::new(sessions(), Arc::new(passwords)).with_tokens(Arc::new(lab.verifier(&[issuer])));
    let now = clock::unix_now().0;
    let token = |user: &str, audience: &str, expires: u64| {
        signer.token(&json!({ "iss": iss, "aud": audience, "sub": user, "exp": expires }))
    };
    let check = |aor: &str, token: &str| {
        let (user, host) = aor.split_once('@').unwrap();
        let aor = Aor::new(user.as_bytes(), host.as_bytes()).unwrap();
        users.check_token(&aor, token)
    };
    let good = token("1001", "urn:edge", now + 600);
    let by_mail = token("1001@lab.test", "urn:edge", now + 600);
    let (head, _) = good.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", "A".repeat(86));

    for (aor, token, expected) in [
        ("1001@lab.test", &good, Ok(())),
        ("1001@lab.test", &by_mail, Ok(())),
        ("1002@lab.test", &good, Err(TokenFault::Refused)),
        ("1001@other.test", &by_mail, Err(TokenFault::Refused)),
        (
            "1001@lab.test",
            &token("1001", "urn:other", now + 600),
            Err(TokenFault::Refused),
        ),
        (
            "1001@lab.test",
            &token("1001", "urn:edge", now - 60),
            Err(TokenFault::Expired),
        ),
        ("1001@lab.test", &forged, Err(TokenFault::Forged)),
        (
            "1001@lab.test",
            &"opaque".to_owned(),
            Err(TokenFault::Refused),
        ),
    ] {
        assert_eq!(check(aor, token), expected, "{aor}");
    }
    let aor = Aor::new(b"1001", b"lab.test").unwrap();
    assert_eq!(users.authorization_server(&aor), Some(iss));
}
