//! The text of every refusal: for each code of the closed table requests that cause it, and the whole answer as it is
//! written down in `tests/golden/refusals.json`.
//!
//! What is not the same at every run is masked: ids of requests, sessions and commits, times, the disk's free bytes.
//! `CALVE_TEST_UPDATE_GOLDEN=1` writes the file anew; read the difference as the person would who gets the answer.

mod access;
mod commits;
mod files;
mod overload;
mod requests;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use calve::error::{Error, ErrorCode};
use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::raw::RawAnswer;

/// Headers that a client may act on.
const HEADERS: [&str; 4] = ["content-type", "allow", "accept-encoding", "retry-after"];

/// The answers seen, by code and by what was asked.
#[derive(Default)]
struct Refusals(BTreeMap<String, BTreeMap<String, Value>>);

impl Refusals {
    /// Takes down an answer, which must have this code.
    #[track_caller]
    fn note(&mut self, code: ErrorCode, asked: &str, answer: &Answer) {
        let headers = HEADERS.map(|name| (name, answer.header(name).map(str::to_owned)));
        self.add(code, asked, answer.status, headers, answer.json());
    }

    /// The same for an answer that was read from a socket.
    #[track_caller]
    fn note_raw(&mut self, code: ErrorCode, asked: &str, answer: &RawAnswer) {
        let header = |name: &str| {
            let prefix = format!("{name}: ");
            let mut lines = answer.head.lines();
            lines.find_map(|line| line.strip_prefix(&prefix).map(str::to_owned))
        };
        let headers = HEADERS.map(|name| (name, header(name)));
        self.add(code, asked, answer.status, headers, answer.json());
    }

    /// A refusal that only a race of two requests causes: as it would be answered.
    #[track_caller]
    fn note_error(&mut self, asked: &str, error: &Error) {
        use actix_web::ResponseError;
        use actix_web::body::MessageBody;
        let response = error.error_response();
        let status = response.status().as_u16();
        let headers = HEADERS.map(|name| {
            let value = response.headers().get(name);
            (
                name,
                value.map(|value| value.to_str().expect("text").to_owned()),
            )
        });
        let body = response
            .into_body()
            .try_into_bytes()
            .expect("a body in memory");
        let body = serde_json::from_slice(&body).expect("a JSON body");
        self.add(error.code, asked, status, headers, body);
    }

    #[track_caller]
    fn add(
        &mut self,
        code: ErrorCode,
        asked: &str,
        status: u16,
        headers: [(&str, Option<String>); 4],
        mut body: Value,
    ) {
        assert_eq!(body["code"], code.wire_name(), "{asked}: {body}");
        mask("", &mut body);
        let headers: BTreeMap<&str, String> = headers
            .into_iter()
            .filter_map(|(name, value)| value.map(|value| (name, value)))
            .collect();
        let answer = json!({"status": status, "headers": headers, "body": body});
        let cases = self.0.entry(code.wire_name().to_owned()).or_default();
        let before = cases.insert(asked.to_owned(), answer);
        assert_eq!(before, None, "two cases are named `{asked}`");
    }
}

#[test]
fn every_code_is_answered_as_it_is_written_down() {
    let mut found = Refusals::default();
    access::note(&mut found);
    requests::note(&mut found);
    files::note(&mut found);
    commits::note(&mut found);
    overload::note(&mut found);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/refusals.json");
    if std::env::var("CALVE_TEST_UPDATE_GOLDEN").is_ok_and(|value| value == "1") {
        let text = serde_json::to_string_pretty(&found.0).expect("JSON");
        fs::write(&path, text + "\n").expect("write the golden file");
    }
    let golden = fs::read(&path).expect("the golden file");
    let golden: BTreeMap<String, BTreeMap<String, Value>> =
        serde_json::from_slice(&golden).expect("the golden file is JSON");
    let mut differences = Vec::new();
    for code in ErrorCode::ALL {
        let (found, golden) = (found.0.get(code.wire_name()), golden.get(code.wire_name()));
        match (found, golden) {
            (None, _) => differences.push(format!("{code}: no case causes it")),
            (Some(_), None) => differences.push(format!("{code}: it is not in the golden file")),
            (Some(found), Some(golden)) => {
                let all = found
                    .keys()
                    .chain(golden.keys().filter(|key| !found.contains_key(*key)));
                for asked in all.filter(|asked| found.get(*asked) != golden.get(*asked)) {
                    let text = |answer: Option<&Value>| {
                        answer.map_or_else(|| "nothing".to_owned(), |answer| format!("{answer:#}"))
                    };
                    differences.push(format!(
                        "{code}, {asked}:\nfound {}\nwritten down {}",
                        text(found.get(asked)),
                        text(golden.get(asked))
                    ));
                }
            }
        }
    }
    assert!(
        differences.is_empty(),
        "{}\n(CALVE_TEST_UPDATE_GOLDEN=1 writes the file anew)",
        differences.join("\n")
    );
}

/// Puts names in the place of what differs from run to run.
fn mask(key: &str, value: &mut Value) {
    match value {
        Value::Object(object) => object.iter_mut().for_each(|(key, value)| mask(key, value)),
        Value::Array(list) => list.iter_mut().for_each(|value| mask(key, value)),
        Value::Number(_) if key == "free_bytes" => *value = json!("BYTES"),
        Value::String(_) if key == "request_id" => *value = json!("REQUEST"),
        Value::String(_) if key == "expires_at" => *value = json!("TIME"),
        Value::String(text) => {
            let words: Vec<String> = text
                .split_inclusive(|letter: char| {
                    !letter.is_ascii_alphanumeric() && !"_-".contains(letter)
                })
                .map(masked_word)
                .collect();
            *text = words.concat();
        }
        Value::Number(_) | Value::Bool(_) | Value::Null => {}
    }
}

fn masked_word(word: &str) -> String {
    let end = word.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric());
    let rest = &word[end.len()..];
    let is_session = end.len() == 47 && end.as_bytes()[14] == b'-';
    match end {
        _ if is_session => format!("SESSION{rest}"),
        _ if end.starts_with("snap_") => format!("COMMIT{rest}"),
        _ => word.to_owned(),
    }
}
