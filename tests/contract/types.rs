//! Types: what text becomes, over all rows and all parts; what Parquet types become. Read back by both engines.

use serde_json::{Value, json};

use crate::support::client::{AS_CSV, AS_NDJSON, AS_PARQUET, Target, session_id_of};
use crate::support::data::Expectation;
use crate::support::python::run_json;
use crate::support::server::TestServer;
use crate::support::table::{assert_files_are_sound, assert_table_holds, column_types};

fn target() -> Target {
    Target::new("acme.sales.orders")
}

/// One column of a text file: name, the texts of its three rows, the Iceberg type it becomes, the values.
type Column = (&'static str, [&'static str; 3], &'static str, [Value; 3]);

fn csv_columns() -> Vec<Column> {
    let texts = |name, texts: [&'static str; 3]| (name, texts, "string", texts.map(Value::from));
    vec![
        (
            "whole",
            ["1", "-5", "9223372036854775807"],
            "long",
            [json!(1), json!(-5), json!(i64::MAX)],
        ),
        (
            "smallest",
            ["-9223372036854775808", "0", "10"],
            "long",
            [json!(i64::MIN), json!(0), json!(10)],
        ),
        (
            "number",
            ["10.50", ".5", "-3.25"],
            "double",
            [json!(10.5), json!(0.5), json!(-3.25)],
        ),
        (
            "mixed_number",
            ["1", "1.5", "2"],
            "double",
            [json!(1.0), json!(1.5), json!(2.0)],
        ),
        (
            "with_null_words",
            ["1", "NA", "\\N"],
            "long",
            [json!(1), json!(null), json!(null)],
        ),
        (
            "with_null",
            ["NULL", "2.5", ""],
            "double",
            [json!(null), json!(2.5), json!(null)],
        ),
        (
            "truth",
            ["true", "FALSE", "True"],
            "boolean",
            [json!(true), json!(false), json!(true)],
        ),
        (
            "day",
            ["2024-01-31", "1969-12-31", "NA"],
            "date",
            [json!("2024-01-31"), json!("1969-12-31"), json!(null)],
        ),
        (
            "local",
            [
                "2024-01-31 10:20:30",
                "2024-01-31T10:20:30",
                "1969-12-31T23:59:59.5",
            ],
            "timestamp",
            [
                json!("2024-01-31T10:20:30"),
                json!("2024-01-31T10:20:30"),
                json!("1969-12-31T23:59:59.500000"),
            ],
        ),
        (
            "instant",
            [
                "2024-01-31T10:20:30Z",
                "2024-01-31 10:20:30+00:00",
                "2024-01-31T10:20:30.000001Z",
            ],
            "timestamptz",
            [
                json!("2024-01-31T10:20:30+00:00"),
                json!("2024-01-31T10:20:30+00:00"),
                json!("2024-01-31T10:20:30.000001+00:00"),
            ],
        ),
        texts("too_big", ["1", "9223372036854775808", "2"]),
        texts("leading_zero", ["007", "8", "9"]),
        texts("plus", ["+1", "2", "3"]),
        texts("exponent", ["1e5", "2", "3"]),
        texts("long_fraction", ["0.12345678901234567890", "1.5", "2"]),
        texts("either_day", ["01/02/2024", "03/04/2024", "05/06/2024"]),
        texts("time_of_day", ["10:20:30", "00:00:00", "23:59:59"]),
        texts("text_with_null_words", ["NA", "NULL", "x"]),
        texts("truth_or_number", ["true", "1", "false"]),
        texts("day_or_text", ["2024-01-31", "soon", "2024-02-01"]),
        texts("spaces", [" 1", "2 ", "3"]),
        texts("impossible_day", ["2024-02-30", "2024-01-31", "2024-01-01"]),
        (
            "nothing",
            ["", "", ""],
            "string",
            [json!(null), json!(null), json!(null)],
        ),
    ]
}

#[test]
fn csv_columns_become_what_all_their_values_allow() {
    let columns = csv_columns();
    let mut csv = columns
        .iter()
        .map(|(name, ..)| *name)
        .collect::<Vec<_>>()
        .join(",")
        + "\n";
    let mut rows = Vec::new();
    for row in 0..3 {
        csv.push_str(
            &columns
                .iter()
                .map(|(_, texts, ..)| texts[row])
                .collect::<Vec<_>>()
                .join(","),
        );
        csv.push('\n');
        rows.push(
            columns
                .iter()
                .map(|(.., values)| values[row].clone())
                .collect::<Vec<_>>(),
        );
    }
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    api.put_csv(&session, 0, &csv);
    api.commit(&session, &target(), "fail").expect(200);
    let types: Vec<(&str, &str)> = columns
        .iter()
        .map(|(name, _, kind, _)| (*name, *kind))
        .collect();
    assert_table_holds(
        &server,
        &target(),
        &Expectation::new(&types).rows(&json!(rows)),
    );
    assert_files_are_sound(&server, &target());
}

#[test]
fn types_are_settled_over_all_parts_from_the_raw_text() {
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    // The first part alone looks like a number, a date, a truth and nothing; the later ones say otherwise.
    api.put_csv(
        &session,
        0,
        "code,price,day,flag,late\n1,10.50,2024-01-31,TRUE,\n",
    );
    api.put_csv(
        &session,
        1,
        "code,price,day,flag,late\n007,2,2024-02-01,yes,5\n",
    );
    api.put_csv(&session, 2, "late,flag,day,price,code\n6,no,soon,3.25,2\n");
    api.commit(&session, &target(), "fail").expect(200);
    let columns = [
        ("code", "string"),
        ("price", "double"),
        ("day", "string"),
        ("flag", "string"),
        ("late", "long"),
    ];
    let rows = json!([
        ["1", 10.5, "2024-01-31", "TRUE", null],
        ["007", 2.0, "2024-02-01", "yes", 5],
        ["2", 3.25, "soon", "no", 6],
    ]);
    assert_table_holds(&server, &target(), &Expectation::new(&columns).rows(&rows));
    assert_files_are_sound(&server, &target());
}

/// One part decides for all; parts that contradict each other make text.
#[test]
fn the_form_of_dates_is_settled_over_all_parts() {
    let server = TestServer::start();
    let api = server.api();
    let load = |mode: &str, parts: &[&str]| {
        let session = api.open_session();
        for (number, csv) in parts.iter().enumerate() {
            api.put_csv(&session, number as u32, csv);
        }
        api.commit(&session, &target(), mode)
    };
    let parts = [
        "day,either\n03/04/2024,13/01/2024\n",
        "day,either\n13/04/2024,01/13/2024\n",
        "day,either\n05/06/2024,02/02/2024\n",
    ];
    load("fail", &parts).expect(200);
    let columns = [("day", "date"), ("either", "string")];
    let mut rows = vec![
        json!(["2024-04-03", "13/01/2024"]),
        json!(["2024-04-13", "01/13/2024"]),
        json!(["2024-06-05", "02/02/2024"]),
    ];
    let expected = Expectation::new(&columns).rows(&json!(rows));
    assert_table_holds(&server, &target(), &expected);
    // A table of dates takes another form, but guesses none.
    let refusal = load("append", &["day\n03/04/2024\n"]).expect_refusal(409, "schema_mismatch");
    let help = refusal["differences"][0]["help"].as_str().expect("help");
    assert!(help.contains("day-first or month-first"), "{refusal}");
    assert_eq!(
        refusal["misfits"][0]["examples"][0]["value"],
        json!("03/04/2024")
    );
    let refusal = load("append", &["day\n03/14/2024\n", "day\n14/03/2024\n"])
        .expect_refusal(409, "schema_mismatch");
    assert_eq!(refusal["differences"][0]["column"], json!("day"));
    load("append", &["day\n03/14/2024\n", "day\n03/04/2024\n"]).expect(200);
    rows.extend([json!(["2024-03-14", null]), json!(["2024-03-04", null])]);
    let expected = Expectation::new(&columns).rows(&json!(rows));
    assert_table_holds(&server, &target(), &expected);
    // A session that is bound to the table refuses at once what it cannot tell.
    let bound = session_id_of(&api.open_bound_session(&target()));
    api.put_part(&bound, 0, b"day\n03/04/2024\n", AS_CSV)
        .expect_refusal(409, "value_not_castable");
    api.put_csv(&bound, 0, "day\n14.03.2024\n");
    api.commit(&bound, &target(), "append").expect(200);
    rows.push(json!(["2024-03-14", null]));
    let expected = Expectation::new(&columns).rows(&json!(rows));
    assert_table_holds(&server, &target(), &expected);
}

#[test]
fn dates_of_a_parquet_part_and_of_text_meet() {
    let server = TestServer::start();
    let api = server.api();
    let path = server.scratch("dates.parquet");
    let typed = "--dates".to_owned();
    run_json(
        "make_parquet.py",
        &[
            path.display().to_string(),
            typed,
            r#"["2024-01-31"]"#.to_owned(),
        ],
    );
    let parquet = std::fs::read(&path).expect("read");
    let session = api.open_session();
    api.put_part(&session, 0, &parquet, AS_PARQUET).expect(201);
    api.put_csv(&session, 1, "day\n03/04/2024\n");
    api.commit(&session, &target(), "fail")
        .expect_refusal(409, "sources_disagree");
    api.put_csv(&session, 2, "day\n14/04/2024\n");
    api.commit(&session, &target(), "fail").expect(200);
    let rows = json!([["2024-01-31"], ["2024-04-03"], ["2024-04-14"]]);
    let expected = Expectation::new(&[("day", "date")]).rows(&rows);
    assert_table_holds(&server, &target(), &expected);
}

#[test]
fn all_null_column_stays_open_for_a_later_load() {
    let server = TestServer::start();
    let api = server.api();
    let load = |csv: &str| {
        let session = api.open_session();
        api.put_csv(&session, 0, csv);
        api.commit(&session, &target(), "append").expect(200);
    };
    load("id,open\n1,\n2,\n");
    let table = assert_table_holds(
        &server,
        &target(),
        &Expectation::new(&[("id", "long"), ("open", "string")])
            .rows(&json!([[1, null], [2, null]])),
    );
    assert_eq!(
        column_types(&table)[1],
        ("open".to_owned(), "string".to_owned())
    );
    load("id,open\n3,2024-01-31\n");
    load("id,open\n4,\n");
    let columns = [("id", "long"), ("open", "date")];
    let rows = json!([[1, null], [2, null], [3, "2024-01-31"], [4, null]]);
    assert_table_holds(&server, &target(), &Expectation::new(&columns).rows(&rows));
}

#[test]
fn ndjson_values_keep_their_kind() {
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    let ndjson = concat!(
        r#"{"whole":1,"number":1.5,"truth":true,"digits":"123","day":"2024-01-31","instant":"2024-01-31T10:20:30Z","nested":{"a":1,"b":[1,2]},"list":[1,"x"],"word":"é\n\u0041"}"#,
        "\n",
        r#"{"word":"","list":[],"nested":{},"instant":null,"day":null,"digits":"007","truth":false,"number":2,"whole":-9007199254740993}"#,
        "\n\n",
        r#"{"whole":null,"late":7}"#,
        "\n",
    );
    api.put_part(&session, 0, ndjson.as_bytes(), AS_NDJSON)
        .expect(201);
    api.commit(&session, &target(), "fail").expect(200);
    let columns = [
        ("whole", "long"),
        ("number", "double"),
        ("truth", "boolean"),
        ("digits", "string"),
        ("day", "date"),
        ("instant", "timestamptz"),
        ("nested", "struct<a: long, b: list<long>>"),
        ("list", "list<string>"),
        ("word", "string"),
        ("late", "long"),
    ];
    let instant = "2024-01-31T10:20:30+00:00";
    let rows = json!([
        [
            1,
            1.5,
            true,
            "123",
            "2024-01-31",
            instant,
            {"a": 1, "b": [1, 2]},
            ["1", "x"],
            "é\nA",
            null
        ],
        [
            -9_007_199_254_740_993_i64,
            2.0,
            false,
            "007",
            null,
            null,
            {"a": null, "b": null},
            [],
            "",
            null
        ],
        [null, null, null, null, null, null, null, null, null, 7],
    ]);
    assert_table_holds(&server, &target(), &Expectation::new(&columns).rows(&rows));
}

#[test]
fn parquet_types_keep_their_meaning() {
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    // A file with the types that pyarrow users have, and the same values in Iceberg's own types.
    let odd = server.scratch("odd.parquet");
    let plain = server.scratch("plain.parquet");
    let arguments = [&odd, &plain].map(|path| path.display().to_string());
    run_json("make_odd_parquet.py", &arguments);
    let parquet = std::fs::read(&odd).expect("read the Parquet file");
    let answer = api
        .put_part(&session, 0, &parquet, AS_PARQUET)
        .expect_json(201);
    let logical: Vec<(&str, &str)> = answer["schema"]["columns"]
        .as_array()
        .expect("columns")
        .iter()
        .map(|column| {
            (
                column["name"].as_str().expect("a name"),
                column["type"].as_str().expect("a type"),
            )
        })
        .collect();
    let expected = [
        ("truth", "BOOLEAN"),
        ("int32", "INT32"),
        ("int64", "INT64"),
        ("float32", "FLOAT32"),
        ("float64", "FLOAT64"),
        ("text", "VARCHAR"),
        ("bytes", "VARBINARY"),
        ("day", "DATE"),
        ("time", "TIME[us]"),
        ("local", "TIMESTAMP[us]"),
        ("instant", "TIMESTAMPTZ[us]"),
        ("decimal", "DECIMAL(10,2)"),
    ];
    for one in expected {
        assert!(logical.contains(&one), "{one:?} is missing in {logical:?}");
    }
    api.commit(&session, &target(), "fail").expect(200);
    assert_table_holds(&server, &target(), &Expectation::like_parquet_file(&plain));
    assert_files_are_sound(&server, &target());
}

#[test]
fn old_parquet_files_keep_their_instants_and_a_value_that_does_not_fit_is_named() {
    let server = TestServer::start();
    let api = server.api();
    let session = api.open_session();
    let old = server.scratch("old.parquet");
    let plain = server.scratch("plain.parquet");
    let arguments = [&old, &plain].map(|path| path.display().to_string());
    run_json("make_old_parquet.py", &arguments);
    let parquet = std::fs::read(&old).expect("read the Parquet file");
    let answer = api
        .put_part(&session, 0, &parquet, AS_PARQUET)
        .expect_json(201);
    assert_eq!(answer["rows"], json!(4));
    api.commit(&session, &target(), "fail").expect(200);
    assert_table_holds(&server, &target(), &Expectation::like_parquet_file(&plain));
    assert_files_are_sound(&server, &target());

    let big = server.scratch("big.parquet");
    run_json(
        "make_old_parquet.py",
        &["--big".to_owned(), big.display().to_string()],
    );
    let parquet = std::fs::read(&big).expect("read the Parquet file");
    let session = api.open_session();
    let refusal = api
        .put_part(&session, 0, &parquet, AS_PARQUET)
        .expect_refusal(409, "value_not_castable");
    assert_eq!(
        (&refusal["row"], &refusal["value"], &refusal["column"]),
        (&json!(3), &json!("18446744073709551615"), &json!("n"))
    );
}
