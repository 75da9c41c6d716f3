"""Reads Iceberg tables with PyIceberg and with DuckDB and compares every value of every row with what is expected.

    read_table.py TABLE_DIRECTORY [--expect EXPECTATION.json] [--snapshot ID]
    read_table.py --tables TABLES.json      many: [{"table": TABLE_DIRECTORY, "expect": EXPECTATION.json}, …]

The current metadata file is the one that `metadata/version-hint.text` names. DuckDB reads it by the metadata file and,
for the current snapshot, once more by the table's directory. Prints one JSON object a table (many: a list of them): rows,
schema, snapshots. Ends with status 1 and each table's first difference on standard error when a reader finds anything
else (see `expected.py` for the description of what is expected and `compare.py` for what "the same" means).
"""

import argparse
import json
import pathlib
import sys

import duckdb
from pyiceberg.table import StaticTable

import compare
import expected


def current_metadata(directory):
    """The path of the metadata file that the version hint names."""
    hint = (directory / "metadata" / "version-hint.text").read_text(encoding="utf-8").strip()
    return directory / "metadata" / f"{hint}.metadata.json"


def duckdb_connection():
    """DuckDB with its Iceberg extension from PyPI; nothing is downloaded."""
    connection = duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False})
    for name in ("avro", "httpfs", "iceberg"):
        module = __import__(f"duckdb_extension_{name}")
        folder = pathlib.Path(module.__file__).parent / "extensions" / f"v{duckdb.__version__}"
        connection.execute(f"LOAD '{folder}/{name}.duckdb_extension'")
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def duckdb_scan(connection, path, snapshot):
    """All rows that DuckDB finds in a table given by its metadata file or its directory."""
    quoted = str(path).replace("'", "''")
    option = "" if snapshot is None else f", snapshot_from_id = {snapshot}::UBIGINT"
    return connection.execute(f"SELECT * FROM iceberg_scan('{quoted}'{option})").to_arrow_table()


def reads(connection, directory, metadata_path, table, snapshot):
    """Each reader's name with the rows that it finds."""
    readers = {
        "PyIceberg": lambda: table.scan(snapshot_id=snapshot).to_arrow(),
        "DuckDB by metadata file": lambda: duckdb_scan(connection, metadata_path, snapshot),
    }
    if snapshot is None:
        readers["DuckDB by directory"] = lambda: duckdb_scan(connection, directory, None)
    for reader, scan in readers.items():
        try:
            rows = scan()
        except Exception as error:
            raise compare.Difference(f"{directory}: {reader} cannot read it: {type(error).__name__}: {error}") from error
        yield reader, rows


def described(table, metadata_path):
    """What the metadata says about the table."""
    metadata = table.metadata
    return {
        "metadata_file": str(metadata_path),
        "format_version": metadata.format_version,
        "location": metadata.location,
        "current_snapshot_id": metadata.current_snapshot_id,
        "schema": [
            {"id": field.field_id, "name": field.name, "type": str(field.field_type), "required": field.required}
            for field in table.schema().fields
        ],
        "snapshots": [
            {
                "id": snapshot.snapshot_id,
                "parent": snapshot.parent_snapshot_id,
                "sequence_number": snapshot.sequence_number,
                "schema_id": snapshot.schema_id,
                "operation": snapshot.summary.operation.value,
                "summary": dict(snapshot.summary.additional_properties),
            }
            for snapshot in metadata.snapshots
        ],
        "history": [entry.snapshot_id for entry in metadata.snapshot_log],
    }


def read(connection, directory, expectation, snapshot):
    """One table's description, once all readers have found the same; else raises `compare.Difference`."""
    directory = pathlib.Path(directory).resolve()
    metadata_path = current_metadata(directory)
    table = StaticTable.from_metadata(str(metadata_path))
    answer = described(table, metadata_path)
    wanted = compare.Rows(expected.load(expectation)) if expectation else None
    answer["read"] = {}
    for reader, table_read in reads(connection, directory, metadata_path, table, snapshot):
        found = compare.Rows(table_read)
        # Without an expectation the readers are compared with each other.
        wanted = found if wanted is None else wanted
        try:
            compare.assert_same(wanted, found, reader)
        except compare.Difference as difference:
            raise compare.Difference(f"{directory}: {difference}") from None
        answer["read"][reader] = len(found)
    answer["rows"] = len(wanted)
    return answer


def read_all(connection, tables):
    """The descriptions of all tables, once all are as expected; else every table's difference is told."""
    answers, differences = [], []
    for table in tables:
        try:
            answers.append(read(connection, table["table"], table["expect"], None))
        except compare.Difference as difference:
            differences.append(str(difference))
    if differences:
        raise compare.Difference("\n".join(differences))
    return answers


def main():
    """Reads, compares, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("table_directory", nargs="?")
    which.add_argument("--tables", type=pathlib.Path, help="JSON list of many tables and what is expected of them")
    parser.add_argument("--expect", help="JSON description of the expected rows")
    parser.add_argument("--snapshot", type=int, help="read this snapshot instead of the current one")
    arguments = parser.parse_args()
    connection = duckdb_connection()
    try:
        if arguments.tables:
            answer = read_all(connection, json.loads(arguments.tables.read_text(encoding="utf-8")))
        else:
            answer = read(connection, arguments.table_directory, arguments.expect, arguments.snapshot)
    except compare.Difference as difference:
        sys.exit(str(difference))
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
