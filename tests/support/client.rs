//! A blocking HTTP client that takes every status as an answer, and the six operations as methods.

use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::{HeaderMap, Request};

const TIMEOUT: Duration = Duration::from_secs(600);
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Request headers as the tests write them.
pub type Headers<'a> = &'a [(&'a str, &'a str)];

/// Says in `x-file-name` that a part is CSV.
pub const AS_CSV: Headers = &[("x-file-name", "data.csv")];
/// Says in `x-file-name` that a part is NDJSON.
pub const AS_NDJSON: Headers = &[("x-file-name", "data.ndjson")];
/// Says in `x-file-name` that a part is Parquet.
pub const AS_PARQUET: Headers = &[("x-file-name", "data.parquet")];

/// The three names of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub workspace: String,
    pub collection: String,
    pub dataset: String,
}

impl Target {
    /// From `workspace.collection.dataset`.
    pub fn new(dotted: &str) -> Self {
        let names: Vec<&str> = dotted.split('.').collect();
        let [workspace, collection, dataset] = names[..] else {
            panic!("`{dotted}` has not three names")
        };
        Self {
            workspace: workspace.to_owned(),
            collection: collection.to_owned(),
            dataset: dataset.to_owned(),
        }
    }

    /// As request bodies carry it.
    pub fn json(&self) -> Value {
        json!({"workspace": self.workspace, "collection": self.collection, "dataset": self.dataset})
    }

    /// As answers name it.
    pub fn dotted(&self) -> String {
        format!("{}.{}.{}", self.workspace, self.collection, self.dataset)
    }
}

/// What the server answered, whatever the status.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// Method and path, for messages.
    pub request: String,
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("a header of printable characters"))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!(
                "{} answered {} with a body that is no JSON ({error}): {}",
                self.request,
                self.status,
                self.text()
            )
        })
    }

    /// Fails the test unless the status is the expected one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(
            self.status,
            status,
            "{} answered {}: {}",
            self.request,
            self.status,
            self.text()
        );
        self
    }

    /// The JSON body of an answer with the expected status.
    #[track_caller]
    pub fn expect_json(self, status: u16) -> Value {
        self.expect(status).json()
    }

    /// The body of a refusal in the contract's form, whatever its code.
    #[track_caller]
    pub fn expect_refusal_of(self, status: u16) -> Value {
        let answer = self.expect(status);
        let body = answer.json();
        let detail = body["detail"]
            .as_str()
            .unwrap_or_else(|| panic!("detail is no text: {body}"));
        assert!(!detail.trim().is_empty(), "detail is empty: {body}");
        let code = body["code"]
            .as_str()
            .unwrap_or_else(|| panic!("code is no text: {body}"));
        let is_snake_case = code
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_');
        assert!(
            is_snake_case && !code.is_empty(),
            "code is not snake case: {body}"
        );
        let request_id = body["request_id"]
            .as_str()
            .unwrap_or_else(|| panic!("no request_id: {body}"));
        assert_eq!(
            answer.header("x-request-id"),
            Some(request_id),
            "header and body name different requests: {body}"
        );
        body
    }

    /// The body of a refusal with this status and code.
    #[track_caller]
    pub fn expect_refusal(self, status: u16, code: &str) -> Value {
        let body = self.expect_refusal_of(status);
        assert_eq!(body["code"], code, "{body}");
        body
    }

    /// The entries of a 422 about a malformed request, with exactly these places.
    #[track_caller]
    pub fn expect_validation_error(self, places: &[&[&str]]) -> Vec<Value> {
        let body = self.expect_json(422);
        assert_eq!(body["code"], "validation_error", "{body}");
        let entries = body["detail"]
            .as_array()
            .unwrap_or_else(|| panic!("detail is no list: {body}"))
            .clone();
        for entry in &entries {
            assert!(
                entry["msg"]
                    .as_str()
                    .is_some_and(|message| !message.is_empty()),
                "no msg: {body}"
            );
            assert!(
                entry["type"].as_str().is_some_and(|kind| !kind.is_empty()),
                "no type: {body}"
            );
            assert!(entry.get("input").is_some(), "no input: {body}");
        }
        let found: Vec<&Value> = entries.iter().map(|entry| &entry["loc"]).collect();
        assert_eq!(json!(found), json!(places), "{body}");
        entries
    }
}

/// Talks to one run of a server.
#[derive(Clone)]
pub struct Api {
    agent: Agent,
    base_url: String,
    /// Sent where a request has no `authorization` of its own.
    authorization: Option<String>,
}

impl Api {
    /// A client for the server at `http://127.0.0.1:PORT`.
    pub fn new(base_url: &str) -> Self {
        Self::with_idle_connections(base_url, 10)
    }

    /// A client that opens a connection for every request: no answer then means that the server is gone, not that
    /// it had closed a connection that was idle.
    pub fn with_fresh_connections(base_url: &str) -> Self {
        Self::with_idle_connections(base_url, 0)
    }

    fn with_idle_connections(base_url: &str, idle_connections_max: usize) -> Self {
        let config = Agent::config_builder()
            .max_idle_connections(idle_connections_max)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(TIMEOUT))
            .build();
        Self {
            agent: Agent::new_with_config(config),
            base_url: base_url.to_owned(),
            authorization: Some("Bearer a-token".to_owned()),
        }
    }

    /// The same client with another token.
    pub fn with_token(mut self, token: &str) -> Self {
        self.authorization = Some(format!("Bearer {token}"));
        self
    }

    /// The same client without any credential.
    pub fn without_credentials(mut self) -> Self {
        self.authorization = None;
        self
    }

    /// `http://127.0.0.1:PORT`.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Sends any request. An error means that no complete answer came.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: Headers,
        body: Option<&[u8]>,
    ) -> Result<Answer, ureq::Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base_url));
        let is_given = |(name, _): &(&str, &str)| name.eq_ignore_ascii_case("authorization");
        if let Some(authorization) = &self.authorization
            && !headers.iter().any(is_given)
        {
            request = request.header("authorization", authorization);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = match body {
            Some(body) => self.agent.run(request.body(body)?)?,
            None => self.agent.run(request.body(())?)?,
        };
        let (parts, mut body) = response.into_parts();
        let body = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        Ok(Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
            request: format!("{method} {path}"),
        })
    }

    /// Sends any request; no answer fails the test.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, headers: Headers, body: Option<&[u8]>) -> Answer {
        self.try_send(method, path, headers, body)
            .unwrap_or_else(|error| panic!("{method} {path} got no answer: {error}"))
    }

    /// Sends a JSON body.
    #[track_caller]
    pub fn send_json(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.send(
            method,
            path,
            &[("content-type", "application/json")],
            Some(body.to_string().as_bytes()),
        )
    }

    /// GET without a body.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], None)
    }

    /// Opens a session without a target, as clients before 0.3 do, and gives its id.
    #[track_caller]
    pub fn open_session(&self) -> String {
        let answer = self
            .send("POST", "/v1/upload/session", &[], Some(b""))
            .expect_json(201);
        session_id_of(&answer)
    }

    /// Opens a session that is bound to `target` and gives the whole answer.
    #[track_caller]
    pub fn open_bound_session(&self, target: &Target) -> Value {
        self.send_json(
            "POST",
            "/v1/upload/session",
            &json!({"target": target.json()}),
        )
        .expect_json(201)
    }

    /// Sends a part.
    #[track_caller]
    pub fn put_part(&self, session: &str, part: u32, body: &[u8], headers: Headers) -> Answer {
        self.send(
            "PUT",
            &format!("/v1/upload/{session}?part={part}"),
            headers,
            Some(body),
        )
    }

    /// Sends a CSV part, which must be stored.
    #[track_caller]
    pub fn put_csv(&self, session: &str, part: u32, csv: &str) -> Value {
        self.put_part(session, part, csv.as_bytes(), AS_CSV)
            .expect_json(201)
    }

    /// Asks what the session holds.
    #[track_caller]
    pub fn inspect(&self, session: &str) -> Answer {
        self.get(&format!("/v1/upload/{session}/inspect"))
    }

    /// Deletes a part.
    #[track_caller]
    pub fn delete_part(&self, session: &str, part: u32) -> Answer {
        self.send(
            "DELETE",
            &format!("/v1/upload/{session}/part/{part}"),
            &[],
            None,
        )
    }

    /// Commits to `target`.
    #[track_caller]
    pub fn commit(&self, session: &str, target: &Target, mode: &str) -> Answer {
        self.commit_body(session, &commit_request(target, mode))
    }

    /// Commits with any body.
    #[track_caller]
    pub fn commit_body(&self, session: &str, body: &Value) -> Answer {
        self.send_json("POST", &format!("/v1/upload/{session}/commit"), body)
    }
}

/// The body of a commit, as clients up to 0.6 write it.
pub fn commit_request(target: &Target, mode: &str) -> Value {
    json!({"target": target.json(), "snapshot_message": null, "conflict_resolution": mode})
}

/// The `session_id` of the answer to an opened session.
#[track_caller]
pub fn session_id_of(answer: &Value) -> String {
    answer["session_id"]
        .as_str()
        .unwrap_or_else(|| panic!("no session_id in {answer}"))
        .to_owned()
}
