//! What the clients do in every run, and what they know of it.

use serde_json::Value;

use crate::support::client::{AS_CSV, AS_NDJSON, Answer, Target, commit_request, session_id_of};
use crate::support::data::{Expectation, NUMBERED_COLUMNS, numbered_csv};
use crate::support::server::{TestServer, files_below};

/// What the clients do, in order. `usize` numbers the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Open(usize),
    Put(usize, u32, Content),
    Delete(usize, u32),
    Commit(usize, &'static str),
    /// The server ends in order and starts again; its first sweep removes what expired.
    Restart,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// `numbered_csv` of this part number.
    Csv(u32),
    /// The same, so small that it shares a file with others.
    Small(u32),
    /// One row whose amount makes the others' early types not final.
    Ndjson,
}

pub(crate) use Content::{Csv, Ndjson, Small};
pub(crate) use Operation::{Commit, Delete, Open, Put, Restart};

pub(crate) const SESSIONS: usize = 3;
/// Snapshots that the table keeps: that of the first session expires with the third's.
pub(crate) const SNAPSHOTS: usize = 2;
pub(crate) const SCENARIO: &[Operation] = &[
    Open(0),
    Put(0, 0, Csv(1)),
    Put(0, 0, Csv(2)),
    Put(0, 1, Csv(3)),
    Delete(0, 1),
    Put(0, 2, Small(6)),
    Put(0, 2, Small(7)),
    Put(0, 3, Small(8)),
    Delete(0, 3),
    Commit(0, "fail"),
    Open(1),
    Put(1, 0, Csv(4)),
    Put(1, 1, Ndjson),
    Commit(1, "overwrite"),
    Open(2),
    Put(2, 0, Csv(5)),
    Put(2, 1, Small(9)),
    Put(2, 2, Small(10)),
    Commit(2, "append"),
    Restart,
];
pub(crate) const NDJSON: &str = r#"{"part":4,"row":0.5,"word":"w","amount":1.25,"day":"2024-02-20","moment":"2024-02-20T10:20:30Z","flag":null}"#;

/// The rows of the table at the end: sessions 1 and 2.
pub(crate) fn expectation() -> Expectation {
    let row = serde_json::json!([[
        4,
        0.5,
        "w",
        1.25,
        "2024-02-20",
        "2024-02-20T10:20:30Z",
        null
    ]]);
    let columns: Vec<(&str, &str)> = NUMBERED_COLUMNS
        .iter()
        .map(|(name, kind)| (*name, if *name == "row" { "double" } else { *kind }))
        .collect();
    Expectation::new(&columns)
        .csv(&Csv(4).text())
        .rows(&row)
        .csv(&Csv(5).text())
        .csv(&Small(9).text())
        .csv(&Small(10).text())
}

impl Content {
    pub(crate) fn text(self) -> String {
        match self {
            Csv(part) => numbered_csv(part, 20),
            Small(part) => numbered_csv(part, 1),
            Ndjson => NDJSON.to_owned(),
        }
    }
}

/// A server and what its clients know.
pub(crate) struct World {
    pub(crate) server: TestServer,
    pub(crate) sessions: [String; SESSIONS],
}

pub(crate) fn target() -> Target {
    Target::new("acme.sales.orders")
}

impl World {
    pub(crate) fn new() -> Self {
        // One conversion at a time, so that every run passes the points in the same order.
        // The small parts share a file, the others have one each.
        let environment = [
            ("CALVE_PARTS__CONCURRENT_CONVERSIONS", "1"),
            ("CALVE_PARTS__PACKED_BYTES_MAX", "200 B"),
            ("CALVE_TABLES__SNAPSHOTS_MAX", "2"),
            ("CALVE_TABLES__SNAPSHOTS_MIN", "1"),
            ("CALVE_TABLES__PREVIOUS_METADATA_MAX", "1"),
            // Only a start sweeps, and removes what is due at once.
            ("CALVE_CLEANING__GRACE", "0s"),
            ("CALVE_CLEANING__INTERVAL", "1h"),
        ];
        Self {
            server: TestServer::not_started(&environment),
            sessions: Default::default(),
        }
    }

    /// Does an operation once; nothing when no answer came.
    pub(crate) fn attempt(&self, operation: Operation) -> Option<Answer> {
        let api = self.server.api();
        let (method, path, headers, body) = match operation {
            Open(_) => (
                "POST",
                "/v1/upload/session".to_owned(),
                &[][..],
                String::new(),
            ),
            Put(session, part, content) => (
                "PUT",
                format!("/v1/upload/{}?part={part}", self.sessions[session]),
                if content == Ndjson { AS_NDJSON } else { AS_CSV },
                content.text(),
            ),
            Delete(session, part) => (
                "DELETE",
                format!("/v1/upload/{}/part/{part}", self.sessions[session]),
                &[][..],
                String::new(),
            ),
            Commit(session, mode) => (
                "POST",
                format!("/v1/upload/{}/commit", self.sessions[session]),
                &[("content-type", "application/json")][..],
                commit_request(&target(), mode).to_string(),
            ),
            Restart => unreachable!("it is no request"),
        };
        let body = (!body.is_empty()).then_some(body.as_bytes());
        api.try_send(method, &path, headers, body).ok()
    }

    /// Whether an operation is found done; `None` where a client cannot tell.
    pub(crate) fn is_done(&self, operation: Operation) -> Option<bool> {
        let inspect = |session: usize| self.server.api().inspect(&self.sessions[session]);
        match operation {
            Open(_) | Restart => None,
            Put(session, part, content) => {
                use sha2::{Digest, Sha256};
                let sha256 = hex::encode(Sha256::digest(content.text().as_bytes()));
                Some(
                    part_in(&inspect(session), part).is_some_and(|found| found["sha256"] == sha256),
                )
            }
            Delete(session, part) => Some(part_in(&inspect(session), part).is_none()),
            Commit(session, _) => Some(inspect(session).expect_json(200)["state"] == "committed"),
        }
    }

    /// What the answer to a done operation tells its client.
    pub(crate) fn note(&mut self, operation: Operation, answer: &Answer) {
        if let Open(session) = operation {
            self.sessions[session] = session_id_of(&answer.json());
        }
    }

    /// Number of files in the table's folders, when all sweeping is done.
    pub(crate) fn files(&self) -> [usize; 2] {
        ["data", "metadata"]
            .map(|name| files_below(&self.server.table_dir(&target()).join(name)).len())
    }
}

pub(crate) fn part_in(inspected: &Answer, part: u32) -> Option<Value> {
    if inspected.status == 204 {
        return None;
    }
    assert_eq!(inspected.status, 200, "{inspected:?}");
    let parts = inspected.json()["parts"]
        .as_array()
        .expect("a list of parts")
        .clone();
    parts.into_iter().find(|found| found["id"] == part)
}
