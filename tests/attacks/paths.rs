//! Paths, session ids, file names and parameters that want to be somewhere else.

use super::attack::Expected::{NoRequest, Refused, Statuses};
use super::attack::{Attack, attack, upload};

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: calve\r\n\r\n")
}

pub(crate) fn attacks(session: &str) -> Vec<Attack> {
    let mut attacks = Vec::new();
    for path in [
        "/../../etc/passwd",
        "/docs/../../etc/passwd",
        "/docs/%2e%2e/health",
        "/docs/..%2f..%2fCargo.toml",
        "/docs/..%5c..%5cCargo.toml",
        "/docs/%2fetc%2fpasswd",
        "/docs/....//index.html",
        "/docs/index.html%00.js",
        "/docs/%252e%252e",
        "/%00",
        "/health%00",
        "/health;x=y",
        "/./health",
        "/%zz",
        "/%",
        "/health%",
        "//health",
        "/v1/upload//inspect",
        "/v1/upload/a/b/inspect",
        "/v1/upload/session/",
        "/v1%2fupload%2fsession",
        "/docs/%c0%ae%c0%ae/health",
        "/docs/%ff",
        "/health\\",
        "/%0d%0ax-injected:%20yes",
    ] {
        attacks.push(attack(
            &format!("the path {path}"),
            get(path),
            Refused(404, "route_not_found"),
        ));
    }
    let long = "a".repeat(50_000);
    for id in [
        "..",
        "%2e%2e",
        "..%2f..%2fjournal",
        "%2e%2e%2f%2e%2e%2fjournal",
        "%00",
        "a%00b",
        "%ff%fe",
        "%c3%a9",
        ".",
        "*",
        "%25s%25n",
        "'%20OR%20''='",
        "system",
        "null",
        "-1",
        long.as_str(),
    ] {
        let name = format!("the session id {id:.40}");
        attacks.push(attack(
            &name,
            get(&format!("/v1/upload/{id}/inspect")),
            Refused(404, "session_not_found"),
        ));
        let commit = format!(
            "POST /v1/upload/{id}/commit HTTP/1.1\r\nhost: calve\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        attacks.push(attack(&name, commit, Refused(404, "session_not_found")));
        let part = format!(
            "PUT /v1/upload/{id}?part=0 HTTP/1.1\r\nhost: calve\r\ncontent-length: 4\r\n\r\na\n1\n"
        );
        attacks.push(attack(&name, part, Refused(404, "session_not_found")));
        let deletion = format!("DELETE /v1/upload/{id}/part/0 HTTP/1.1\r\nhost: calve\r\n\r\n");
        attacks.push(attack(&name, deletion, Refused(404, "session_not_found")));
    }
    for part in [
        "%2e%2e",
        "0%00",
        "%30%30%30%31x",
        "0%2f1",
        "+0",
        "%2b0",
        "0x0",
        "00000000000000000000000000001000",
        "9e1",
    ] {
        let deletion =
            format!("DELETE /v1/upload/{session}/part/{part} HTTP/1.1\r\nhost: calve\r\n\r\n");
        attacks.push(attack(
            &format!("the part {part}"),
            deletion,
            Refused(422, "validation_error"),
        ));
    }
    for name in [
        "../../../../etc/cron.d/a.csv",
        "/etc/passwd.csv",
        "C:\\windows\\a.csv",
        "..",
        ".csv",
        "a.parquet%00.csv",
        "$(reboot).csv",
        "a.csv;b.parquet.csv",
        "CON.csv",
        long.as_str(),
    ] {
        attacks.push(upload(
            &format!("the file name {name:.40}"),
            session,
            &[("x-file-name", name), ("content-type", "text/csv")],
            b"a\n1\n",
            Statuses(&[201]),
        ));
    }
    for query in [
        "part=0&part=1&delimiter=%00",
        "part=0&quote=%ff",
        "part=0&encoding=utf-7",
        "part=0&encoding=replacement",
        "part=0&encoding=..%2f..%2fetc",
        "part=0&skip=4294967296",
        "part=0&skip=-1",
        "part=0&header=99999999999999999999",
        "part=0&escape=%5c%5c",
        "part=0&ragged=yes",
        "part[]=0",
        "part",
        "part=",
        "part=%",
        "&&&=&==",
        "part=0%00",
        "PART=0",
        "part=NaN",
    ] {
        let request = format!(
            "PUT /v1/upload/{session}?{query} HTTP/1.1\r\nhost: calve\r\nx-file-name: a.csv\r\ncontent-length: 4\r\n\r\na\n1\n"
        );
        attacks.push(attack(
            &format!("the query {query}"),
            request,
            Refused(422, "validation_error"),
        ));
    }
    let nulls = "&null=a".repeat(5_000);
    for (name, query) in [
        ("five thousand spellings of null", nulls.as_str()),
        ("a query of 50 KB", &format!("&x={long}")),
        ("as many skipped lines as there can be", "&skip=4294967295"),
    ] {
        let request = format!(
            "PUT /v1/upload/{session}?part=9{query} HTTP/1.1\r\nhost: calve\r\nx-file-name: a.csv\r\ncontent-length: 4\r\n\r\na\n1\n"
        );
        attacks.push(attack(name, request, Statuses(&[201])));
    }
    attacks.push(attack(
        "a blank in the target",
        get("/he alth"),
        NoRequest(400),
    ));
    attacks.push(attack(
        "a fragment",
        get("/health#/../etc"),
        Statuses(&[200]),
    ));
    attacks
}
