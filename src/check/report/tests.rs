//! Reports say what was found, the most serious first, and end with the verdict.

use super::*;
use crate::check::repair::Outcome;

fn report(findings: Vec<Finding>) -> Report {
    Report {
        data_dir: "/data".to_owned(),
        mode: Mode::Offline,
        is_deep: false,
        looked: Looked {
            sessions: 2,
            open_sessions: 1,
            parts: 3,
            staged_bytes: 4096,
            tables: 1,
            snapshots: 2,
            data_files: 2,
            data_bytes: 1024,
        },
        findings,
        repairs: Vec::new(),
    }
}

fn stray(name: &str) -> Finding {
    Finding::new(Kind::TableFileUnreferenced, "nothing refers to it")
        .path(name.to_owned())
        .bytes(2048)
}

fn target() -> Target {
    Target::new("acme", "sales", "orders").unwrap()
}

#[test]
fn a_sound_folder_has_a_short_report() {
    let report = report(Vec::new());
    assert_eq!(
        report.text(),
        "Checked /data (no server was running).\n\
         \x20 2 sessions, 1 open with 3 parts staged (4.0 KiB)\n\
         \x20 1 table, 2 snapshots, 2 data files (1.0 KiB)\n\
         \n\
         Verdict: sound.\n"
    );
    assert_eq!(report.exit_code(), 0);
}

#[test]
fn findings_come_by_severity_and_kind_with_what_to_do() {
    let lost = Finding::new(Kind::DataFileMissing, "it is not there")
        .table(&target())
        .path("warehouse/acme/sales/orders/data/x.parquet".to_owned());
    let due = Finding::new(Kind::SessionToForget, "it ended at noon");
    let mut report = report(vec![due, stray("b"), lost, stray("a")]);
    report.repairs.push(Repaired {
        kind: Kind::CounterWrong,
        action: "set the counter n/open to 1".to_owned(),
        outcome: Outcome::Done,
    });
    let text = report.text();
    let (_, listed) = text.split_once("\n\n").unwrap();
    let lines: Vec<String> = listed
        .lines()
        .map(|line| line.replace(Kind::DataFileMissing.advice(), "(advice)"))
        .map(|line| line.replace(Kind::TableFileUnreferenced.advice(), "(advice)"))
        .map(|line| line.replace(Kind::SessionToForget.advice(), "(advice)"))
        .collect();
    let expected = [
        "DAMAGE: what was acknowledged or committed is missing, altered or unreadable (1)",
        "  data_file_missing: (advice)",
        "    table acme.sales.orders, warehouse/acme/sales/orders/data/x.parquet: it is not there",
        "",
        "LEFTOVERS: harmless (2, 4.0 KiB)",
        "  table_file_unreferenced: (advice)",
        "    a: nothing refers to it (2.0 KiB)",
        "    b: nothing refers to it (2.0 KiB)",
        "",
        "DUE: what the server does by itself (1)",
        "  session_to_forget: (advice)",
        "    it ended at noon",
        "",
        "REPAIR",
        "  set the counter n/open to 1",
        "",
        "Verdict: damage (1 finding), 2 leftovers.",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn exit_codes_say_what_is_the_worst() {
    let finding = |kind| Finding::new(kind, "x");
    for (kinds, code) in [
        (vec![Kind::SessionToEnd, Kind::OldMetadataMissing], 0),
        (vec![Kind::SessionToEnd, Kind::CounterWrong], 2),
        (vec![Kind::CounterWrong, Kind::StagedFileMissing], 3),
    ] {
        let report = report(kinds.into_iter().map(finding).collect());
        assert_eq!(report.exit_code(), code);
        assert_eq!(report.json()["exit_code"], code);
    }
}

#[test]
fn long_lists_are_cut_for_people_only() {
    let strays: Vec<Finding> = (0..25)
        .map(|index| stray(&format!("file {index:02}")))
        .collect();
    let report = report(strays);
    let text = report.text();
    assert!(
        text.contains("file 19") && !text.contains("file 20"),
        "{text}"
    );
    assert!(
        text.contains("    and 5 more; --format json lists them all"),
        "{text}"
    );
    assert_eq!(report.json()["findings"].as_array().map(Vec::len), Some(25));
}

#[test]
fn the_json_report_names_subject_and_advice() {
    let json = report(vec![stray("a").table(&target())]).json();
    assert_eq!(
        json["findings"],
        serde_json::json!([{
            "kind": "table_file_unreferenced", "severity": "leftover", "table": "acme.sales.orders", "path": "a",
            "detail": "nothing refers to it", "advice": Kind::TableFileUnreferenced.advice(), "bytes": 2048,
        }])
    );
    assert_eq!(json["verdict"], "leftovers");
    assert_eq!(json["counts"]["leftover"], 1);
    assert_eq!(json["looked_at"]["snapshots"], 2);
}
