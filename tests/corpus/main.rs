//! Small files, each named for what it shows, uploaded with no word of how they are written. What must come of them was
//! written down before they were read: the dialect, the columns, every value, the issues; or the refusal.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use support::client::{Api, Target};
use support::data::Expectation;
use support::server::TestServer;
use support::table::assert_tables_hold;

#[test]
fn every_csv_file_becomes_what_it_says() {
    every_file_becomes_what_it_says("csv");
}

#[test]
fn every_json_file_becomes_what_it_says() {
    every_file_becomes_what_it_says("json");
}

fn every_file_becomes_what_it_says(format: &str) {
    let server = TestServer::start();
    let api = server.api();
    let expected = expectations(format);
    let mut tables = Vec::new();
    let mut wrong = Vec::new();
    for (name, expected) in &expected {
        match load(&api, format, name, expected) {
            Err(difference) => wrong.push(format!("{name}: {difference}")),
            Ok(None) => {}
            Ok(Some(target)) => tables.push((server.table_dir(&target), holds(expected))),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let files = fs::read_dir(corpus().join(format))
        .expect("the corpus")
        .count();
    assert_eq!(
        files,
        expected.len(),
        "a file without an expectation, or the other way round"
    );
    assert_tables_hold(&tables);
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

fn expectations(format: &str) -> Map<String, Value> {
    let text = fs::read(corpus().join(format).with_extension("json")).expect("the expectations");
    serde_json::from_slice(&text).expect("the expectations are an object")
}

/// Uploads and commits a file; its table, or none when it is refused as expected, or what is not as expected.
fn load(api: &Api, format: &str, name: &str, expected: &Value) -> Result<Option<Target>, String> {
    let path = corpus().join(format).join(name).with_extension(format);
    let bytes = fs::read(path).expect("a file");
    let session = api.open_session();
    let file_name = format!("part.{format}");
    let answer = api.put_part(&session, 0, &bytes, &[("x-file-name", &file_name)]);
    if let Some(words) = expected["refused"].as_array() {
        if answer.status != 422 {
            return Err(answer.text());
        }
        let refusal = answer.expect_refusal(422, "format_unreadable");
        let detail = refusal["detail"].as_str().unwrap_or_default();
        let missing = words
            .iter()
            .find(|word| !detail.contains(word.as_str().unwrap_or("?")));
        return match missing {
            Some(word) => Err(format!("{word} is not in `{detail}`")),
            None => Ok(None),
        };
    }
    if answer.status != 201 {
        return Err(answer.text());
    }
    let answer = answer.json();
    for (key, value) in expected["csv"].as_object().into_iter().flatten() {
        if answer["csv"][key] != *value {
            return Err(format!("`{key}` should be {value}: {}", answer["csv"]));
        }
    }
    let issues = answer["issues"].to_string();
    let words = expected["issues"].as_array().expect("issues");
    let told = answer["issues"].as_array().map_or(0, Vec::len);
    if words.is_empty() != (told == 0) {
        return Err(format!("issues: {issues}"));
    }
    if let Some(word) = words
        .iter()
        .find(|word| !issues.contains(word.as_str().unwrap_or("?")))
    {
        return Err(format!("{word} is not in {issues}"));
    }
    let target = Target::new(&format!("corpus.{format}.{name}"));
    let committed = api.commit(&session, &target, "fail");
    match committed.status {
        200 => Ok(Some(target)),
        _ => Err(committed.text()),
    }
}

fn holds(expected: &Value) -> Expectation {
    let columns: Vec<(&str, &str)> = expected["columns"]
        .as_array()
        .expect("columns")
        .iter()
        .map(|column| {
            let text = |index: usize| column[index].as_str().expect("a name or type");
            (text(0), text(1))
        })
        .collect();
    Expectation::new(&columns).rows(&expected["rows"])
}
