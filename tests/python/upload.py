"""Uploads files with the unmodified package `opteryx-upload` found on PYTHONPATH and prints what it answered as JSON.

    upload.py --base-url URL --target WORKSPACE.COLLECTION.DATASET [options] FILE...

`--auth-url` and what follows it use the package's own `PATAuthenticator`.
`--one-call` uses `upload_and_commit`; else each file goes through `upload_file` with the limits and the compression given,
then `inspect`, then `commit`. Up to 0.2 the target is named at the commit, from 0.3 on when the session opens. What went over the
wire is noted by the `requests.Session` that the package lets its caller choose. Ends with status 3 and
prints `{"error": {...}}` when the package raises one of its own errors.
"""

import argparse
import dataclasses
import importlib.metadata
import inspect
import json
import sys

import requests


class NotingSession(requests.Session):
    """An ordinary session that remembers each request and the status it got."""

    def __init__(self):
        super().__init__()
        self.noted = []

    def request(self, method, url, **options):
        response = super().request(method, url, **options)
        body = options.get("data") or b""
        self.noted.append(
            {
                "method": method,
                "path": requests.utils.urlparse(response.request.url).path,
                "status": response.status_code,
                "content_encoding": (options.get("headers") or {}).get("Content-Encoding"),
                "body_bytes": len(body),
                "redirects": len(response.history),
            }
        )
        return response


def plain(value):
    """Dataclasses of the package as JSON objects, times as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def upload(package, client, arguments):
    """Runs the upload; the answer holds whatever the package returned."""
    target = package.Target(*arguments.target.split("."))
    mode = package.ConflictResolution(arguments.conflict)
    if arguments.one_call:
        result = client.upload_and_commit(
            arguments.files, target, snapshot_message=arguments.message, conflict_resolution=mode
        )
        return {"commit": plain(result)}

    is_bound = "target" in inspect.signature(client.create_session).parameters
    session = client.create_session(target) if is_bound else client.create_session()
    limits = {
        name: value
        for name, value in (
            ("max_part_bytes", arguments.max_part_bytes),
            ("max_source_bytes", arguments.max_source_bytes),
        )
        if value is not None
    }
    compression = None if arguments.compression == "none" else arguments.compression
    parts = []
    for path in arguments.files:
        parts += session.upload_file(path, compression=compression, **limits)
    answer = {"session": plain(session.info), "bound": is_bound, "parts": parts, "inspect": plain(session.inspect())}
    commit_target = () if is_bound else (target,)
    result = session.commit(*commit_target, snapshot_message=arguments.message, conflict_resolution=mode)
    return {**answer, "commit": plain(result)}


def main():
    """Reads the command line, uploads, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--conflict", default="fail", choices=["fail", "append", "overwrite"])
    parser.add_argument("--message")
    parser.add_argument("--one-call", action="store_true")
    parser.add_argument("--max-part-bytes", type=int)
    parser.add_argument("--max-source-bytes", type=int)
    parser.add_argument("--compression", default="auto", choices=["auto", "gzip", "zstd", "none"])
    parser.add_argument("--without-zstandard", action="store_true", help="as on a machine that lacks that package")
    parser.add_argument("--auth-url", help="fetch short-lived tokens there, as PATAuthenticator does")
    parser.add_argument("--client-id")
    parser.add_argument("--client-secret")
    parser.add_argument("files", nargs="+")
    arguments = parser.parse_args()
    if arguments.without_zstandard:
        sys.modules["zstandard"] = None
    import opteryx_upload as package

    noting_session = NotingSession()
    token = "a-token"
    if arguments.auth_url:
        token = package.PATAuthenticator(
            arguments.client_id, arguments.client_secret, auth_url=arguments.auth_url
        )
    client = package.UploadClient(token, base_url=arguments.base_url, session=noting_session)
    answer = {"version": importlib.metadata.version("opteryx-upload")}
    status = 0
    try:
        answer.update(upload(package, client, arguments))
    except package.UploadClientError as error:
        answer["error"] = {
            "type": type(error).__name__,
            "status_code": error.status_code,
            "detail": error.detail,
        }
        status = 3
    answer["requests"] = noting_session.noted
    json.dump(answer, sys.stdout)
    sys.exit(status)


if __name__ == "__main__":
    main()
