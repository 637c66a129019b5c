//! Users whom an issuer has named, behind the session gate.

use common::testing::issuer::Issuer as Signer;
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

#[tokio::test]
async fn behind_the_gate_a_good_token_is_as_good_as_a_session_for_its_own_user() {
    let around = testing::World::start(&[&["a1.example.com"], &[IDP]]).await;
    let issuer = TestIssuer::start(&around).await;
    let signer = Signer::ec("k1");
    issuer.set("/jwks", 200, &signer.jwks());
    let verifier = Arc::new(around.verifier(&[issuer.config()]));
    let token = |user: &str, lifetime: i64| {
        let end = i64::try_from(clock::unix_now().0).unwrap() + lifetime;
        signer.token(&json!({ "iss": issuer.name(), "aud": "urn:edge", "sub": user, "exp": end }))
    };
    // As somebody's sign-in over HTTPS has fetched the keys.
    verifier
        .verify(&domain().name, &token("bob", 600), None, &on_behalf())
        .await
        .unwrap();
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
