//! The table of who may do what: every route there is, for everyone who might come, with the outcome.
//!
//! The routes are the server's own list: one that is added and not decided upon here fails the test.

use std::collections::BTreeSet;

use calve::http::{Access, ROUTES};
use serde_json::{Value, json};

use super::tokens::{TOKENS, client};
use crate::support::client::{AS_CSV, Answer, Api, Target, commit_request, session_id_of};
use crate::support::server::{TestServer, make_token};

/// Everyone who might come to a session that `opener`, a writer, has opened for `acme.sales.orders`.
struct Cast {
    server: TestServer,
    opener: Api,
    /// Who comes, by name.
    others: Vec<(&'static str, Api)>,
}

/// Those in the columns of the table below, in order.
const WHO: [&str; 8] = [
    "nobody",
    "stranger",
    "reader",
    "opener",
    "writer",
    "owner",
    "other_owner",
    "admin",
];

impl Cast {
    fn new() -> Self {
        let server = TestServer::start_with(&[TOKENS]);
        let opener = client(&server, "opener", &["acme.sales.*:writer"]);
        let admin = make_token(&server, "admin", &["--admin"]);
        let others = vec![
            ("nobody", server.api().without_credentials()),
            ("stranger", server.api()),
            ("reader", client(&server, "reader", &["acme.*:reader"])),
            ("opener", opener.clone()),
            (
                "writer",
                client(&server, "writer", &["acme.sales.orders:writer"]),
            ),
            (
                "owner",
                client(&server, "owner", &["acme.sales.orders:owner"]),
            ),
            (
                "other_owner",
                client(&server, "other_owner", &["acme.shop.*:owner"]),
            ),
            ("admin", server.api().with_token(&admin)),
        ];
        Self {
            server,
            opener,
            others,
        }
    }

    /// A session of the opener's with one part.
    fn session(&self, target: Option<&Target>) -> String {
        let session = match target {
            Some(target) => session_id_of(&self.opener.open_bound_session(target)),
            None => self.opener.open_session(),
        };
        self.opener.put_csv(&session, 0, "id\n1\n");
        session
    }

    /// The statuses that everyone gets, each for a session of its own.
    fn statuses(&self, target: Option<&Target>, act: impl Fn(&Api, &str) -> Answer) -> Vec<u16> {
        let status = |who: &Api| act(who, &self.session(target)).status;
        assert_eq!(
            self.others
                .iter()
                .map(|(name, _)| *name)
                .collect::<Vec<_>>(),
            WHO
        );
        self.others.iter().map(|(_, api)| status(api)).collect()
    }
}

fn orders() -> Target {
    Target::new("acme.sales.orders")
}

#[test]
fn every_route_for_everyone() {
    let cast = Cast::new();
    let orders = orders();
    // So that there is something to append to and to overwrite.
    let first = cast.session(Some(&orders));
    cast.opener.commit(&first, &orders, "fail").expect(200);
    let mut decided = BTreeSet::new();
    let mut check = |method: &str,
                     pattern: &'static str,
                     what: &str,
                     target: Option<&Target>,
                     body: Option<Value>,
                     expected: [u16; 8]| {
        decided.insert((pattern, method.to_owned()));
        let found = cast.statuses(target, |api, session| {
            let path = pattern
                .replace("{session_id}", session)
                .replace("{part}", "0")
                .replace("{file}", "index.css");
            match (&body, method) {
                (Some(body), _) => api.send_json(method, &path, body),
                (None, "PUT") => api.put_part(session, 0, b"id\n2\n", AS_CSV),
                (None, _) => api.send(method, &path, &[], None),
            }
        });
        assert_eq!(found, expected, "{method} {pattern}: {what}; {WHO:?}");
    };
    let all = |status: u16| [status; 8];
    check("GET", "/health", "", None, None, all(200));
    check("HEAD", "/health", "", None, None, all(200));
    check("GET", "/openapi.json", "", None, None, all(200));
    check("GET", "/docs", "", None, None, all(200));
    check("GET", "/docs/{file}", "", None, None, all(200));
    check("GET", "/.well-known/jwks.json", "", None, None, all(200));
    // Not a form; that it may be sent by anyone is what this says.
    check("POST", "/token", "", None, Some(json!({})), all(422));
    check(
        "GET",
        "/metrics",
        "",
        None,
        None,
        [401, 401, 200, 200, 200, 200, 200, 200],
    );
    //   nobody, stranger, reader, opener, writer, owner, other owner, admin
    let open = "/v1/upload/session";
    let unbound = Some(json!({}));
    check(
        "POST",
        open,
        "unbound",
        None,
        unbound,
        [401, 401, 403, 201, 201, 201, 201, 403],
    );
    let bound = Some(json!({"target": orders.json()}));
    check(
        "POST",
        open,
        "bound",
        None,
        bound,
        [401, 401, 403, 201, 201, 201, 403, 403],
    );
    let path = "/v1/upload/{session_id}";
    let [mine, watched] = [
        [401, 401, 404, 201, 404, 404, 404, 403],
        [401, 401, 404, 201, 404, 403, 404, 403],
    ];
    check("PUT", path, "of an unbound session", None, None, mine);
    check(
        "PUT",
        path,
        "of a bound session",
        Some(&orders),
        None,
        watched,
    );
    let path = "/v1/upload/{session_id}/inspect";
    check(
        "GET",
        path,
        "an unbound session",
        None,
        None,
        [401, 401, 404, 200, 404, 404, 404, 200],
    );
    check(
        "GET",
        path,
        "a bound session",
        Some(&orders),
        None,
        [401, 401, 404, 200, 404, 200, 404, 200],
    );
    let path = "/v1/upload/{session_id}/part/{part}";
    check(
        "DELETE",
        path,
        "of an unbound session",
        None,
        None,
        [401, 401, 404, 200, 404, 404, 404, 403],
    );
    check(
        "DELETE",
        path,
        "of a bound session",
        Some(&orders),
        None,
        [401, 401, 404, 200, 404, 403, 404, 403],
    );
    let path = "/v1/upload/{session_id}";
    check(
        "DELETE",
        path,
        "an unbound session",
        None,
        None,
        [401, 401, 404, 200, 404, 404, 404, 200],
    );
    check(
        "DELETE",
        path,
        "a bound session",
        Some(&orders),
        None,
        [401, 401, 404, 200, 404, 200, 404, 200],
    );
    let path = "/v1/upload/{session_id}/commit";
    for (mode, opener) in [("fail", 409), ("append", 200), ("overwrite", 403)] {
        let body = Some(commit_request(&orders, mode));
        let unbound = [401, 401, 404, opener, 404, 404, 404, 403];
        check("POST", path, mode, None, body.clone(), unbound);
        let bound = [401, 401, 404, opener, 404, 403, 404, 403];
        check("POST", path, mode, Some(&orders), body, bound);
        let mut dry_run = commit_request(&orders, mode);
        dry_run["dry_run"] = true.into();
        let unbound = [401, 401, 404, opener, 404, 404, 404, 403];
        check("POST", path, "a dry run", None, Some(dry_run), unbound);
    }
    let other = Some(commit_request(&Target::new("acme.shop.orders"), "append"));
    check(
        "POST",
        path,
        "elsewhere",
        None,
        other,
        [401, 401, 404, 403, 404, 404, 404, 403],
    );

    let mut routes = BTreeSet::new();
    for (pattern, _, methods, _) in &ROUTES {
        routes.extend(
            methods
                .split(", ")
                .map(|method| (*pattern, method.to_owned())),
        );
    }
    assert_eq!(
        decided, routes,
        "a route without a decision, or a decision without a route"
    );
    cast.server.assert_sound();
}

/// What is not decided upon is closed: the routes that anyone may come to are these.
#[test]
fn the_open_routes_are_known() {
    let open: Vec<&str> = ROUTES
        .iter()
        .filter(|(_, access, ..)| *access == Access::Public)
        .map(|(path, ..)| *path)
        .collect();
    assert_eq!(
        open,
        [
            "/health",
            "/openapi.json",
            "/docs",
            "/docs/{file}",
            "/token",
            "/.well-known/jwks.json"
        ]
    );
}

#[test]
fn an_owner_may_overwrite_and_a_writer_where_that_is_configured() {
    let target = orders();
    for (needs, writer) in [("owner", 403), ("writer", 200)] {
        let settings = [TOKENS, ("CALVE_AUTH__OVERWRITE_NEEDS", needs)];
        let server = TestServer::start_with(&settings);
        for (user, grant, expected) in [
            ("owner", "acme.*:owner", 200),
            ("writer", "acme.*:writer", writer),
        ] {
            let api = client(&server, user, &[grant]);
            let session = api.open_session();
            api.put_csv(&session, 0, "id\n1\n");
            let answer = api.commit(&session, &target, "overwrite");
            assert_eq!(answer.status, expected, "{needs} {user}: {}", answer.text());
        }
    }
}

#[test]
fn a_refusal_says_what_is_needed() {
    let server = TestServer::start_with(&[TOKENS]);
    let api = client(&server, "alice", &["acme.*:writer"]);
    let session = api.open_session();
    api.put_csv(&session, 0, "id\n1\n");
    let refused = api
        .commit(&session, &orders(), "overwrite")
        .expect_refusal(403, "not_permitted");
    assert_eq!(refused["needs"], "owner");
    assert_eq!(refused["action"], "overwrite");
    assert_eq!(refused["target"], "acme.sales.orders");
    // Nothing was lost by it.
    api.commit(&session, &orders(), "append").expect(200);
}

#[test]
fn a_grant_that_was_taken_back_is_missed_at_the_commit() {
    let server = TestServer::start_with(&[TOKENS]);
    let strong = client(&server, "alice", &["acme.sales.*:writer"]);
    let session = session_id_of(&strong.open_bound_session(&orders()));
    strong.put_csv(&session, 0, "id\n1\n");
    let weak = client(&server, "alice", &["acme.sales.*:reader"]);
    let inspected = weak.inspect(&session).expect_json(200);
    assert_eq!(inspected["owner"], "alice");
    weak.commit(&session, &orders(), "append")
        .expect_refusal(403, "not_permitted");
    strong.commit(&session, &orders(), "append").expect(200);
}

#[test]
fn an_aborted_session_is_gone_and_so_are_its_parts() {
    let mut server = TestServer::start_with(&[TOKENS, crate::support::server::OWN_FILES]);
    let api = client(&server, "alice", &["acme.*:writer"]);
    let admin = server
        .api()
        .with_token(&make_token(&server, "root", &["--admin"]));
    let [by_me, by_admin] = [(); 2].map(|()| {
        let session = api.open_session();
        api.put_csv(&session, 0, "id\n1\n");
        session
    });
    let path = |session: &str| format!("/v1/upload/{session}");
    for (who, session) in [(&api, &by_me), (&admin, &by_admin)] {
        for _ in 0..2 {
            let answer = who
                .send("DELETE", &path(session), &[], None)
                .expect_json(200);
            assert_eq!(answer, json!({"status": "aborted", "session_id": session}));
        }
        let refused = api.put_part(session, 0, b"id\n1\n", AS_CSV);
        refused.expect_refusal(410, "session_expired");
        api.commit(session, &orders(), "append")
            .expect_refusal(410, "session_expired");
    }
    let committed = api.open_session();
    api.put_csv(&committed, 0, "id\n1\n");
    api.commit(&committed, &orders(), "append").expect(200);
    let refused = api.send("DELETE", &path(&committed), &[], None);
    refused.expect_refusal(409, "already_committed");
    server.kill();
    server.restart();
    let api = Api::new(server.base_url()).with_token(&make_token(
        &server,
        "alice",
        &["--grant", "acme.*:writer"],
    ));
    api.inspect(&by_me).expect_refusal(410, "session_expired");
    server.terminate();
    server.assert_sound();
}
