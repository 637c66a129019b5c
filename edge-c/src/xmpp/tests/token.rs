//! Users whom an issuer has named, behind the session gate.

use common::redact::Secret;
use common::testing::issuer::Issuer as Signer;
use common::xmpp::NS_SASL;
use common::xmpp::sasl::Attempt;
use serde_json::json;

use super::*;
use crate::testing::{self, TestIssuer, domain, on_behalf};

const IDP: &str = "idp.example.com";

fn bearer(mechanism: &str, user: &str, token: &str) -> String {
    let response = match mechanism {
        "X-OAUTH2" => format!("\0{user}\0{token}"),
        _ => format!("n,a={user},\u{1}auth=Bearer {token}\u{1}\u{1}"),
    };
    let response = STANDARD.encode(response);
    format!(
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{mechanism}'>{response}</auth>"
    )
}

/// An issuer whose keys are at hand, as somebody's sign-in over HTTPS has fetched them.
struct Issuing {
    issuer: TestIssuer,
    signer: Signer,
    verifier: Arc<TokenVerifier>,
    _around: testing::World,
}

impl Issuing {
    async fn start() -> Self {
        let around = testing::World::start(&[&["a1.example.com"], &[IDP]]).await;
        let issuer = TestIssuer::start(&around).await;
        let signer = Signer::ec("k1");
        issuer.set("/jwks", 200, &signer.jwks());
        let verifier = Arc::new(around.verifier(&[issuer.config()]));
        let issuing = Self {
            issuer,
            signer,
            verifier,
            _around: around,
        };
        let (domain, asked) = (domain().name, on_behalf());
        let token = issuing.token("bob", 600);
        let verified = issuing.verifier.verify(&domain, &token, None, &asked);
        verified.await.unwrap();
        issuing
    }

    /// A token that ends so many seconds from now.
    fn token(&self, user: &str, lifetime: i64) -> String {
        let end = i64::try_from(clock::unix_now().0).unwrap() + lifetime;
        let iss = self.issuer.name();
        self.signer
            .token(&json!({ "iss": iss, "aud": "urn:edge", "sub": user, "exp": end }))
    }
}

#[tokio::test]
async fn only_a_token_that_somebody_made_up_is_a_guess_and_it_is_nobodys() {
    let issuing = Issuing::start().await;
    let guess = |token: &str| {
        let attempt = Attempt {
            mechanism: "OAUTHBEARER".to_owned(),
            user: Some("alice".to_owned()),
            token: Some(Secret::new(token.to_owned())),
            profile: NS_SASL,
        };
        gate::guess(&attempt, &domain().name, Some(&issuing.verifier))
    };
    let good = issuing.token("alice", 600);
    let (head, _) = good.rsplit_once('.').unwrap();

    assert_eq!(guess(&format!("{head}.{}", "A".repeat(86))), Some(None));
    assert_eq!(guess(&good), None, "whatever the node has against it");
    assert_eq!(guess(&issuing.token("alice", -600)), None);
    assert_eq!(guess("of somebody else"), None);
}

#[tokio::test]
async fn behind_the_gate_a_good_token_is_as_good_as_a_session_for_its_own_user() {
    let issuing = Issuing::start().await;
    let token = |user: &str, lifetime: i64| issuing.token(user, lifetime);
    let verifier = Arc::clone(&issuing.verifier);
    let authority = Authority::new();
    let node = TestNode::start(&authority).await;
    let places = [starttls(node.address())];
    let gate = SessionGate::User;
    let world = world_with(&authority, &places, gate, Some(verifier)).await;
    let answer = async |auth: String| {
        let mut client = world.client(ClientTransport::Tls).await;
        client.send(HEADER).await;
        client.until("</stream:features>").await;
        client.send(&auth).await;
        client
            .until("xmlns='urn:ietf:params:xml:ns:xmpp-sasl'")
            .await;
        while !client.seen.contains("<success") && !client.seen.contains("<failure") {
            let more = client.message().await.unwrap();
            client.seen.push_str(&more);
        }
        client.seen.contains("<success")
    };

    for mechanism in ["OAUTHBEARER", "X-OAUTH2"] {
        let good = token("alice", 600);
        assert!(answer(bearer(mechanism, "alice", &good)).await);
        assert!(answer(bearer(mechanism, "alice@example.com", &good)).await);
        assert!(!answer(bearer(mechanism, "mallory", &good)).await);
        assert!(!answer(bearer(mechanism, "alice", "a.b.c")).await);
    }
    assert!(!answer(bearer("OAUTHBEARER", "alice", &token("alice", -600))).await);
    assert!(!answer(plain("alice")).await);
}

#[tokio::test]
async fn a_stream_that_a_token_let_in_ends_with_the_token() {
    let issuing = Issuing::start().await;
    let authority = Authority::new();
    let node = TestNode::start(&authority).await;
    let places = [starttls(node.address())];
    let verifier = Some(Arc::clone(&issuing.verifier));
    let world = world_with(&authority, &places, SessionGate::User, verifier).await;
    let mut clients = Vec::new();
    for (user, lifetime) in [("alice", 600), ("vera", 900)] {
        let auth = bearer("OAUTHBEARER", user, &issuing.token(user, lifetime));
        clients.push(world.signed_in_with(&auth).await);
    }
    let now = clock::unix_now();

    world.xmpp.close_expired(now.plus(Duration::from_secs(500)));
    for client in &mut clients {
        client.send("<message id='m1'/>").await;
        client.until("<message id='m1'/>").await;
    }
    world.xmpp.close_expired(now.plus(Duration::from_secs(700)));

    assert_eq!(clients[0].closed().await, Some(FlowClose::Revoked));
    let told = clients[0].seen.contains("<stream:error><reset");
    assert!(told, "{}", clients[0].seen);
    assert!(world.metric("side=\"local\",reason=\"expired\"} 1"));
    clients[1].send("<message id='m2'/>").await;
    clients[1].until("<message id='m2'/>").await;
}
