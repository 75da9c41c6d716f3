"""The upload service one would write first: a part becomes a synced file, the commit reads all parts with PyArrow and appends them
with PyIceberg. It speaks enough of the upload API for `calve bench`.

    python service.py FOLDER PORT
"""

import logging
import os
import pathlib
import sys
import uuid

import pyarrow
import pyarrow.csv
import uvicorn
from fastapi import FastAPI, Request
from pyiceberg.catalog.sql import SqlCatalog

folder = pathlib.Path(sys.argv[1])
# PyArrow reads times of text as nanoseconds, which tables do not have.
os.environ["PYICEBERG_DOWNCAST_NS_TIMESTAMP_TO_US_ON_WRITE"] = "true"
logging.getLogger("pyiceberg").setLevel(logging.ERROR)
catalog = SqlCatalog("bench", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")
app = FastAPI()


@app.post("/v1/upload/session", status_code=201)
def open_session():
    session_id = uuid.uuid4().hex
    (folder / session_id).mkdir()
    return {"session_id": session_id}


@app.put("/v1/upload/{session_id}", status_code=201)
async def put_part(session_id: str, part: int, request: Request):
    with open(folder / session_id / f"{part:05}.csv", "wb") as file:
        async for chunk in request.stream():
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return {"status": "stored"}


@app.post("/v1/upload/{session_id}/commit")
def commit(session_id: str, body: dict):
    files = sorted((folder / session_id).iterdir())
    rows = pyarrow.concat_tables([pyarrow.csv.read_csv(file) for file in files])
    target = body["target"]
    catalog.create_namespace_if_not_exists(target["collection"])
    table = catalog.create_table_if_not_exists((target["collection"], target["dataset"]), rows.schema)
    table.append(rows)
    return {"rows_written": rows.num_rows}


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
