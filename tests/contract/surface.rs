//! What stands beside the upload operations: health, metrics, the interactive page.

use std::collections::BTreeSet;

use crate::support::client::{AS_NDJSON, Api, Target};
use crate::support::server::TestServer;

#[test]
fn health_needs_no_credentials_and_answers_an_object() {
    let server = TestServer::start();
    let answer = server
        .api()
        .send("GET", "/health", &[("authorization", "")], None);
    assert!(answer.expect_json(200).is_object());
}

/// `name{labels} value` lines of the Prometheus text.
fn samples(api: &Api) -> Vec<String> {
    let answer = api.get("/metrics").expect(200);
    let content_type = answer.header("content-type").expect("a content type");
    assert!(content_type.starts_with("text/plain"), "{content_type}");
    answer
        .text()
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The value of the one sample whose name holds `name` and whose labels hold all of `labels`.
#[track_caller]
fn value(samples: &[String], name: &str, labels: &[(&str, &str)]) -> f64 {
    let fits = |sample: &&String| {
        let (series, _) = sample.rsplit_once(' ').expect("a value");
        let (found, found_labels) = series.split_once('{').unwrap_or((series, ""));
        found.contains(name)
            && labels
                .iter()
                .all(|(key, value)| found_labels.contains(&format!("{key}=\"{value}\"")))
    };
    let found: Vec<&String> = samples.iter().filter(fits).collect();
    let [sample] = found[..] else {
        panic!("{name} {labels:?} should be one sample: {found:?} of {samples:#?}")
    };
    sample
        .rsplit_once(' ')
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or_else(|| panic!("no number: {sample}"))
}

#[test]
fn metrics_count_what_happened() {
    let server = TestServer::start();
    let api = server.api();
    let target = Target::new("acme.sales.orders");
    let session = api.open_session();
    let open = api.open_session();
    let csv = "id\n1\n";
    api.put_csv(&session, 0, csv);
    let ndjson = b"{\"id\": 2}\n";
    api.put_part(&session, 1, ndjson, AS_NDJSON).expect(201);
    api.commit(&session, &target, "append").expect(200);
    api.commit(&open, &target, "fail").expect(422);
    api.put_csv(&open, 0, csv);
    api.commit(&open, &target, "fail").expect(409);
    let samples = samples(&api);
    let sent = 2 * csv.len() + ndjson.len();
    assert_eq!(
        value(&samples, "received_bytes", &[]),
        f64::from(u32::try_from(sent).expect("small"))
    );
    assert_eq!(value(&samples, "parts", &[("kind", "csv")]), 2.0);
    assert_eq!(value(&samples, "parts", &[("kind", "ndjson")]), 1.0);
    assert_eq!(
        value(
            &samples,
            "commits",
            &[("mode", "append"), ("outcome", "committed")]
        ),
        1.0
    );
    assert_eq!(
        value(
            &samples,
            "commits",
            &[("mode", "fail"), ("outcome", "dataset_exists")]
        ),
        1.0
    );
    assert_eq!(value(&samples, "sessions", &[("state", "open")]), 1.0);
    assert_eq!(value(&samples, "sessions", &[("state", "committed")]), 1.0);
    assert!(
        value(&samples, "journal_group_writes_count", &[]) >= 5.0,
        "group commits are measured"
    );
    let with_status = |status: &str| -> f64 {
        samples
            .iter()
            .filter(|sample| {
                sample.starts_with("calve_requests_total{")
                    && sample.contains(&format!("status=\"{status}\""))
            })
            .filter_map(|sample| sample.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    };
    assert_eq!(with_status("201"), 5.0, "two sessions, three parts");
    assert_eq!(with_status("422"), 1.0);
    assert_eq!(with_status("409"), 1.0);
    assert!(
        samples
            .iter()
            .any(|sample| sample.starts_with("calve_request_duration_seconds_bucket{operation=")),
        "latency"
    );
    assert!(
        samples.iter().all(|sample| sample.starts_with("calve_")),
        "every metric is named after its program"
    );
}

/// Values of `src` and `href` in a page.
fn references(html: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for attribute in ["src=", "href="] {
        for (position, _) in html.match_indices(attribute) {
            let rest = &html[position + attribute.len()..];
            let quote = rest
                .chars()
                .next()
                .filter(|first| ['"', '\''].contains(first))
                .unwrap_or_else(|| panic!("unquoted: {rest:.60}"));
            let value = rest[1..].split(quote).next().expect("a value");
            found.insert(value.to_owned());
        }
    }
    found
}

/// The path that a reference of the page `/docs` means.
fn resolved(reference: &str) -> String {
    let path = reference.strip_prefix("./").unwrap_or(reference);
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    }
}

#[test]
fn docs_page_comes_without_redirect_and_from_this_host_alone() {
    let server = TestServer::start();
    let api = server.api();
    let page = api.get("/docs").expect(200);
    let content_type = page.header("content-type").expect("a content type");
    assert!(content_type.starts_with("text/html"), "{content_type}");
    let html = page.text();
    let references = references(&html);
    let mut texts = vec![html];
    let mut scripts = 0;
    for reference in references
        .iter()
        .filter(|reference| !reference.starts_with("data:") && !reference.starts_with('#'))
    {
        assert!(
            !reference.contains("//"),
            "the page refers to another host: {reference}"
        );
        let asset = api.get(&resolved(reference)).expect(200);
        assert!(!asset.body.is_empty(), "{reference} is empty");
        scripts += u32::from(reference.ends_with(".js"));
        // Bundled libraries name the homes of their licences; what we serve in small files is ours to keep clean.
        if asset.body.len() < 64 * 1024 {
            texts.push(asset.text());
        }
    }
    assert!(scripts >= 1, "the page is interactive: {references:?}");
    assert!(
        texts.iter().any(|text| text.contains("/openapi.json")),
        "the page shows this server's document"
    );
    for text in &texts {
        for host in [
            "unpkg.com",
            "jsdelivr.net",
            "cdnjs.",
            "googleapis.com",
            "petstore.swagger.io",
            "validator.swagger.io",
        ] {
            assert!(!text.contains(host), "{host} is referred to");
        }
    }
}
