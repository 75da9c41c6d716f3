//! Bodies of control requests: JSON that is none, too deep, too large, or something else altogether.

use super::attack::Expected::{Refused, Statuses};
use super::attack::{Attack, attack};

fn post(path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: calve\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

const FORM: &[u8] = b"--x\r\ncontent-disposition: form-data; name=\"target\"; filename=\"../a\"\r\n\r\nacme\r\n--x--\r\n";

pub(crate) fn attacks(session: &str) -> Vec<Attack> {
    let commit = format!("/v1/upload/{session}/commit");
    let deep = |open: &str| open.repeat(60_000 / open.len()).into_bytes();
    let target = |workspace: &str| {
        format!("{{\"target\": {{\"workspace\": {workspace}, \"collection\": \"c\", \"dataset\": \"d\"}}}}").into_bytes()
    };
    let many_keys: String = (0..4_000)
        .map(|number| format!("\"k{number}\": 1,"))
        .collect();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("lists in lists", deep("[")),
        ("objects in objects", deep("{\"target\":")),
        (
            "a closed deep list",
            [deep("["), b"]".repeat(60_000)].concat()[..60_000].to_vec(),
        ),
        ("no UTF-8", b"{\"target\": \"\xff\xfe\"}".to_vec()),
        ("a byte order mark", b"\xef\xbb\xbf{}".to_vec()),
        ("UTF-16", b"\xff\xfe{\0}\0".to_vec()),
        ("a number that is none", b"{\"target\": NaN}".to_vec()),
        ("an infinite number", b"{\"target\": 1e999}".to_vec()),
        (
            "a number of many digits",
            format!("{{\"target\": {}}}", "9".repeat(60_000)).into_bytes(),
        ),
        ("half a surrogate", target("\"\\ud800\"")),
        ("an escaped NUL", target("\"\\u0000\"")),
        (
            "a name of 60 KB",
            target(&format!("\"{}\"", "a".repeat(60_000))),
        ),
        (
            "a name that looks like another",
            target("\"\u{430}\u{441}me\""),
        ),
        ("a reserved name in other letters", target("\"SYSTEM\"")),
        ("a comma too many", b"{\"target\": null,}".to_vec()),
        ("two objects", b"{}{}".to_vec()),
        ("something behind the object", b"{} x".to_vec()),
        ("a comment", b"/* */{}".to_vec()),
        ("a list", b"[{}]".to_vec()),
        ("a truth", b"true".to_vec()),
        ("a form", FORM.to_vec()),
        ("a form without an end", FORM[..40].to_vec()),
        (
            "a form in a form's other spelling",
            b"target=acme&target[workspace]=a".to_vec(),
        ),
    ];
    let mut attacks = Vec::new();
    for (name, body) in cases {
        for path in ["/v1/upload/session", &commit] {
            for content_type in ["application/json", "multipart/form-data; boundary=x"] {
                let name = format!("{name} for {path}, called {content_type}");
                attacks.push(attack(
                    &name,
                    post(path, content_type, &body),
                    Refused(422, "validation_error"),
                ));
            }
        }
    }
    attacks.extend([
        attack(
            "a target twice",
            post(
                "/v1/upload/session",
                "application/json",
                b"{\"target\": null, \"target\": 1}",
            ),
            Refused(422, "validation_error"),
        ),
        attack(
            "four thousand keys",
            post(
                "/v1/upload/session",
                "application/json",
                format!("{{{many_keys}\"z\": 1}}").as_bytes(),
            ),
            Statuses(&[201]),
        ),
        attack(
            "a prototype",
            post(
                "/v1/upload/session",
                "application/json",
                b"{\"__proto__\": {\"target\": 1}}",
            ),
            Statuses(&[201]),
        ),
        attack(
            "60 KB of blanks",
            post(
                "/v1/upload/session",
                "application/json",
                &b" ".repeat(60_000),
            ),
            Statuses(&[201]),
        ),
        attack(
            "a byte more than there may be",
            post(
                "/v1/upload/session",
                "application/json",
                &b" ".repeat(65_537),
            ),
            Refused(413, "request_too_large"),
        ),
        attack(
            "a MiB",
            post(&commit, "application/json", &b"[".repeat(1 << 20)),
            Refused(413, "request_too_large"),
        ),
        attack(
            "a bomb",
            post(
                "/v1/upload/session",
                "application/json\r\ncontent-encoding: gzip",
                b"\x1f\x8b\x08\0\0\0\0\0\0\x03",
            ),
            Refused(422, "validation_error"),
        ),
    ]);
    attacks
}
