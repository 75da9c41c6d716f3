//! The OpenAPI document, held against a list written from the contract's section 1.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::server::TestServer;

/// One row of the contract's table of operations.
struct Operation {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    tag: &'static str,
    success: &'static str,
    /// The schema of the answer, where the contract gives it a name.
    answer: Option<&'static str>,
    /// Path and query parameters: name, place, whether required, JSON type.
    parameters: &'static [(&'static str, &'static str, bool, &'static str)],
}

const SESSION_ID: (&str, &str, bool, &str) = ("session_id", "path", true, "string");

/// The contract's six, and then ours.
const OPERATIONS: [Operation; 9] = [
    Operation {
        method: "get",
        path: "/health",
        summary: "Health",
        tag: "service",
        success: "200",
        answer: None,
        parameters: &[],
    },
    Operation {
        method: "post",
        path: "/v1/upload/session",
        summary: "Start Upload Session",
        tag: "upload",
        success: "201",
        answer: Some("StartSessionResponse"),
        parameters: &[],
    },
    Operation {
        method: "put",
        path: "/v1/upload/{session_id}",
        summary: "Upload Part",
        tag: "upload",
        success: "201",
        answer: None,
        parameters: &[
            SESSION_ID,
            ("part", "query", true, "integer"),
            ("content_type", "query", false, "string"),
            ("delimiter", "query", false, "string"),
            ("quote", "query", false, "string"),
            ("escape", "query", false, "string"),
            ("header", "query", false, "string"),
            ("encoding", "query", false, "string"),
            ("null", "query", false, "array"),
            ("skip", "query", false, "integer"),
            ("ragged", "query", false, "string"),
        ],
    },
    Operation {
        method: "get",
        path: "/v1/upload/{session_id}/inspect",
        summary: "Inspect Session",
        tag: "upload",
        success: "200",
        answer: Some("InspectResponse"),
        parameters: &[SESSION_ID],
    },
    Operation {
        method: "delete",
        path: "/v1/upload/{session_id}/part/{part}",
        summary: "Delete Part",
        tag: "upload",
        success: "200",
        answer: None,
        parameters: &[SESSION_ID, ("part", "path", true, "integer")],
    },
    Operation {
        method: "post",
        path: "/v1/upload/{session_id}/commit",
        summary: "Commit Session",
        tag: "upload",
        success: "200",
        answer: Some("CommitResponse"),
        parameters: &[SESSION_ID],
    },
    Operation {
        method: "delete",
        path: "/v1/upload/{session_id}",
        summary: "Abort Session",
        tag: "upload",
        success: "200",
        answer: Some("AbortSessionResponse"),
        parameters: &[SESSION_ID],
    },
    Operation {
        method: "post",
        path: "/token",
        summary: "Issue Token",
        tag: "service",
        success: "200",
        answer: Some("IssuedToken"),
        parameters: &[],
    },
    Operation {
        method: "get",
        path: "/.well-known/jwks.json",
        summary: "Key Set",
        tag: "service",
        success: "200",
        answer: None,
        parameters: &[],
    },
];

/// Schema name, its properties, and those among them that are required.
const SCHEMAS: [(&str, &[&str], &[&str]); 7] = [
    (
        "StartSessionResponse",
        &[
            "session_id",
            "url",
            "expires_at",
            "parts",
            "target",
            "declared_schema",
        ],
        &["session_id", "url", "expires_at"],
    ),
    (
        "CommitRequest",
        &["target", "snapshot_message", "conflict_resolution"],
        &[],
    ),
    (
        "Target",
        &["workspace", "collection", "dataset"],
        &["workspace", "collection", "dataset"],
    ),
    (
        "CommitResponse",
        &[
            "table",
            "commit_id",
            "rows_written",
            "files_created",
            "snapshot_id",
        ],
        &["table", "commit_id", "rows_written", "files_created"],
    ),
    (
        "InspectResponse",
        &["rows_estimate", "schema", "parts", "issues"],
        &["rows_estimate", "schema"],
    ),
    ("HTTPValidationError", &["detail"], &[]),
    (
        "ValidationError",
        &["loc", "msg", "type"],
        &["loc", "msg", "type"],
    ),
];

fn document() -> Value {
    let server = TestServer::start();
    let answer = server.api().get("/openapi.json").expect(200);
    let content_type = answer.header("content-type").expect("a content type");
    assert!(
        content_type.starts_with("application/json"),
        "{content_type}"
    );
    answer.json()
}

/// The schema of a JSON content, by its name; the first, where there are several.
fn schema_name(content: &Value) -> &str {
    let schema = &content["content"]["application/json"]["schema"];
    let first = &schema["oneOf"][0];
    let reference = schema["$ref"].as_str().or(first["$ref"].as_str());
    let reference = reference.unwrap_or_else(|| panic!("no named schema in {content}"));
    reference
        .strip_prefix("#/components/schemas/")
        .unwrap_or_else(|| panic!("{reference} is elsewhere"))
}

/// Whether a schema allows text and null, in either of the two spellings of 3.1.
fn is_nullable_text(schema: &Value) -> bool {
    let kinds = |value: &Value| value.as_array().cloned().unwrap_or_default().into_iter();
    let by_type: BTreeSet<String> = kinds(&schema["type"])
        .filter_map(|kind| kind.as_str().map(str::to_owned))
        .collect();
    let by_any: BTreeSet<String> = kinds(&schema["anyOf"])
        .chain(kinds(&schema["oneOf"]))
        .filter_map(|kind| kind["type"].as_str().map(str::to_owned))
        .collect();
    let wanted = BTreeSet::from(["null".to_owned(), "string".to_owned()]);
    by_type == wanted || by_any == wanted
}

/// Whether a schema is of this type, or of this type and null.
fn is_of_type(schema: &Value, wanted: &str) -> bool {
    schema["type"] == wanted
        || schema["type"]
            .as_array()
            .is_some_and(|kinds| kinds.contains(&json!(wanted)))
        || ["anyOf", "oneOf"].iter().any(|key| {
            schema[key]
                .as_array()
                .is_some_and(|kinds| kinds.iter().any(|kind| kind["type"] == wanted))
        })
}

#[test]
fn document_is_openapi_3_1_with_exactly_these_operations() {
    let document = document();
    let version = document["openapi"].as_str().expect("a version");
    assert!(version.starts_with("3.1"), "{version}");
    let mut found = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item
            .as_object()
            .expect("methods")
            .keys()
            .filter(|key| !["parameters", "summary", "description"].contains(&key.as_str()))
        {
            found.insert((method.clone(), path.clone()));
        }
    }
    let listed: BTreeSet<_> = OPERATIONS
        .iter()
        .map(|one| (one.method.to_owned(), one.path.to_owned()))
        .collect();
    assert_eq!(found, listed);
}

#[test]
fn operations_have_the_names_tags_parameters_and_answers_of_the_contract() {
    let document = document();
    for expected in &OPERATIONS {
        let operation = &document["paths"][expected.path][expected.method];
        let place = format!("{} {}", expected.method, expected.path);
        assert_eq!(operation["summary"], expected.summary, "{place}");
        assert_eq!(operation["tags"], json!([expected.tag]), "{place}");
        let no_parameters = Vec::new();
        let parameters = operation["parameters"].as_array().unwrap_or(&no_parameters);
        let found: BTreeSet<(&str, &str, bool)> = parameters
            .iter()
            .map(|one| {
                let text = |key: &str| {
                    one[key]
                        .as_str()
                        .unwrap_or_else(|| panic!("no {key}: {place}: {one}"))
                };
                (
                    text("name"),
                    text("in"),
                    one["required"].as_bool().unwrap_or(false),
                )
            })
            .filter(|(_, place, _)| *place != "header")
            .collect();
        let listed: BTreeSet<_> = expected
            .parameters
            .iter()
            .map(|(name, place, required, _)| (*name, *place, *required))
            .collect();
        assert_eq!(found, listed, "{place}");
        for (name, _, _, kind) in expected.parameters {
            let parameter = parameters
                .iter()
                .find(|one| one["name"] == *name)
                .expect("just listed");
            assert!(
                is_of_type(&parameter["schema"], kind),
                "{place}: {name} is no {kind}: {parameter}"
            );
        }
        let success = &operation["responses"][expected.success];
        assert!(
            success["content"]["application/json"]["schema"].is_object(),
            "{place}: {success}"
        );
        if let Some(schema) = expected.answer {
            assert_eq!(schema_name(success), schema, "{place}");
        }
    }
    let inspect = &document["paths"]["/v1/upload/{session_id}/inspect"]["get"]["responses"];
    assert!(
        inspect["204"].is_object(),
        "inspect documents 204: {inspect}"
    );
}

#[test]
fn upload_operations_take_an_optional_authorization_and_document_422() {
    let document = document();
    for expected in OPERATIONS.iter().filter(|one| one.tag == "upload") {
        let operation = &document["paths"][expected.path][expected.method];
        let place = format!("{} {}", expected.method, expected.path);
        let headers: Vec<&Value> = operation["parameters"]
            .as_array()
            .expect("parameters")
            .iter()
            .filter(|one| one["in"] == "header")
            .collect();
        let authorization = headers
            .iter()
            .find(|one| {
                one["name"]
                    .as_str()
                    .is_some_and(|name| name.eq_ignore_ascii_case("authorization"))
            })
            .unwrap_or_else(|| panic!("{place} does not declare authorization"));
        assert!(
            is_nullable_text(&authorization["schema"]),
            "{place}: {authorization}"
        );
        assert!(
            headers.iter().all(|one| one["required"] != true),
            "{place}: no header is required: {headers:?}"
        );
        assert_eq!(
            schema_name(&operation["responses"]["422"]),
            "HTTPValidationError",
            "{place}"
        );
    }
    let health = document["paths"]["/health"]["get"]["parameters"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    assert!(health.is_empty(), "health takes no parameter: {health:?}");
}

#[test]
fn request_bodies_are_as_the_contract_says() {
    let document = document();
    let commit = &document["paths"]["/v1/upload/{session_id}/commit"]["post"]["requestBody"];
    assert_eq!(schema_name(commit), "CommitRequest");
    assert_eq!(commit["required"], true, "{commit}");
    let start = &document["paths"]["/v1/upload/session"]["post"]["requestBody"];
    assert_ne!(
        start["required"], true,
        "a session opens without a body too: {start}"
    );
}

#[test]
fn schemas_have_the_names_and_properties_of_the_contract() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    for (name, properties, required) in SCHEMAS {
        let schema = &schemas[name];
        let found: BTreeSet<&str> = schema["properties"]
            .as_object()
            .unwrap_or_else(|| panic!("no schema {name}"))
            .keys()
            .map(String::as_str)
            .collect();
        let missing: Vec<_> = properties
            .iter()
            .filter(|property| !found.contains(**property))
            .collect();
        assert!(
            missing.is_empty(),
            "{name} lacks {missing:?}; it has {found:?}"
        );
        let found = schema["required"].as_array().cloned().unwrap_or_default();
        let missing: Vec<_> = required
            .iter()
            .filter(|property| !found.contains(&json!(property)))
            .collect();
        assert!(missing.is_empty(), "{name} does not require {missing:?}");
    }
    let exactly_three = schemas["Target"]["properties"]
        .as_object()
        .expect("properties")
        .len();
    assert_eq!(exactly_three, 3, "a target has exactly three keys");
    let modes: BTreeSet<&str> = schemas["ConflictResolution"]["enum"]
        .as_array()
        .expect("an enum")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(modes, BTreeSet::from(["append", "fail", "overwrite"]));
    let items = &schemas["HTTPValidationError"]["properties"]["detail"]["items"]["$ref"];
    assert_eq!(items, "#/components/schemas/ValidationError");
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    let mut waiting = vec![&document];
    let mut references = BTreeSet::new();
    while let Some(value) = waiting.pop() {
        match value {
            Value::Object(members) => {
                references.extend(members.get("$ref").and_then(Value::as_str));
                waiting.extend(members.values());
            }
            Value::Array(items) => waiting.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    assert!(!references.is_empty(), "the document uses named schemas");
    for reference in references {
        let pointer = reference
            .strip_prefix('#')
            .unwrap_or_else(|| panic!("{reference} leaves the document"));
        assert!(
            document.pointer(pointer).is_some(),
            "{reference} leads nowhere"
        );
    }
}
