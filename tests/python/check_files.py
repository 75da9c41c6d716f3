"""Checks what a table's current data files and manifests say about themselves, against the rows in the files.

    check_files.py TABLE_DIRECTORY

Every column of every data file, nested elements too, carries a field id; the ids of top-level columns are the
table's; no file keeps Arrow's own schema; record counts, null counts and bounds in the manifests are true; every location is
a `file:///` URI. Prints how many files were checked; ends with status 1 and the first fault.
"""

import pathlib
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from pyiceberg.table import StaticTable

import read_table

FIELD_ID = b"PARQUET:field_id"


def fields_without_id(field, path=""):
    """Names of this field and its descendants that have no field id."""
    full_name = f"{path}{field.name}"
    missing = [] if FIELD_ID in (field.metadata or {}) else [full_name]
    kind = field.type
    if pa.types.is_struct(kind):
        children = list(kind)
    elif pa.types.is_map(kind):
        children = [kind.key_field, kind.item_field]
    elif pa.types.is_nested(kind):
        children = [kind.value_field]
    else:
        children = []
    return missing + [fault for child in children for fault in fields_without_id(child, f"{full_name}.")]


def check_schema(path, table):
    """Field ids are complete and are the table's; the file does not repeat Arrow's schema."""
    file = pyarrow.parquet.ParquetFile(path)
    assert b"ARROW:schema" not in (file.metadata.metadata or {}), f"{path} keeps ARROW:schema"
    for field in file.schema_arrow:
        missing = fields_without_id(field)
        assert not missing, f"{path}: no field id on {missing}"
        table_name = table.schema().find_column_name(int(field.metadata[FIELD_ID]))
        assert table_name == field.name, f"{path}: column {field.name} has the id of {table_name}"


def check_metrics(path, manifest_file, table):
    """Counts are exact and bounds enclose every value of the column."""
    rows = pyarrow.parquet.read_table(path)
    assert manifest_file["record_count"] == len(rows), f"{path}: {manifest_file['record_count']} records, really {len(rows)}"
    assert manifest_file["file_size_in_bytes"] == path.stat().st_size, f"{path}: wrong file size in the manifest"
    for field in table.schema().fields:
        column = rows.column(field.name) if field.name in rows.column_names else None
        if column is None or pa.types.is_nested(column.type):
            continue
        metrics = manifest_file["readable_metrics"][field.name]
        found = (metrics["value_count"], metrics["null_value_count"])
        assert found == (len(column), column.null_count), f"{path}: {field.name} has counts {found}"
        if column.null_count == len(column) or pa.types.is_floating(column.type):
            continue
        smallest, largest = (pc.min_max(column)[key].as_py() for key in ("min", "max"))
        lower, upper = metrics["lower_bound"], metrics["upper_bound"]
        assert lower is not None and upper is not None, f"{path}: {field.name} has no bounds"
        assert lower <= smallest and largest <= upper, f"{path}: {field.name} outside [{lower!r}, {upper!r}]"


def main():
    """Checks every data file of the current snapshot."""
    directory = pathlib.Path(sys.argv[1]).resolve()
    table = StaticTable.from_metadata(str(read_table.current_metadata(directory)))
    locations = [table.metadata.location] + [snapshot.manifest_list for snapshot in table.metadata.snapshots]
    files = table.inspect.files().to_pylist()
    locations += [file["file_path"] for file in files]
    for location in locations:
        assert location.startswith("file:///"), f"{location} is no file:/// URI"
    assert len({file["file_path"] for file in files}) == len(files), "a data file is listed twice"
    for file in files:
        path = pathlib.Path(file["file_path"].removeprefix("file://"))
        check_schema(path, table)
        check_metrics(path, file, table)
    print('{"files": %d}' % len(files))


if __name__ == "__main__":
    try:
        main()
    except AssertionError as fault:
        sys.exit(f"{sys.argv[1]}: {fault}")
