"""Reads files with DuckDB's own readers and the tables that Calve made of them, and tells every file's first difference.

    differential.py FILES.json      [{"name": …, "format": "csv" or "json", "path": …, "table": DIRECTORY or null}, …]

A file that Calve refused has no table. DuckDB is told nothing of a file but its format. Values are the same if they are equal
in Python, whatever the width of the type; an instant and a local time are not, nor are a number and its text. Prints one object:
for each file that is read differently {"duckdb": what DuckDB reads, "calve": what Calve reads}.
"""

import datetime
import json
import math
import pathlib
import sys

import duckdb
from pyiceberg.table import StaticTable

import read_table

READERS = {"csv": "read_csv", "json": "read_json"}
REFUSED = "refuses the file"


def by_calve(directory):
    """Column names and rows of a table, or None for a file that was refused."""
    if directory is None:
        return None
    metadata = read_table.current_metadata(pathlib.Path(directory))
    table = StaticTable.from_metadata(str(metadata)).scan().to_arrow()
    return table.column_names, [list(row) for row in zip(*(column.to_pylist() for column in table.columns))]


def by_duckdb(connection, file_format, path):
    """Column names and rows of a file, or None where DuckDB refuses it."""
    quoted = path.replace("'", "''")
    try:
        found = connection.execute(f"SELECT * FROM {READERS[file_format]}('{quoted}')")
        return [column[0] for column in found.description], [list(row) for row in found.fetchall()]
    except duckdb.Error:
        return None


def is_same(one, two):
    """Whether two values mean the same."""
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(is_same(one[key], two[key]) for key in one)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(is_same, one, two))
    if isinstance(one, bool) != isinstance(two, bool) or isinstance(one, datetime.datetime) != isinstance(two, datetime.datetime):
        return False
    if isinstance(one, float) and isinstance(two, float) and math.isnan(one):
        return math.isnan(two)
    return one == two


def shown(value):
    """A value as the list of differences has it."""
    text = value.isoformat() if isinstance(value, (datetime.date, datetime.time)) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def difference(duckdb_read, calve_read):
    """The first difference, as two texts; None if there is none."""
    if duckdb_read is None or calve_read is None:
        size = lambda read: REFUSED if read is None else f"{len(read[1])} rows of {len(read[0])} columns"
        return None if duckdb_read == calve_read else (size(duckdb_read), size(calve_read))
    (duckdb_names, duckdb_rows), (calve_names, calve_rows) = duckdb_read, calve_read
    if duckdb_names != calve_names:
        return f"columns {', '.join(duckdb_names)}", f"columns {', '.join(calve_names)}"
    for number, (theirs, ours) in enumerate(zip(duckdb_rows, calve_rows), 1):
        for name, their, our in zip(duckdb_names, theirs, ours):
            if not is_same(their, our):
                place = f"row {number}, {name}: "
                return place + shown(their), place + shown(our)
    if len(duckdb_rows) != len(calve_rows):
        return f"{len(duckdb_rows)} rows", f"{len(calve_rows)} rows"
    return None


def main():
    """Prints the differences of all files."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    found = {}
    for file in json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")):
        differs = difference(by_duckdb(connection, file["format"], file["path"]), by_calve(file["table"]))
        if differs:
            found[file["name"]] = dict(zip(("duckdb", "calve"), differs))
    print(json.dumps(found, ensure_ascii=False))


if __name__ == "__main__":
    main()
