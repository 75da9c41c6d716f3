"""Builds the Arrow table that a reader must find, from a description in a JSON file.

    {"columns": [{"name": "id", "type": "long", "null_words": ["NA"], "empty_text": "null"}],
     "sources": [{"format": "csv", "path": "flights.csv", "times": 2},
                 {"format": "parquet", "path": "part.parquet"},
                 {"format": "rows", "rows": [[1], [null]]}]}

`type` is the Iceberg type of the column. `columns` may be left out when the first source is Parquet: then the
file says what the columns are. `times` repeats a source. A CSV field of a column that is not text is null
when it is empty or one of `null_words`; an empty field of a text column must be explained by `empty_text` ("null" or
"empty"), else building fails. Rows give dates, times, timestamps and decimals as text and binary as hex.
Columns a source lacks are null.
"""

import csv
import datetime
import decimal
import json
import re

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

PRIMITIVES = {
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
    "string": pa.string(),
    "binary": pa.binary(),
}


def arrow_type(iceberg_type):
    """The Arrow type of an Iceberg type, spelled as Iceberg does but for ids: `struct<a: long, b: list<string>>`."""
    if iceberg_type.startswith("list<"):
        return pa.list_(pa.field("element", arrow_type(iceberg_type[len("list<") : -1])))
    if iceberg_type.startswith("struct<"):
        fields = [field.split(": ", 1) for field in split_fields(iceberg_type[len("struct<") : -1])]
        return pa.struct([pa.field(name, arrow_type(kind)) for name, kind in fields])
    precision_and_scale = re.fullmatch(r"decimal\((\d+), ?(\d+)\)", iceberg_type)
    if precision_and_scale:
        return pa.decimal128(*map(int, precision_and_scale.groups()))
    return PRIMITIVES[iceberg_type]


def split_fields(text):
    """The text cut at its commas, but for those inside of angle brackets and parentheses."""
    fields, depth = [""], 0
    for character in text:
        depth += (character in "<(") - (character in ">)")
        if character == "," and depth == 0:
            fields.append("")
        else:
            fields[-1] += character
    return [field.strip() for field in fields]


def load(path):
    """The table described by the JSON file at `path`."""
    with open(path, encoding="utf-8") as file:
        description = json.load(file)
    columns = description.get("columns")
    if columns is None:
        first = pyarrow.parquet.read_schema(description["sources"][0]["path"])
        schema = pa.schema([pa.field(field.name, field.type) for field in first])
        columns = [{"name": name} for name in schema.names]
    else:
        schema = pa.schema([(column["name"], arrow_type(column["type"])) for column in columns])
    tables = [schema.empty_table()]
    for source in description["sources"]:
        tables += [SOURCES[source["format"]](source, columns, schema)] * source.get("times", 1)
    return pa.concat_tables(tables)


def from_csv(source, columns, schema):
    """Every field is read as text first, so that nothing is decided by Arrow's inference."""
    with open(source["path"], encoding="utf-8") as file:
        names = next(csv.reader(file))
    texts = pyarrow.csv.read_csv(
        source["path"],
        convert_options=pyarrow.csv.ConvertOptions(
            column_types={name: pa.string() for name in names}, strings_can_be_null=False
        ),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
    )
    by_name = {column["name"]: column for column in columns}
    unknown = set(names) - set(by_name)
    if unknown:
        raise ValueError(f"{source['path']} has columns that the expectation does not name: {sorted(unknown)}")
    arrays = []
    for field in schema:
        if field.name in names:
            arrays.append(typed(texts.column(field.name), by_name[field.name], field.type))
        else:
            arrays.append(pa.nulls(len(texts), field.type))
    return pa.table(arrays, schema=schema)


def typed(texts, column, wanted):
    """One column of CSV texts as the wanted type."""
    is_text = pa.types.is_string(wanted)
    if is_text and column.get("empty_text") is None and pc.any(pc.equal(texts, "")).as_py():
        raise ValueError(f"column {column['name']}: say with `empty_text` what an empty field is")
    null_words = list(column.get("null_words", []))
    if not is_text or column.get("empty_text") == "null":
        null_words.append("")
    is_null = pc.is_in(texts, value_set=pa.array(null_words, pa.string()))
    return pc.cast(pc.if_else(is_null, pa.scalar(None, pa.string()), texts), wanted)


def from_parquet(source, _columns, schema):
    """A Parquet file, cast to the expected types (an older file may be narrower than its table is now)."""
    table = pyarrow.parquet.read_table(source["path"])
    arrays = [
        table.column(field.name).cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)


def from_rows(source, _columns, schema):
    """Rows written out in the description itself."""
    for row in source["rows"]:
        if len(row) != len(schema):
            raise ValueError(f"the expected row {row} has {len(row)} values, the table {len(schema)} columns")
    arrays = [
        pa.array([value_of(row[index], field.type) for row in source["rows"]], field.type)
        for index, field in enumerate(schema)
    ]
    return pa.table(arrays, schema=schema)


def value_of(value, wanted):
    """A JSON value as the Python value that Arrow takes for the wanted type."""
    if value is None:
        return None
    if pa.types.is_list(wanted):
        return [value_of(element, wanted.value_type) for element in value]
    if pa.types.is_struct(wanted):
        return {field.name: value_of(value[field.name], field.type) for field in wanted}
    if pa.types.is_decimal(wanted):
        return decimal.Decimal(value)
    if pa.types.is_floating(wanted):
        return float(value)
    if pa.types.is_date(wanted):
        return datetime.date.fromisoformat(value)
    if pa.types.is_time(wanted):
        return datetime.time.fromisoformat(value)
    if pa.types.is_timestamp(wanted):
        return datetime.datetime.fromisoformat(value)
    if pa.types.is_binary(wanted):
        return bytes.fromhex(value)
    return value


SOURCES = {"csv": from_csv, "parquet": from_parquet, "rows": from_rows}
