//! Which servers start at all, and what they say.

use super::tokens::TOKENS;
use crate::support::server::TestServer;

/// What a server that refuses to start says.
#[track_caller]
fn refusal(settings: &[(&str, &str)]) -> String {
    TestServer::not_started(settings).expect_refused_start()
}

#[test]
fn an_open_server_is_not_put_on_the_network_by_accident() {
    // Its flag says 127.0.0.1, so this one is about the file.
    let server = TestServer::not_started(&[]);
    let file = crate::support::server::write_file(
        server.scratch("calve.toml"),
        b"[server]\nlisten = \"0.0.0.0:0\"\n",
    );
    let output = crate::support::server::calve()
        .args(["serve", "--config"])
        .arg(&file)
        .arg("--data-dir")
        .arg(server.data_dir())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for expected in [
        "authentication is off",
        "calve token create",
        "insecure_open = true",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(!server.data_dir().exists(), "it began all the same");
}

#[test]
fn the_first_start_says_how_to_make_a_token() {
    let server = TestServer::start_with(&[TOKENS]);
    let log = server.log_tail();
    assert!(log.contains("calve token create --data-dir"), "{log}");
}

#[test]
fn settings_that_let_in_the_wrong_people_are_refused() {
    let issuer = |more: &str| {
        format!("[{{name = \"ci\", issuer = \"https://i\", audience = \"calve\", {more}}}]")
    };
    let grants = "identities = [{grants = [\"acme.*:writer\"]}]";
    for (issuers, expected) in [
        ("[]".to_owned(), "there is no [[auth.issuers]]"),
        (
            issuer(grants),
            "give either jwks_url, or key_file and algorithm",
        ),
        (
            issuer(&format!("jwks_url = \"http://example.com/keys\", {grants}")),
            "must start with https://",
        ),
        (
            issuer("jwks_url = \"https://example.com/keys\""),
            "nobody would get a grant",
        ),
        (
            issuer(&format!(
                "key_file = \"/nowhere\", algorithm = \"HS256\", {grants}"
            )),
            "cannot read key_file",
        ),
        (
            issuer(&format!(
                "key_file = \"/dev/null\", algorithm = \"HS256\", {grants}"
            )),
            "at least 32 bytes",
        ),
        (
            issuer(&format!(
                "key_file = \"/dev/null\", algorithm = \"none\", {grants}"
            )),
            "unknown variant: found `none`",
        ),
        (
            issuer("jwks_url = \"https://e\", identities = [{grants = [\"*:owner\"]}]"),
            "is not a grant",
        ),
    ] {
        let said = refusal(&[
            ("CALVE_AUTH__MODE", "jwt"),
            ("CALVE_AUTH__ISSUERS", &issuers),
        ]);
        assert!(said.contains(expected), "{issuers}: {said}");
    }
    let half = refusal(&[("CALVE_TLS__CERTIFICATE", "/dev/null")]);
    assert!(
        half.contains("certificate and key are given together"),
        "{half}"
    );
}

#[test]
fn pages_of_other_origins_may_only_come_where_that_is_configured() {
    let preflight = |server: &TestServer| {
        let headers = [
            ("origin", "https://app.example.com"),
            ("access-control-request-method", "PUT"),
            (
                "access-control-request-headers",
                "authorization,x-file-name",
            ),
        ];
        let api = server.api().without_credentials();
        api.send("OPTIONS", "/v1/upload/x", &headers, None)
    };
    let closed = preflight(&TestServer::start_with(&[TOKENS]));
    assert_eq!(closed.header("access-control-allow-origin"), None);
    let origins = (
        "CALVE_SERVER__CORS_ORIGINS",
        "[\"https://app.example.com\"]",
    );
    let open = TestServer::start_with(&[TOKENS, origins]);
    let answer = preflight(&open).expect(200);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("https://app.example.com")
    );
    let other = [("origin", "https://other.example.com")];
    let answer = open.api().send("GET", "/health", &other, None);
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[test]
fn every_answer_tells_browsers_to_keep_off() {
    let server = TestServer::start_with(&[TOKENS]);
    let api = server.api().without_credentials();
    for path in ["/health", "/nowhere", "/metrics", "/openapi.json"] {
        let answer = api.get(path);
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{path}"
        );
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{path}");
    }
    let docs = api.get("/docs");
    let policy = docs.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'self'") && !policy.contains("script"),
        "{policy}"
    );
}

#[test]
fn the_urls_handed_out_are_those_that_clients_reach() {
    let url = |server: &TestServer, headers: &[(&str, &str)]| {
        let answer = server
            .api()
            .send("POST", "/v1/upload/session", headers, Some(b""));
        let answer = answer.expect_json(201);
        let id = answer["session_id"].as_str().unwrap().to_owned();
        answer["url"].as_str().unwrap().replace(&id, "ID")
    };
    let forwarded = [
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "upload.example.com"),
        ("forwarded", "host=evil.example.com;proto=https"),
    ];
    let direct = TestServer::start();
    let own = format!("{}/v1/upload/ID", direct.base_url());
    assert_eq!(url(&direct, &[]), own);
    assert_eq!(url(&direct, &forwarded), own, "anyone is believed");
    let proxies = ("CALVE_SERVER__TRUSTED_PROXIES", "[\"127.0.0.0/8\"]");
    let proxied = TestServer::start_with(&[proxies]);
    assert_eq!(
        url(&proxied, &forwarded),
        "https://upload.example.com/v1/upload/ID"
    );
    let fixed = ("CALVE_SERVER__PUBLIC_URL", "https://fixed.example.com/");
    let configured = TestServer::start_with(&[proxies, fixed]);
    assert_eq!(
        url(&configured, &forwarded),
        "https://fixed.example.com/v1/upload/ID"
    );
}
