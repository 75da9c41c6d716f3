//! The OpenAPI document against the server that serves it: schemathesis sends some thousand requests that it allows and that it
//! forbids, alone and one after the other, and compares every answer with it. `tests/python/schemathesis.toml` says what is
//! checked, and why what is not.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

#[path = "support/mod.rs"]
mod support;

use support::python;
use support::server::TestServer;

#[test]
fn every_answer_is_as_the_document_says() {
    let mut server = TestServer::start();
    let config = python::programs_dir().join("schemathesis.toml");
    let config = config.to_str().expect("a path of text");
    let document = format!("{}/openapi.json", server.base_url());
    // It keeps files where it runs.
    let scratch = server.scratch("schemathesis");
    std::fs::create_dir(&scratch).expect("a folder");
    let told = python::run_command(
        "schemathesis",
        &[
            "--config-file",
            config,
            "run",
            &document,
            "--no-color",
            // A slow machine is no fault of the server.
            "--suppress-health-check",
            "too_slow",
            "--request-timeout",
            "20",
        ],
        &scratch,
    );
    println!("{told}");
    for phase in ["Examples", "Coverage", "Fuzzing", "Stateful"] {
        assert!(
            told.contains(&format!("\u{2705} {phase}")),
            "{phase}: {told}"
        );
    }
    assert!(!server.log().contains("panicked"));
    server.api().get("/health").expect(200);
    server.terminate();
    server.assert_sound();
}
