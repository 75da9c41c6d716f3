//! The same CSV and JSON files through DuckDB's readers and through Calve: all values are compared, and every difference is
//! explained in `explained.json`, with what DuckDB does, what Calve does, and why. The test fails on a difference that is not
//! in that list, on one that is not as described, and on an explanation that no longer applies.
//!
//! The files are those of the corpus, and tables made here in every common dialect.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod made;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use support::client::{Api, Target};
use support::python::run_json;
use support::server::{TestServer, write_file};

/// A file that both read.
struct File {
    name: String,
    format: &'static str,
    path: PathBuf,
}

#[test]
fn every_difference_from_duckdb_is_explained() {
    let server = TestServer::start();
    let api = server.api();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files: Vec<File> = corpus().into_iter().chain(made(folder.path())).collect();
    let listed: Vec<Value> = files
        .iter()
        .enumerate()
        .map(|(index, file)| {
            let table = load(&api, index, file).map(|target| server.table_dir(&target));
            json!({"name": file.name, "format": file.format, "path": file.path, "table": table})
        })
        .collect();
    assert!(listed.iter().any(|file| file["table"].is_null()));
    let list = write_file(
        folder.path().join("files.json"),
        json!(listed).to_string().as_bytes(),
    );
    let found = run_json("differential.py", &[list.display().to_string()]);
    let found = found.as_object().expect("differences by file");
    let explained = explanations();
    let names: BTreeSet<&String> = found.keys().chain(explained.keys()).collect();
    let wrong: Vec<String> = names
        .into_iter()
        .filter_map(|name| {
            mismatch(found.get(name), explained.get(name)).map(|what| format!("{name}: {what}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with the explanation of a difference.
fn mismatch(found: Option<&Value>, explained: Option<&Value>) -> Option<String> {
    match (found, explained) {
        (Some(found), None) => Some(format!("not explained: {found}")),
        (None, Some(_)) => Some("explained, but there is no difference any more".to_owned()),
        (Some(found), Some(explained)) => {
            let is_as_said = ["duckdb", "calve"]
                .iter()
                .all(|reader| found[reader] == explained[reader]);
            let has_reason = explained["why"].as_str().is_some_and(|why| !why.is_empty());
            match (is_as_said, has_reason) {
                (false, _) => Some(format!("not as explained: {found}")),
                (true, false) => Some("no reason is given".to_owned()),
                (true, true) => None,
            }
        }
        (None, None) => None,
    }
}

fn explanations() -> Map<String, Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/explained.json");
    serde_json::from_slice(&fs::read(path).expect("the explanations")).expect("an object")
}

fn corpus() -> Vec<File> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files = Vec::new();
    for format in ["csv", "json"] {
        for entry in fs::read_dir(corpus.join(format)).expect("the corpus") {
            let path = entry.expect("a file").path();
            let stem = path
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            files.push(File {
                name: format!("{format}/{stem}"),
                format,
                path,
            });
        }
    }
    files
}

fn made(folder: &Path) -> Vec<File> {
    let csv = made::csv_files().into_iter().map(|file| ("csv", file));
    let json = made::json_files().into_iter().map(|file| ("json", file));
    csv.chain(json)
        .map(|(format, (name, text))| File {
            path: write_file(folder.join(&name).with_extension(format), text.as_bytes()),
            name: format!("made/{name}"),
            format,
        })
        .collect()
}

/// Uploads and commits a file; its table, or none when it is refused.
fn load(api: &Api, index: usize, file: &File) -> Option<Target> {
    let bytes = fs::read(&file.path).expect("a file");
    let session = api.open_session();
    let file_name = format!("part.{}", file.format);
    let answer = api.put_part(&session, 0, &bytes, &[("x-file-name", &file_name)]);
    if answer.status == 422 {
        return None;
    }
    answer.expect(201);
    let target = Target::new(&format!("differential.{}.file_{index}", file.format));
    api.commit(&session, &target, "fail").expect(200);
    Some(target)
}
