"""Writes one table twice: with Arrow's many types, and with the types an Iceberg table should give it.

    make_odd_parquet.py ODD.parquet PLAIN.parquet

Columns up to `decimal` have the same types in both files; the others are those that readers of Iceberg tables
disagree about unless they are rewritten (unsigned, milliseconds, half floats, dictionaries, nested and so on).
"""

import datetime
import decimal
import json
import sys

import pyarrow as pa
import pyarrow.parquet

UTC = datetime.timezone.utc
EPOCH = datetime.datetime(1970, 1, 1)
# Before 1970, so that a wrong rounding or a wrong unit shows.
OLD = datetime.datetime(1969, 12, 31, 23, 59, 59, 123000)
OLD_MICROS = OLD.replace(microsecond=123456)
DAY, OLD_DAY = datetime.date(2024, 2, 29), datetime.date(1969, 12, 31)
LOCAL, INSTANT = pa.timestamp("us"), pa.timestamp("us", "UTC")
INNER = pa.struct([("a", pa.int64()), ("b", pa.string())])

# name, type in the odd file, type in the plain file, the values (a third one is null where it is not given)
COLUMNS = [
    ("truth", pa.bool_(), pa.bool_(), [True, False]),
    ("int32", pa.int32(), pa.int32(), [2**31 - 1, -(2**31)]),
    ("int64", pa.int64(), pa.int64(), [2**63 - 1, -(2**63)]),
    ("float32", pa.float32(), pa.float32(), [float("nan"), -0.0]),
    ("float64", pa.float64(), pa.float64(), [float("inf"), float("nan")]),
    ("text", pa.string(), pa.string(), ["", "é, \"quoted\"\n"]),
    ("bytes", pa.binary(), pa.binary(), [b"", b"\x00\xff"]),
    ("day", pa.date32(), pa.date32(), [DAY, OLD_DAY]),
    ("time", pa.time64("us"), pa.time64("us"), [datetime.time(23, 59, 59, 999999), datetime.time(0)]),
    ("local", LOCAL, LOCAL, [OLD_MICROS, EPOCH]),
    ("instant", INSTANT, INSTANT, [OLD_MICROS.replace(tzinfo=UTC), EPOCH.replace(tzinfo=UTC)]),
    ("decimal", pa.decimal128(10, 2), pa.decimal128(10, 2), [decimal.Decimal("12345678.90"), decimal.Decimal("-0.01")]),
    ("int8", pa.int8(), pa.int32(), [127, -128]),
    ("int16", pa.int16(), pa.int32(), [32767, -32768]),
    ("uint8", pa.uint8(), pa.int32(), [0, 255]),
    ("uint16", pa.uint16(), pa.int32(), [0, 65535]),
    ("uint32", pa.uint32(), pa.int64(), [0, 2**32 - 1]),
    ("half", pa.float16(), pa.float32(), [0.5, -2.0]),
    ("seconds", pa.timestamp("s"), LOCAL, [EPOCH, OLD.replace(microsecond=0)]),
    ("millis", pa.timestamp("ms"), LOCAL, [EPOCH, OLD]),
    ("nanos", pa.timestamp("ns"), LOCAL, [EPOCH, OLD_MICROS]),
    ("millis_instant", pa.timestamp("ms", "UTC"), INSTANT, [EPOCH.replace(tzinfo=UTC), OLD.replace(tzinfo=UTC)]),
    ("zoned", pa.timestamp("us", "Europe/Berlin"), INSTANT, [EPOCH.replace(tzinfo=UTC), OLD_MICROS.replace(tzinfo=UTC)]),
    ("time_millis", pa.time32("ms"), pa.time64("us"), [datetime.time(1, 2, 3, 4000), datetime.time(23, 59, 59, 999000)]),
    ("day_millis", pa.date64(), pa.date32(), [DAY, OLD_DAY]),
    ("large_text", pa.large_string(), pa.string(), ["a", ""]),
    ("coded_text", pa.dictionary(pa.int32(), pa.string()), pa.string(), ["a", "b"]),
    ("large_bytes", pa.large_binary(), pa.binary(), [b"a", b""]),
    ("list", pa.list_(pa.int32()), pa.list_(pa.int32()), [[1, None, 2], []]),
    ("large_list", pa.large_list(pa.string()), pa.list_(pa.string()), [["a", ""], [None]]),
    ("struct", INNER, INNER, [{"a": 1, "b": ""}, {"a": None, "b": None}]),
    # Never null: PyIceberg 0.12 reads a null list of structs as an empty one, whoever wrote the file.
    ("structs", pa.list_(INNER), pa.list_(INNER), [[{"a": 1, "b": "x"}, None], [], []]),
    ("map", pa.map_(pa.string(), pa.int64()), pa.map_(pa.string(), pa.int64()), [[("a", 1), ("b", None)], []]),
    ("nothing", pa.null(), pa.string(), [None, None]),
]


def three(values):
    """The values of the three rows."""
    return values if len(values) == 3 else [*values, None]


def written(path, which):
    """Writes the table with the types of the odd (1) or the plain (2) file."""
    arrays = [pa.array(three(column[3]), type=pa.string()).dictionary_encode() if pa.types.is_dictionary(column[which])
              else pa.array(three(column[3]), column[which]) for column in COLUMNS]
    table = pa.table(arrays, names=[column[0] for column in COLUMNS])
    pyarrow.parquet.write_table(table, path)
    return len(table)


if __name__ == "__main__":
    rows = written(sys.argv[1], 1)
    assert written(sys.argv[2], 2) == rows
    json.dump({"rows": rows}, sys.stdout)
