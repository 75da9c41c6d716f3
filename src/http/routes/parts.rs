//! Uploading and deleting parts.

use std::time::Instant;

use actix_web::{HttpRequest, HttpResponse, web};

use crate::error::Result;
use crate::http::views::{DeletePartResponse, HTTPValidationError, Refusal, UploadPartResponse};
use crate::http::{Api, extract, guard};
use crate::ingest::codec;
use crate::ingest::digest::ExpectedDigests;
use crate::ingest::format::Hints;
use crate::upload::Upload;

/// Stores a part, replacing an older one of that number.
#[utoipa::path(
    put, path = "/v1/upload/{session_id}", tag = "upload", operation_id = "upload_part",
    summary = "Upload Part",
    params(
        ("session_id" = String, Path, description = "The session"),
        ("part" = u16, Query, description = "The part's number", minimum = 0, maximum = 999),
        ("content_type" = Option<String>, Query, description = "The part's format, where headers do not say it"),
        ("delimiter" = Option<String>, Query, description = "CSV: between two fields: one character, `tab`, or one character and a blank"),
        ("quote" = Option<String>, Query, description = "CSV: around fields: one character, or `none`"),
        ("escape" = Option<String>, Query, description = "CSV: a quote inside of quotes is `doubled` or has a `backslash` before it"),
        ("header" = Option<String>, Query, description = "CSV: `true`, `false`, or the number of rows that name the columns"),
        ("encoding" = Option<String>, Query, description = "CSV: the character encoding, like `utf-8` or `windows-1252`"),
        ("null" = Option<Vec<String>>, Query, description = "CSV: a spelling of null, instead of the usual ones; may be repeated"),
        ("skip" = Option<u32>, Query, description = "CSV: lines before the header"),
        ("ragged" = Option<String>, Query, description = "CSV: rows with missing fields are an `error`, or are always filled up: `pad`"),
        ("authorization" = Option<String>, Header, description = "Bearer token"),
        ("x-file-name" = Option<String>, Header, description = "The source file's name; its extension says the format"),
        ("content-encoding" = Option<String>, Header, description = "gzip, deflate, br or zstd"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "One file: CSV, TSV, NDJSON or Parquet"),
    responses(
        (status = 201, description = "The part is on stable storage", body = UploadPartResponse),
        (status = 400, description = "A checksum does not match, or the body is incomplete", body = Refusal),
        (status = 401, description = "No or bad credentials", body = Refusal),
        (status = 403, description = "Not permitted", body = Refusal),
        (status = 404, description = "No such session", body = Refusal),
        (status = 408, description = "The body stopped arriving, or arrives too slowly", body = Refusal),
        (status = 409, description = "The session's state or its table does not allow it", body = Refusal),
        (status = 410, description = "The session expired", body = Refusal),
        (status = 413, description = "Too large", body = Refusal),
        (status = 415, description = "Unknown content coding", body = Refusal),
        (status = 422, description = "Validation Error, or a file that cannot be read", body = HTTPValidationError),
        (status = 429, description = "As many bytes are staged as may be, or more requests or bytes than one user may send", body = Refusal),
        (status = 503, description = "Too busy, or the disk refuses writes", body = Refusal),
        (status = 507, description = "The disk is full", body = Refusal),
    )
)]
pub async fn upload_part(
    request: HttpRequest,
    body: web::Payload,
    api: web::Data<Api>,
) -> Result<HttpResponse> {
    let session = extract::session_id(&request)?;
    let query = extract::part_query(&request, api.config.parts.number_max)?;
    let part = query.part;
    let header = |name: &str| extract::header(&request, name);
    let upload = Upload {
        session,
        part,
        content_length: header("content-length").and_then(|text| text.parse().ok()),
        coding: codec::from_header(header("content-encoding"))?,
        hints: Hints {
            file_name: header("x-file-name").map(base_name),
            content_type: header("content-type").map(str::to_owned),
            content_type_parameter: query.content_type,
        },
        csv: query.csv,
        digests: ExpectedDigests::from_headers(header)?,
    };
    let caller = guard::caller(&request)?;
    let (announced, now) = (upload.content_length, Instant::now());
    api.rates.take_bytes(&caller, announced.unwrap_or(0), now)?;
    let stored = api.uploads.store(upload, &caller, body).await?;
    if announced.is_none() {
        let bytes = stored.record.wire_bytes;
        api.rates.charge_bytes(&caller, bytes, Instant::now());
    }
    let answer = UploadPartResponse::new(&stored.record, stored.table.as_ref(), stored.is_bound);
    Ok(HttpResponse::Created().json(answer))
}

/// Deletes a part. Deleting it again is fine.
#[utoipa::path(
    delete, path = "/v1/upload/{session_id}/part/{part}", tag = "upload", operation_id = "delete_part",
    summary = "Delete Part",
    params(
        ("session_id" = String, Path, description = "The session"),
        ("part" = u16, Path, description = "The part's number", minimum = 0, maximum = 999),
        ("authorization" = Option<String>, Header, description = "Bearer token"),
    ),
    responses(
        (status = 200, description = "The part is gone", body = DeletePartResponse),
        (status = 401, description = "No or bad credentials", body = Refusal),
        (status = 403, description = "Not permitted", body = Refusal),
        (status = 404, description = "No such session, or it never had the part", body = Refusal),
        (status = 409, description = "The session is committing or committed", body = Refusal),
        (status = 410, description = "The session expired", body = Refusal),
        (status = 422, description = "Validation Error", body = HTTPValidationError),
        (status = 429, description = "More requests than one user may send", body = Refusal),
        (status = 503, description = "Too busy, or the disk refuses writes", body = Refusal),
        (status = 507, description = "The disk is full", body = Refusal),
    )
)]
pub async fn delete_part(request: HttpRequest, api: web::Data<Api>) -> Result<HttpResponse> {
    let session = extract::session_id(&request)?;
    let part = extract::part_in_path(&request, api.config.parts.number_max)?;
    let caller = guard::caller(&request)?;
    api.sessions.delete_part(&session, part, &caller).await?;
    Ok(HttpResponse::Ok().json(DeletePartResponse {
        status: "deleted",
        part: part.0,
    }))
}

/// The last component of a file name, which some clients send as a path. It is kept as a fact; no path
/// is ever made from it.
fn base_name(name: &str) -> String {
    let base = name.rsplit(['/', '\\']).next().unwrap_or_default();
    base.chars().take(255).collect()
}
