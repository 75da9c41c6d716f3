//! Reads what requests bring: ids, parameters, JSON bodies. What does not have the documented form becomes a
//! 422 that names the place, as a FastAPI service answers.

use actix_web::HttpRequest;
use actix_web::web;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::domain::session::session_not_found;
use crate::domain::{ConflictResolution, PartNumber, SchemaEvolution, SessionId, Target};
use crate::error::{Error, ErrorCode, Result};
use crate::ingest::csv::dialect::Given;
use crate::store::pace::{Pace, PacedBody};

/// Largest body of a control operation.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Longest snapshot message: it is kept in the table's metadata for ever.
const MESSAGE_CHARS_MAX: usize = 4096;
/// A message for whatever is not there.
const MISSING: &str = "Field required";

/// Both values, or everything that is wrong with either.
pub fn both<A, B>(left: Result<A>, right: Result<B>) -> Result<(A, B)> {
    match (left, right) {
        (Ok(left), Ok(right)) => Ok((left, right)),
        (Err(mut left), Err(right)) => {
            left.violations.extend(right.violations);
            Err(left)
        }
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
    }
}

/// The session in the path. What cannot be an id names no session.
pub fn session_id(request: &HttpRequest) -> Result<SessionId> {
    let text = request.match_info().query("session_id");
    SessionId::parse(text).ok_or_else(|| session_not_found(text))
}

/// The part number in the path.
pub fn part_in_path(request: &HttpRequest, number_max: u16) -> Result<PartNumber> {
    let text = request.match_info().query("part");
    part_number(json!(["path", "part"]), text, number_max)
}

/// What the query of an upload says.
pub struct PartQuery {
    /// The part's number.
    pub part: PartNumber,
    /// The `content_type` parameter.
    pub content_type: Option<String>,
    /// How the part is written, if it is CSV.
    pub csv: Given,
}

/// Reads the query of an upload.
pub fn part_query(request: &HttpRequest, number_max: u16) -> Result<PartQuery> {
    let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string())
        .map_err(|error| {
            Error::validation(
                json!(["query"]),
                &format!("The query string cannot be read: {error}"),
                "query_parsing",
                request.query_string().into(),
            )
        })?
        .into_inner();
    let value = |name: &str| {
        let pair = pairs.iter().find(|(key, _)| key == name);
        pair.map(|(_, value)| value.as_str())
    };
    let location = json!(["query", "part"]);
    let part = match value("part") {
        Some(text) => part_number(location, text, number_max),
        None => Err(Error::validation(location, MISSING, "missing", Value::Null)),
    };
    let (part, csv) = both(part, csv_parameters(&pairs))?;
    Ok(PartQuery {
        part,
        content_type: value("content_type").map(str::to_owned),
        csv,
    })
}

fn csv_parameters(pairs: &[(String, String)]) -> Result<Given> {
    let mut given = Given::default();
    let mut read = Ok(());
    for (name, value) in pairs {
        let taken = given.take(name, value).map_err(|refusal| {
            let location = json!(["query", name]);
            Error::validation(location, refusal, "value_error", value.as_str().into())
        });
        read = both(read, taken).map(drop);
    }
    read.map(|()| given)
}

fn part_number(location: Value, text: &str, number_max: u16) -> Result<PartNumber> {
    let refused = |message: &str, kind| {
        Err(Error::validation(
            location.clone(),
            message,
            kind,
            text.into(),
        ))
    };
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return refused(
            "Input should be a valid integer, unable to parse string as an integer",
            "int_parsing",
        );
    }
    match text.parse::<u16>() {
        Ok(number) if number <= number_max => Ok(PartNumber(number)),
        _ if text.starts_with('-') => refused(
            "Input should be greater than or equal to 0",
            "greater_than_equal",
        ),
        _ => refused(
            &format!("Input should be less than or equal to {number_max}"),
            "less_than_equal",
        ),
    }
}

/// A header's value, if it is there and plain text.
pub fn header<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

/// A small body, whole.
pub async fn small_body(body: web::Payload, pace: Pace) -> Result<Vec<u8>> {
    let mut body = PacedBody::new(body, pace);
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next_chunk().await? {
        if bytes.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(Error::new(
                ErrorCode::RequestTooLarge,
                format!(
                    "The body of this request may have at most {BODY_BYTES_MAX} bytes; the bytes of files go to PUT /v1/upload/{{session_id}}?part=N."
                ),
            ));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// A JSON object body; `None` when the body is empty or `null`.
pub async fn json_object(body: web::Payload, pace: Pace) -> Result<Option<Map<String, Value>>> {
    let bytes = small_body(body, pace).await?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    match serde_json::from_slice::<Value>(&bytes) {
        Ok(Value::Object(object)) => Ok(Some(object)),
        Ok(Value::Null) => Ok(None),
        Ok(other) => Err(Error::validation(
            json!(["body"]),
            "Input should be an object",
            "model_attributes_type",
            other,
        )),
        Err(error) => Err(Error::validation(
            json!(["body"]),
            &format!("JSON decode error: {error}"),
            "json_invalid",
            json!({}),
        )),
    }
}

/// The `target` of a body; `None` when it is absent or null.
pub fn target(body: &Map<String, Value>) -> Result<Option<Target>> {
    let object = match body.get("target") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(object)) => object,
        Some(other) => {
            return Err(Error::validation(
                json!(["body", "target"]),
                "Input should be a valid dictionary",
                "model_attributes_type",
                other.clone(),
            ));
        }
    };
    let workspace = name(object, "workspace", Target::parse_workspace);
    let collection = name(object, "collection", Target::parse_name);
    let dataset = name(object, "dataset", Target::parse_name);
    let ((workspace, collection), dataset) = both(both(workspace, collection), dataset)?;
    Target::new(&workspace, &collection, &dataset)
        .map(Some)
        .map_err(Error::internal)
}

fn name(
    target: &Map<String, Value>,
    key: &str,
    parse: impl Fn(&str) -> std::result::Result<String, crate::domain::ids::NameError>,
) -> Result<String> {
    let location = json!(["body", "target", key]);
    match target.get(key) {
        None => Err(Error::validation(
            location,
            MISSING,
            "missing",
            Value::Object(target.clone()),
        )),
        Some(Value::String(text)) => parse(text).map_err(|error| {
            Error::validation(
                location,
                &error.to_string(),
                "string_pattern_mismatch",
                text.as_str().into(),
            )
        }),
        Some(other) => Err(not_a_string(location, other)),
    }
}

fn not_a_string(location: Value, found: &Value) -> Error {
    Error::validation(
        location,
        "Input should be a valid string",
        "string_type",
        found.clone(),
    )
}

/// The `snapshot_message` of a body.
pub fn snapshot_message(body: &Map<String, Value>) -> Result<Option<String>> {
    let location = json!(["body", "snapshot_message"]);
    match body.get("snapshot_message") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.chars().count() > MESSAGE_CHARS_MAX => {
            Err(Error::validation(
                location,
                &format!("String should have at most {MESSAGE_CHARS_MAX} characters"),
                "string_too_long",
                Value::Null,
            ))
        }
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(not_a_string(location, other)),
    }
}

/// The `conflict_resolution` of a body; `fail` when it is absent.
pub fn conflict_resolution(body: &Map<String, Value>) -> Result<ConflictResolution> {
    choice(
        body,
        "conflict_resolution",
        "Input should be 'fail', 'overwrite' or 'append'",
    )
}

/// The `schema_evolution` of a body; `strict` when it is absent.
pub fn schema_evolution(body: &Map<String, Value>) -> Result<SchemaEvolution> {
    choice(
        body,
        "schema_evolution",
        "Input should be 'strict' or 'add_columns'",
    )
}

/// The `dry_run` of a body; false when it is absent.
pub fn dry_run(body: &Map<String, Value>) -> Result<bool> {
    choice(body, "dry_run", "Input should be true or false")
}

fn choice<T: Default + DeserializeOwned>(
    body: &Map<String, Value>,
    key: &str,
    choices: &str,
) -> Result<T> {
    match body.get(key) {
        None => Ok(T::default()),
        Some(value) => serde_json::from_value(value.clone())
            .map_err(|_| Error::validation(json!(["body", key]), choices, "enum", value.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_numbers_are_whole_and_in_range() {
        let location = json!(["query", "part"]);
        assert_eq!(
            part_number(location.clone(), "999", 999),
            Ok(PartNumber(999))
        );
        for (text, kind) in [
            ("1000", "less_than_equal"),
            ("99999999999999999999", "less_than_equal"),
            ("-1", "greater_than_equal"),
            ("", "int_parsing"),
            ("1.5", "int_parsing"),
            ("+1", "int_parsing"),
            ("-", "int_parsing"),
        ] {
            let refused = part_number(location.clone(), text, 999).unwrap_err();
            assert_eq!(refused.violations[0]["type"], kind, "{text}");
            assert_eq!(refused.violations[0]["loc"], location);
        }
    }

    #[test]
    fn a_target_names_what_is_wrong_with_it() {
        let check = |body: Value| target(body.as_object().unwrap());
        assert_eq!(check(json!({})), Ok(None));
        assert_eq!(check(json!({"target": null})), Ok(None));
        let found = check(json!({"target": {"workspace": "A", "collection": "b", "dataset": "c"}}));
        assert_eq!(found.unwrap().unwrap().to_string(), "a.b.c");
        for (value, place) in [
            (json!("a.b.c"), json!(["body", "target"])),
            (
                json!({"workspace": "a", "collection": "b"}),
                json!(["body", "target", "dataset"]),
            ),
            (
                json!({"workspace": "a", "collection": 1, "dataset": "c"}),
                json!(["body", "target", "collection"]),
            ),
            (
                json!({"workspace": "system", "collection": "b", "dataset": "c"}),
                json!(["body", "target", "workspace"]),
            ),
        ] {
            let refused = check(json!({"target": value})).unwrap_err();
            assert_eq!(refused.violations[0]["loc"], place);
        }
    }
}
