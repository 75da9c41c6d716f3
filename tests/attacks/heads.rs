//! Request lines and headers: too many, too long, not allowed, not meant for us.

use super::attack::Expected::{NoRequest, Refused, Statuses};
use super::attack::{Attack, attack};

/// A look at the server's health with further lines in the head.
fn health(lines: &str) -> String {
    format!("GET /health HTTP/1.1\r\nhost: calve\r\n{lines}\r\n")
}

pub(crate) fn attacks(_session: &str) -> Vec<Attack> {
    let many: String = (0..300)
        .map(|number| format!("x-{number}: a\r\n"))
        .collect();
    let large = |bytes: usize| format!("x-large: {}\r\n", "a".repeat(bytes));
    let mut attacks = vec![
        attack("300 headers", health(&many), NoRequest(431)),
        attack(
            "a header of 64 KiB",
            health(&large(64 << 10)),
            Statuses(&[200]),
        ),
        attack("a header of a MiB", health(&large(1 << 20)), NoRequest(431)),
        attack(
            "a header name of a MiB",
            health(&format!("{}: a\r\n", "x".repeat(1 << 20))),
            NoRequest(431),
        ),
        attack(
            "a header of a MiB that does not end",
            format!("GET /health HTTP/1.1\r\nx: {}", "a".repeat(1 << 20)),
            NoRequest(431),
        ),
        attack(
            "a path of a MiB",
            format!(
                "GET /{} HTTP/1.1\r\nhost: calve\r\n\r\n",
                "a".repeat(1 << 20)
            ),
            NoRequest(431),
        ),
        attack(
            "a path of 60 KiB",
            format!(
                "GET /{} HTTP/1.1\r\nhost: calve\r\n\r\n",
                "a".repeat(60 << 10)
            ),
            Refused(404, "route_not_found"),
        ),
        attack(
            "a path of 100 KiB",
            format!(
                "GET /{} HTTP/1.1\r\nhost: calve\r\n\r\n",
                "a".repeat(100 << 10)
            ),
            NoRequest(400),
        ),
        attack("no host", "GET /health HTTP/1.1\r\n\r\n", NoRequest(400)),
        attack(
            "two hosts",
            health("host: evil.example\r\n"),
            NoRequest(400),
        ),
        attack(
            "another host in the target",
            "GET http://evil.example/health HTTP/1.1\r\nhost: calve\r\n\r\n",
            Statuses(&[200]),
        ),
        attack(
            "a target without a path",
            "GET http://evil.example HTTP/1.1\r\nhost: calve\r\n\r\n",
            Refused(404, "route_not_found"),
        ),
        attack(
            "a target of another kind",
            "GET file:///etc/passwd HTTP/1.1\r\nhost: calve\r\n\r\n",
            NoRequest(400),
        ),
        attack(
            "an asterisk",
            "OPTIONS * HTTP/1.1\r\nhost: calve\r\n\r\n",
            Refused(404, "route_not_found"),
        ),
        attack(
            "a tunnel",
            "CONNECT evil.example:443 HTTP/1.1\r\nhost: evil.example:443\r\n\r\n",
            Refused(404, "route_not_found"),
        ),
        attack(
            "a request that echoes itself",
            "TRACE /health HTTP/1.1\r\nhost: calve\r\n\r\n",
            Refused(405, "method_not_allowed"),
        ),
        attack(
            "a method nobody knows",
            "BREW /health HTTP/1.1\r\nhost: calve\r\n\r\n",
            Refused(405, "method_not_allowed"),
        ),
        attack(
            "a method of a KiB",
            format!(
                "{} /health HTTP/1.1\r\nhost: calve\r\n\r\n",
                "A".repeat(1024)
            ),
            Refused(405, "method_not_allowed"),
        ),
        attack(
            "a method with a NUL",
            "GET\0 /health HTTP/1.1\r\nhost: calve\r\n\r\n",
            NoRequest(400),
        ),
        attack(
            "a method in small letters",
            "get /health HTTP/1.1\r\nhost: calve\r\n\r\n",
            Refused(405, "method_not_allowed"),
        ),
        attack("HTTP/0.9", "GET /health\r\n\r\n", NoRequest(400)),
        attack(
            "HTTP/3.7",
            "GET /health HTTP/3.7\r\nhost: calve\r\n\r\n",
            NoRequest(400),
        ),
        attack(
            "no HTTP at all",
            &b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"[..],
            NoRequest(400),
        ),
        attack(
            "empty lines in front",
            format!("\r\n\r\n{}", health("")),
            Statuses(&[200]),
        ),
        attack(
            "a request id with quotes",
            health("x-request-id: \"}{\\\r\n"),
            Statuses(&[200]),
        ),
        attack(
            "a range that is none",
            health("range: bytes=9-1,-,a-b\r\n"),
            Statuses(&[200]),
        ),
        attack(
            "an expectation that is none",
            health("expect: 200-maybe\r\n"),
            Statuses(&[200]),
        ),
        attack(
            "a hundred pipelined requests",
            health("").repeat(100),
            Statuses(&[200; 100]),
        ),
    ];
    for line in [
        "x: a\0b",
        "x: a\rb",
        "x\0: a",
        "x y: a",
        ": a",
        "x",
        "x\u{e9}: a",
        "x: \u{7f}",
        "x: \u{1b}[2J",
    ] {
        attacks.push(attack(
            &format!("the header {line:?}"),
            health(&format!("{line}\r\n")),
            NoRequest(400),
        ));
    }
    // Bytes above ASCII are allowed in values; nothing is made of them.
    let mut latin = health("x-file-name: ").into_bytes();
    latin.truncate(latin.len() - 2);
    attacks.push(attack(
        "a value that is no UTF-8",
        [&latin[..], b"\xff\xfe\r\nx-request-id: \xe9\r\n\r\n"].concat(),
        Statuses(&[200]),
    ));
    for host in [
        "",
        "evil.example/v1#",
        "\"><script>",
        "a b",
        "[::1",
        "calve\t",
    ] {
        let request = format!(
            "POST /v1/upload/session HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n"
        );
        attacks.push(attack(
            &format!("the host `{host}`"),
            request,
            Statuses(&[201]),
        ));
    }
    attacks
}
