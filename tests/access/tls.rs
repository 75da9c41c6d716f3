//! Encrypted connections: HTTP/1.1 and HTTP/2, a certificate that changes, and the released client.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::Value;

use super::clients::arguments;
use super::tokens::TOKENS;
use crate::support::client::Target;
use crate::support::data::{Expectation, numbered_csv};
use crate::support::python::{run_json, upload_trusting};
use crate::support::server::{TestServer, make_token, write_file};
use crate::support::table::assert_table_holds;
use crate::support::{PATIENCE, wait_until};

/// An authority, and the files of a server's certificate.
struct Certificates {
    folder: tempfile::TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "the authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("authority.pem"), authority.pem()).unwrap();
        Self { folder, authority }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a new certificate and its key, and gives its serial number.
    fn renew(&self, serial: u64) -> String {
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.serial_number = Some(serial.into());
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        replace(&self.path("tls.key"), key.serialize_pem().as_bytes());
        replace(&self.path("tls.crt"), certificate.pem().as_bytes());
        format!("{serial:X}")
    }

    fn settings(&self) -> Vec<(String, String)> {
        let path = |name: &str| self.path(name).display().to_string();
        vec![
            ("CALVE_TLS__CERTIFICATE".to_owned(), path("tls.crt")),
            ("CALVE_TLS__KEY".to_owned(), path("tls.key")),
        ]
    }
}

/// As a tool that renews certificates does it.
fn replace(path: &Path, bytes: &[u8]) {
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, bytes).unwrap();
    std::fs::rename(temporary, path).unwrap();
}

fn start(certificates: &Certificates) -> TestServer {
    let settings = certificates.settings();
    let mut settings: Vec<(&str, &str)> = settings
        .iter()
        .map(|(key, value)| (&**key, &**value))
        .collect();
    settings.push(TOKENS);
    TestServer::start_with(&settings)
}

/// What a client of Python's sees of `/health`: protocol, status, serial number of the certificate, headers.
fn seen(server: &TestServer, certificates: &Certificates, protocol: &str) -> Value {
    let arguments = [
        server.base_url().to_owned(),
        certificates.path("authority.pem").display().to_string(),
        protocol.to_owned(),
    ];
    run_json("tls_client.py", &arguments)
}

#[test]
fn connections_are_encrypted_over_either_protocol() {
    let certificates = Certificates::new();
    let serial = certificates.renew(0x11);
    let server = start(&certificates);
    assert!(
        server.base_url().starts_with("https://"),
        "{}",
        server.base_url()
    );
    for (protocol, expected) in [("1.1", "HTTP/1.1"), ("2", "HTTP/2")] {
        let seen = seen(&server, &certificates, protocol);
        assert_eq!(seen["protocol"], expected, "{seen}");
        assert_eq!(seen["status"], 200, "{seen}");
        assert_eq!(seen["serial"], serial, "{seen}");
        let strict = &seen["headers"]["strict-transport-security"];
        assert_eq!(strict, "max-age=31536000", "{seen}");
    }
    // Nobody is answered in plain text.
    let address = server.base_url().trim_start_matches("https://").to_owned();
    let plain = ureq::get(format!("http://{address}/health")).call();
    assert!(plain.is_err(), "{plain:?}");
}

#[test]
fn a_new_certificate_is_taken_into_use_and_a_broken_one_is_not() {
    let certificates = Certificates::new();
    certificates.renew(0x22);
    let server = start(&certificates);
    let second = certificates.renew(0x33);
    let is_new = || (seen(&server, &certificates, "1.1")["serial"] == *second).then_some(());
    wait_until("the new certificate is in use", PATIENCE, is_new);
    replace(&certificates.path("tls.crt"), b"not a certificate");
    let is_told = || {
        server
            .log_tail()
            .contains("the one before stays in use")
            .then_some(())
    };
    wait_until("the log tells of the broken one", PATIENCE, is_told);
    assert_eq!(seen(&server, &certificates, "1.1")["serial"], *second);
}

#[test]
fn the_released_client_uploads_over_an_encrypted_connection() {
    let certificates = Certificates::new();
    certificates.renew(0x44);
    let server = start(&certificates);
    let token = make_token(&server, "alice", &["--grant", "acme.sales.*:writer"]);
    let csv = numbered_csv(0, 100);
    let file = write_file(server.scratch("a.csv"), csv.as_bytes());
    let arguments = arguments(&server, &token, &file);
    let answer = upload_trusting(&certificates.path("authority.pem"), "0.6.0", &arguments);
    assert_eq!(answer["commit"]["rows_written"], 100, "{answer}");
    let expectation = Expectation::numbered().csv(&csv);
    assert_table_holds(&server, &Target::new("acme.sales.orders"), &expectation);
}
