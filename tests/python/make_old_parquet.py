"""Writes one table twice: as old writers do, with INT96 timestamps and a row group without rows, and with today's types.

    make_old_parquet.py OLD.parquet PLAIN.parquet
    make_old_parquet.py --big BIG.parquet      instead: numbers without a sign, of which the third is no 64-bit integer

The timestamps are of years that nanoseconds since 1970 do not reach.
"""

import datetime
import json
import sys

import pyarrow as pa
import pyarrow.parquet

END = datetime.datetime(9999, 12, 31, 23, 59, 59)
INSTANTS = [END, datetime.datetime(1, 1, 1), None, datetime.datetime(1969, 12, 31, 23, 59, 58)]
LISTS = [[END, None], [], None, [datetime.datetime(1582, 10, 15)]]
STRUCTS = [{"at": instant, "id": position} for position, instant in enumerate(INSTANTS)]


def table(timestamp):
    """The rows with this type of timestamps."""
    struct = pa.struct([("at", timestamp), ("id", pa.int64())])
    columns = {
        "id": pa.array(range(4), pa.int64()),
        "at": pa.array(INSTANTS, timestamp),
        "list": pa.array(LISTS, pa.list_(timestamp)),
        "struct": pa.array(STRUCTS, struct),
    }
    return pa.table(columns)


def main():
    """Writes the files."""
    if sys.argv[1] == "--big":
        big = pa.table({"n": pa.array([0, None, 2**64 - 1, 2**63], pa.uint64())})
        pa.parquet.write_table(big, sys.argv[2])
        return json.dump({"rows": len(big)}, sys.stdout)
    old = table(pa.timestamp("s"))
    with pa.parquet.ParquetWriter(sys.argv[1], old.schema, use_deprecated_int96_timestamps=True) as writer:
        for rows in (old.slice(0, 2), old.slice(0, 0), old.slice(2)):
            writer.write_table(rows)
    pa.parquet.write_table(table(pa.timestamp("us")), sys.argv[2])
    return json.dump({"rows": len(old)}, sys.stdout)


if __name__ == "__main__":
    main()
