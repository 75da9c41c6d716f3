//! Commits that do not fit: the session, the table, or each other.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Int64Array};
use calve::domain::PartNumber;
use calve::domain::session::part_superseded;
use calve::error::ErrorCode;

use super::Refusals;
use super::files::parquet_file;
use crate::support::client::{AS_CSV, AS_PARQUET, Api, Target, session_id_of};
use crate::support::server::TestServer;

pub(super) fn note(found: &mut Refusals) {
    let server = TestServer::start();
    let api = server.api();
    let target = Target::new("acme.geo.cities");
    let session = api.open_session();
    let answer = api.commit(&session, &target, "fail");
    found.note(ErrorCode::NoParts, "a commit of no part", &answer);
    api.put_part(&session, 0, b"", AS_CSV).expect(201);
    let answer = api.commit(&session, &target, "fail");
    found.note(ErrorCode::NoParts, "a commit of an empty file", &answer);
    api.put_csv(&session, 0, "id,city,founded\n1,Bern,1191-01-01\n");
    api.commit(&session, &target, "fail").expect(200);

    let answer = api.put_part(&session, 1, b"a\n1\n", AS_CSV);
    found.note(
        ErrorCode::AlreadyCommitted,
        "a part after the commit",
        &answer,
    );
    let answer = api.commit(&session, &Target::new("acme.geo.towns"), "fail");
    found.note(
        ErrorCode::AlreadyCommitted,
        "another commit after the commit",
        &answer,
    );
    let answer = api.commit(&session_of(&api, "id\n2\n"), &target, "fail");
    found.note(
        ErrorCode::DatasetExists,
        "a commit to a table that exists",
        &answer,
    );
    let bound = session_id_of(&api.open_bound_session(&target));
    let answer = api.commit(&bound, &Target::new("acme.geo.towns"), "append");
    found.note(
        ErrorCode::TargetMismatch,
        "a commit to another table than the session's",
        &answer,
    );
    found.note_error(
        "a part that another replaced meanwhile",
        &part_superseded(PartNumber(3)),
    );
    does_not_fit(found, &api, &target);
    disagrees(found, &api);
}

fn does_not_fit(found: &mut Refusals, api: &Api, target: &Target) {
    let csv = "id,city,founded,area\n1,Bern,1191-01-01,51.62\nx2,Oslo,1040,480.75\n";
    let answer = api.commit(&session_of(api, csv), target, "append");
    found.note(
        ErrorCode::SchemaMismatch,
        "an append of another type and a column more",
        &answer,
    );
    let truths: ArrayRef = Arc::new(BooleanArray::from(vec![true, false]));
    let truths = parquet_file("city", truths);
    let bound = session_id_of(&api.open_bound_session(target));
    let answer = api.put_part(&bound, 3, &truths, AS_PARQUET);
    found.note(
        ErrorCode::SchemaMismatch,
        "a Parquet part of another type than its table",
        &answer,
    );
    let bound = session_id_of(&api.open_bound_session(target));
    let csv = b"id,city,founded\n3,Rome,0753-04-21\nfour,Troy,unknown\n";
    let answer = api.put_part(&bound, 3, csv, AS_CSV);
    found.note(
        ErrorCode::ValueNotCastable,
        "a part whose values are not of its table's types",
        &answer,
    );
}

fn disagrees(found: &mut Refusals, api: &Api) {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..3));
    let truths: ArrayRef = Arc::new(BooleanArray::from(vec![true, false]));
    let session = api.open_session();
    for (part, array) in [(0, numbers), (1, truths)] {
        let file = parquet_file("n", array);
        api.put_part(&session, part, &file, AS_PARQUET).expect(201);
    }
    let answer = api.commit(&session, &Target::new("acme.geo.parts"), "fail");
    found.note(
        ErrorCode::SourcesDisagree,
        "Parquet parts of two types",
        &answer,
    );
    let session = api.open_session();
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..3));
    api.put_part(&session, 0, &parquet_file("n", numbers), AS_PARQUET)
        .expect(201);
    api.put_csv(&session, 1, "n\n4\nfive\n");
    let answer = api.commit(&session, &Target::new("acme.geo.parts"), "fail");
    found.note(
        ErrorCode::SourcesDisagree,
        "a CSV part beside a Parquet part of numbers",
        &answer,
    );
}

fn session_of(api: &Api, csv: &str) -> String {
    let session = api.open_session();
    api.put_csv(&session, 0, csv);
    session
}
