//! The API in memory: what each operation must be answered with, and what each table must hold then.
//!
//! Written from the contract and the README, not from the code: a part map a session, a list of rows a table.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::data::{Cell, Kind, Part, unified};
use crate::operations::Damage;
use crate::support::client::Target;

/// What an answer must say: the status, and keys that must be as they are here.
pub struct Prediction {
    pub status: u16,
    pub body: Value,
}

/// One session.
#[derive(Default)]
pub struct Session {
    pub bound: Option<usize>,
    parts: BTreeMap<u32, Part>,
    deleted: BTreeSet<u32>,
    /// What it was committed with, and the answer.
    committed: Option<(Request, Value)>,
    /// What it was last asked to be committed with.
    pub last_request: Option<Request>,
}

/// A commit as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    pub target: Option<usize>,
    pub mode: &'static str,
}

/// One table.
#[derive(Clone, Default)]
pub struct Table {
    /// Name and type; `Null` while the column has had no value.
    pub columns: Vec<(&'static str, Kind)>,
    pub rows: Vec<BTreeMap<&'static str, Cell>>,
    /// Indices of the sessions whose commits made it, oldest first.
    pub commits: Vec<usize>,
}

/// What one case has made.
pub struct Model {
    pub targets: Vec<Target>,
    pub sessions: Vec<Session>,
    pub tables: Vec<Option<Table>>,
}

impl Model {
    pub fn new(targets: Vec<Target>) -> Self {
        Self {
            tables: vec![None; targets.len()],
            targets,
            sessions: Vec::new(),
        }
    }

    pub fn open(&mut self, bound: Option<usize>) -> Prediction {
        self.sessions.push(Session {
            bound,
            ..Session::default()
        });
        let body = match bound {
            None => json!({"parts": true}),
            Some(target) => json!({
                "parts": true,
                "target": self.targets[target].json(),
                "declared_schema": self.tables[target].as_ref().map(|table| {
                    let types = table.columns.iter();
                    types.map(|(name, kind)| (*name, kind.name())).collect::<BTreeMap<_, _>>()
                }),
            }),
        };
        Prediction { status: 201, body }
    }

    pub fn put(&mut self, session: usize, number: u32, part: Part) -> Prediction {
        let csv = part.csv();
        let table = self.bound_table(session).cloned();
        let session = &mut self.sessions[session];
        if let Some(refusal) = session.refuses_changes() {
            return refusal;
        }
        if let Some(refusal) = table.as_ref().and_then(|table| misfit(&part, table)) {
            return refusal;
        }
        let columns: Vec<Value> = part
            .columns
            .iter()
            .map(|column| {
                let own = column.kind();
                let (kind, action) = match table.as_ref().map(|table| table.kind(column.name)) {
                    None | Some(None | Some(Kind::Null)) => (own, "undeclared"),
                    Some(Some(declared)) if own == declared || own == Kind::Null => {
                        (declared, "keep")
                    }
                    Some(Some(declared)) => (declared, "cast"),
                };
                json!({
                    "name": column.name, "type": kind.name(), "from": own.name(),
                    "action": action, "nullable": column.is_nullable(),
                })
            })
            .collect();
        let body = json!({
            "status": "stored", "part": number, "rows": part.rows(), "bytes": csv.len(),
            "kind": "csv", "sha256": sha256(&csv), "schema": {"columns": columns}, "issues": [],
        });
        session.deleted.remove(&number);
        session.parts.insert(number, part);
        Prediction { status: 201, body }
    }

    /// A part that must be refused whatever its session holds.
    pub fn put_damaged(&self, session: usize, number: u32, damage: Damage) -> Prediction {
        if let Some(refusal) = self.sessions[session].refuses_changes() {
            return refusal;
        }
        match damage {
            Damage::WrongDigest => refused(400, "checksum_mismatch", json!({})),
            Damage::ExtraField | Damage::MissingField | Damage::OpenQuote | Damage::NoUtf8 => {
                refused(422, "format_unreadable", json!({"row": 2, "part": number}))
            }
        }
    }

    pub fn delete(&mut self, session: usize, number: u32) -> Prediction {
        let session = &mut self.sessions[session];
        if let Some(refusal) = session.refuses_changes() {
            return refusal;
        }
        if session.parts.remove(&number).is_none() && !session.deleted.contains(&number) {
            return refused(404, "part_not_found", json!({"part": number}));
        }
        session.deleted.insert(number);
        Prediction {
            status: 200,
            body: json!({"status": "deleted", "part": number}),
        }
    }

    pub fn inspect(&self, session: usize) -> Prediction {
        let session = &self.sessions[session];
        if session.parts.is_empty() {
            return Prediction {
                status: 204,
                body: Value::Null,
            };
        }
        let parts: Vec<Value> = session
            .parts
            .iter()
            .map(|(number, part)| {
                let csv = part.csv();
                json!({
                    "id": number, "rows": part.rows(), "bytes": csv.len(), "kind": "csv",
                    "sha256": sha256(&csv), "decoded_bytes": csv.len(), "file_name": "data.csv",
                })
            })
            .collect();
        let (state, commit) = match &session.committed {
            None => ("open", Value::Null),
            Some((_, answer)) => ("committed", answer.clone()),
        };
        let body = json!({
            "rows_estimate": session.rows(), "parts": parts, "issues": [], "state": state,
            "schema": {"columns": session.inspected_columns()}, "commit": commit,
        });
        Prediction { status: 200, body }
    }

    /// What a commit is answered with. When that is a success, [`Model::committed`] makes it so.
    pub fn commit(&self, session: usize, request: Request) -> Prediction {
        let session = &self.sessions[session];
        let target = match (request.target, session.bound) {
            (None, None) => {
                let place = json!([{"loc": ["body", "target"], "type": "missing"}]);
                return refused(422, "validation_error", json!({"detail": place}));
            }
            (Some(named), Some(bound)) if named != bound => {
                return refused(409, "target_mismatch", json!({}));
            }
            (Some(target), _) | (None, Some(target)) => target,
        };
        if let Some((done, answer)) = &session.committed {
            let request = Request {
                target: Some(target),
                ..request
            };
            return match *done == request {
                true => Prediction {
                    status: 200,
                    body: answer.clone(),
                },
                false => session.refuses_changes().expect("it is committed"),
            };
        }
        let columns = unified(session.parts.values());
        let differences = match &self.tables[target] {
            _ if session.parts.is_empty() => return refused(422, "no_parts", json!({})),
            None if columns.is_empty() => return refused(422, "no_parts", json!({})),
            Some(_) if request.mode == "fail" => return refused(409, "dataset_exists", json!({})),
            Some(table) if request.mode == "append" => table.differences(&columns),
            _ => Vec::new(),
        };
        if !differences.is_empty() {
            return refused(409, "schema_mismatch", json!({"differences": differences}));
        }
        // All parts are small text, and so share a file.
        let has_rows = session.parts.values().any(|part| part.rows() > 0);
        let body = json!({
            "table": self.targets[target].dotted(), "rows_written": session.rows(),
            "files_created": usize::from(has_rows),
        });
        Prediction { status: 200, body }
    }

    /// The first success of a session's commit was answered like this.
    pub fn committed(&mut self, index: usize, request: Request, answer: &Value) {
        let session = &mut self.sessions[index];
        if session.committed.is_some() {
            return;
        }
        let target = request.target.or(session.bound).expect("a target");
        let done = Request {
            target: Some(target),
            ..request
        };
        session.committed = Some((done, answer.clone()));
        let columns = unified(session.parts.values());
        let table = self.tables[target].get_or_insert_default();
        if request.mode == "overwrite" {
            table.replace(&columns);
        } else if table.columns.is_empty() {
            table.columns = columns;
        } else {
            table.append(&columns);
        }
        for part in session.parts.values() {
            table.rows.extend((0..part.rows()).map(|row| {
                let cells = part.columns.iter();
                cells
                    .map(|column| (column.name, column.cells[row].clone()))
                    .collect()
            }));
        }
        table.commits.push(index);
    }

    /// The table that a session is bound to, if there is one.
    fn bound_table(&self, session: usize) -> Option<&Table> {
        self.tables[self.sessions[session].bound?].as_ref()
    }
}

impl Session {
    /// Whether this part is staged, or was when the session was committed.
    pub fn has(&self, part: u32) -> bool {
        self.parts.contains_key(&part)
    }

    /// The commit that was done.
    pub fn committed_with(&self) -> Option<Request> {
        self.committed.as_ref().map(|(request, _)| *request)
    }

    /// The refusal of any change once it is committed.
    fn refuses_changes(&self) -> Option<Prediction> {
        let (_, answer) = self.committed.as_ref()?;
        let facts = json!({"commit_id": answer["commit_id"], "table": answer["table"]});
        Some(refused(409, "already_committed", facts))
    }

    fn rows(&self) -> usize {
        self.parts.values().map(Part::rows).sum()
    }

    fn inspected_columns(&self) -> Vec<Value> {
        let columns = unified(self.parts.values()).into_iter();
        let inspected = columns.map(|(name, kind)| {
            let mut is_nullable = false;
            let mut differs_in = Vec::new();
            for (number, part) in &self.parts {
                let column = part.column(name);
                let lacks = column.is_none_or(|column| column.is_nullable());
                is_nullable |= lacks && part.rows() > 0;
                let own = column.map_or(Kind::Null, |column| column.kind());
                if own != kind && own != Kind::Null {
                    differs_in.push(*number);
                }
            }
            json!({
                "name": name, "type": kind.name(), "nullable": is_nullable,
                "differs_in": differs_in,
            })
        });
        inspected.collect()
    }
}

impl Table {
    fn kind(&self, name: &str) -> Option<Kind> {
        let mut columns = self.columns.iter();
        columns
            .find(|(known, _)| *known == name)
            .map(|(_, kind)| *kind)
    }

    /// Everything that keeps rows with these columns from being added.
    fn differences(&self, columns: &[(&'static str, Kind)]) -> Vec<Value> {
        let mut differences = Vec::new();
        for (name, declared) in &self.columns {
            let incoming = columns.iter().find(|(column, _)| column == name);
            let incoming = incoming.map_or(Kind::Null, |(_, kind)| *kind);
            if *declared != Kind::Null && !declared.takes(incoming) {
                differences.push(json!({
                    "column": name, "problem": "incompatible_type",
                    "table_type": declared.name(), "incoming_type": incoming.name(),
                }));
            }
        }
        for (name, kind) in columns {
            if self.kind(name).is_none() {
                let incoming = (*kind != Kind::Null).then(|| kind.name());
                differences.push(json!({
                    "column": name, "problem": "new_column",
                    "table_type": null, "incoming_type": incoming,
                }));
            }
        }
        differences
    }

    /// Columns without a value so far become what their first values are.
    fn append(&mut self, columns: &[(&'static str, Kind)]) {
        for (name, kind) in &mut self.columns {
            let incoming = columns.iter().find(|(column, _)| column == name);
            if let (Kind::Null, Some((_, incoming))) = (*kind, incoming) {
                *kind = *incoming;
            }
        }
    }

    /// The rows go, and the columns are the new ones; one without a value keeps the type that it has in the table. A
    /// part without columns leaves them as they are.
    fn replace(&mut self, columns: &[(&'static str, Kind)]) {
        self.rows.clear();
        if columns.is_empty() {
            return;
        }
        let columns = columns.iter().map(|(name, kind)| match kind {
            Kind::Null => (*name, self.kind(name).unwrap_or(Kind::Null)),
            kind => (*name, *kind),
        });
        self.columns = columns.collect();
    }
}

/// The refusal of a part for the first value that its table cannot hold.
fn misfit(part: &Part, table: &Table) -> Option<Prediction> {
    part.columns.iter().find_map(|column| {
        let declared = table.kind(column.name)?;
        if declared == Kind::Null {
            return None;
        }
        let fits = |cell: &Cell| declared.takes(cell.kind());
        let row = column.cells.iter().position(|cell| !fits(cell))?;
        let facts = json!({
            "column": column.name, "row": row + 1, "value": column.cells[row].text(),
            "declared": declared.name(),
        });
        Some(refused(409, "value_not_castable", facts))
    })
}

fn refused(status: u16, code: &str, mut facts: Value) -> Prediction {
    facts["code"] = json!(code);
    Prediction {
        status,
        body: facts,
    }
}

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}
