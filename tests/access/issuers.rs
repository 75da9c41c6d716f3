//! JWTs of other issuers, with an issuer of our own: keys by URL that rotate, and tokens that are wrong in every way.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use calve::clock::{Clock, SystemClock};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::support::client::{Answer, Target};
use crate::support::server::{TestServer, make_token};
use crate::support::{PATIENCE, wait_until};

const ISSUER: &str = "https://issuer.example.com";
const AUDIENCE: &str = "https://upload.example.com";

/// A private key with a name.
struct Key {
    id: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Key {
    fn new(id: &'static str, algorithm: Algorithm) -> Self {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let key = match algorithm {
            Algorithm::ES256 => {
                let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let made = EcdsaKeyPair::generate_pkcs8(curve, &random).unwrap();
                EncodingKey::from_ec_der(made.as_ref())
            }
            Algorithm::EdDSA => {
                let made = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
                EncodingKey::from_ed_der(made.as_ref())
            }
            Algorithm::RS256 => {
                let made = KeyPair::generate(KeySize::Rsa2048).unwrap();
                let der = made.as_der().unwrap();
                let pem = format!(
                    "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
                    base64::engine::general_purpose::STANDARD.encode(der.as_ref())
                );
                EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap()
            }
            other => panic!("no keys of {other:?} are made here"),
        };
        Self { id, algorithm, key }
    }

    fn public(&self) -> Value {
        if self.algorithm == Algorithm::EdDSA {
            let pair = Ed25519KeyPair::from_pkcs8(self.key.inner()).unwrap();
            let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
            return json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": self.id, "x": x});
        }
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.id.to_owned());
        serde_json::to_value(jwk).unwrap()
    }

    /// A token with these claims over the usual ones; null takes one away.
    fn token(&self, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.id.to_owned());
        jsonwebtoken::encode(&header, &claims_with(claims), &self.key).unwrap()
    }
}

fn claims_with(changes: &Value) -> Value {
    let now = SystemClock.now().timestamp();
    let mut claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": now, "nbf": now, "exp": now + 300,
        "grants": ["acme.*:writer"],
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

/// Serves a key set, and counts how often it was asked for.
struct KeyServer {
    url: String,
    body: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl KeyServer {
    fn start(keys: &[&Key]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let server = Self {
            url,
            body: Arc::default(),
            asked: Arc::default(),
        };
        server.publish(keys);
        let (body, asked) = (server.body.clone(), server.asked.clone());
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                    head.push(byte[0]);
                }
                asked.fetch_add(1, Ordering::SeqCst);
                let body = body.lock().unwrap().clone();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _gone = stream.write_all(answer.as_bytes());
            }
        });
        server
    }

    fn publish(&self, keys: &[&Key]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.public()).collect();
        *self.body.lock().unwrap() = json!({ "keys": keys }).to_string();
    }
}

fn start(mode: &str, issuer: &str) -> TestServer {
    let issuers = format!(
        "[{{name = \"corp\", issuer = \"{ISSUER}\", audience = \"{AUDIENCE}\", {issuer}}}]"
    );
    TestServer::start_with(&[
        ("CALVE_AUTH__MODE", mode),
        ("CALVE_AUTH__ISSUERS", &issuers),
    ])
}

fn open(server: &TestServer, token: &str) -> Answer {
    let api = server.api().with_token(token);
    api.send("POST", "/v1/upload/session", &[], Some(b""))
}

#[track_caller]
fn assert_refused(server: &TestServer, what: &str, token: &str) {
    let answer = open(server, token);
    assert_eq!(answer.status, 401, "{what}: {}", answer.text());
    assert_eq!(answer.json()["detail"], "authentication failed", "{what}");
}

#[test]
fn tokens_of_a_configured_issuer_are_believed_and_wrong_ones_are_not() {
    let keys = [
        Key::new("rsa", Algorithm::RS256),
        Key::new("ec", Algorithm::ES256),
        Key::new("ed", Algorithm::EdDSA),
    ];
    let key_server = KeyServer::start(&keys.each_ref());
    let settings = format!(
        "jwks_url = \"{}\", grants_claim = \"grants\"",
        key_server.url
    );
    let server = start("jwt", &settings);
    for key in &keys {
        open(&server, &key.token(&json!({}))).expect(201);
    }
    let [rsa, ec, _] = &keys;
    let now = SystemClock.now().timestamp();
    for (what, claims) in [
        ("expired", json!({"exp": now - 120})),
        ("never expires", json!({"exp": null})),
        ("not yet", json!({"nbf": now + 120})),
        ("of the future", json!({"iat": now + 120})),
        ("for others", json!({"aud": "https://other.example.com"})),
        ("for nobody", json!({"aud": null})),
        ("by others", json!({"iss": "https://other.example.com"})),
        ("by nobody", json!({"iss": null})),
        ("about nobody", json!({"sub": null})),
        ("without grants", json!({"grants": null})),
        ("with no grant that is one", json!({"grants": ["*:owner"]})),
    ] {
        assert_refused(&server, what, &ec.token(&claims));
    }
    // Within the clocks' difference, and for several.
    open(&server, &ec.token(&json!({"exp": now - 20}))).expect(201);
    open(
        &server,
        &ec.token(&json!({"aud": ["https://other.example.com", AUDIENCE]})),
    )
    .expect(201);

    let claims = claims_with(&json!({}));
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = format!(
        "{}.{}.",
        part(&json!({"alg": "none", "kid": "ec"})),
        part(&claims)
    );
    assert_refused(&server, "unsigned", &unsigned);
    // With the public key, which everyone has, as the secret.
    let public = rsa.public().to_string();
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("rsa".to_owned());
    let secret = EncodingKey::from_secret(public.as_bytes());
    let confused = jsonwebtoken::encode(&header, &claims, &secret).unwrap();
    assert_refused(&server, "another algorithm", &confused);
    let foreign = Key::new("ec", Algorithm::ES256);
    assert_refused(&server, "another's key", &foreign.token(&json!({})));
    let valid = ec.token(&json!({}));
    let [head, _, signature] = valid.split('.').collect::<Vec<_>>()[..] else {
        panic!("not a JWT: {valid}")
    };
    let more = part(&claims_with(&json!({"grants": ["acme.*:owner"]})));
    assert_refused(&server, "changed", &format!("{head}.{more}.{signature}"));
    let access_token = make_token(&server, "alice", &["--grant", "acme.*:writer"]);
    assert_refused(&server, "an access token", &access_token);
}

#[test]
fn keys_may_rotate_and_made_up_ones_are_no_burden() {
    let old = Key::new("old", Algorithm::ES256);
    let key_server = KeyServer::start(&[&old]);
    let settings = format!(
        "jwks_url = \"{}\", grants_claim = \"grants\"",
        key_server.url
    );
    let server = start("tokens+jwt", &settings);
    open(&server, &old.token(&json!({}))).expect(201);
    let new = Key::new("new", Algorithm::ES256);
    key_server.publish(&[&new, &old]);
    let rotated = || (open(&server, &new.token(&json!({}))).status == 201).then_some(());
    wait_until("the new key is taken", PATIENCE, rotated);
    open(&server, &old.token(&json!({}))).expect(201);
    let before = key_server.asked.load(Ordering::SeqCst);
    assert!(before >= 2, "asked {before} times");
    for _ in 0..20 {
        let made_up = Key::new("made up", Algorithm::ES256);
        assert_refused(&server, "made up", &made_up.token(&json!({})));
    }
    let more = key_server.asked.load(Ordering::SeqCst) - before;
    assert!(more <= 1, "asked {more} times for keys that there are not");
    // Both kinds of credentials at once.
    let access_token = make_token(&server, "alice", &["--grant", "acme.*:writer"]);
    open(&server, &access_token).expect(201);
}

#[test]
fn an_issuer_that_does_not_answer_or_answers_nonsense_lets_nobody_in() {
    let key = Key::new("a", Algorithm::ES256);
    let key_server = KeyServer::start(&[&key]);
    for body in ["not JSON", "[]", "{\"keys\": 7}", &"x".repeat(300_000)] {
        *key_server.body.lock().unwrap() = body.to_owned();
        let settings = format!(
            "jwks_url = \"{}\", grants_claim = \"grants\"",
            key_server.url
        );
        let server = start("jwt", &settings);
        assert_refused(&server, &body[..body.len().min(20)], &key.token(&json!({})));
    }
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/keys", closed.local_addr().unwrap());
    drop(closed);
    let server = start(
        "jwt",
        &format!("jwks_url = \"{url}\", grants_claim = \"grants\""),
    );
    assert_refused(&server, "nobody there", &key.token(&json!({})));
    server.api().get("/health").expect(200);
}

#[test]
fn a_key_in_a_file_has_one_algorithm() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("secret");
    let secret = "a secret that is long enough for HS256";
    std::fs::write(&file, format!("{secret}\n")).unwrap();
    let settings = format!(
        "key_file = \"{}\", algorithm = \"HS256\", grants_claim = \"grants\"",
        file.display()
    );
    let server = start("jwt", &settings);
    let key = Key {
        id: "",
        algorithm: Algorithm::HS256,
        key: EncodingKey::from_secret(secret.as_bytes()),
    };
    open(&server, &key.token(&json!({}))).expect(201);
    let longer = Key {
        algorithm: Algorithm::HS512,
        ..key
    };
    assert_refused(&server, "HS512", &longer.token(&json!({})));
    assert_refused(
        &server,
        "ES256",
        &Key::new("x", Algorithm::ES256).token(&json!({})),
    );
}

#[test]
fn a_pinned_identity_is_exchanged_for_a_token_of_ours() {
    let key = Key::new("a", Algorithm::RS256);
    let key_server = KeyServer::start(&[&key]);
    let settings = format!(
        "jwks_url = \"{}\", identities = [{{user = \"release\", claims = {{repository_id = \"12\", ref = \"refs/heads/main\"}}, grants = [\"acme.builds.*:writer\"]}}, {{grants = [\"acme.builds.*:reader\"]}}]",
        key_server.url
    );
    let server = start("jwt", &settings);
    let exchange = |claims: &Value| {
        let form = format!(
            "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token_type=urn:ietf:params:oauth:token-type:jwt&subject_token={}",
            key.token(claims)
        );
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let api = server.api().without_credentials();
        api.send("POST", "/token", &headers, Some(form.as_bytes()))
    };
    let pinned = json!({"repository_id": "12", "ref": "refs/heads/main"});
    let issued = exchange(&pinned).expect_json(200);
    assert_eq!(
        issued["issued_token_type"],
        "urn:ietf:params:oauth:token-type:access_token"
    );
    assert_eq!(issued["expires_in"], 300);
    let api = server
        .api()
        .with_token(issued["access_token"].as_str().unwrap());
    let session = api.open_session();
    api.put_csv(&session, 0, "id\n1\n");
    api.commit(&session, &Target::new("acme.other.x"), "fail")
        .expect_refusal(403, "not_permitted");
    api.commit(&session, &Target::new("acme.builds.x"), "fail")
        .expect(200);
    // Everyone has the second identity, and nobody can exchange it.
    for claims in [
        json!({}),
        json!({"repository_id": "12"}),
        json!({"repository_id": "12", "ref": "refs/heads/other"}),
        json!({"repository_id": "13", "ref": "refs/heads/main"}),
    ] {
        let refused = exchange(&claims).expect_refusal(401, "unauthenticated");
        assert_eq!(refused["detail"], "authentication failed", "{claims}");
    }
    // It is a reader's, who may not upload, but is known.
    open(&server, &key.token(&json!({}))).expect_refusal(403, "not_permitted");
}
