"""Writes the columns of `make_odd_parquet.py` with types that a table takes as they are, in several row groups.

    make_adoptable_parquet.py OUT.parquet WRITER [reversed]

WRITER is `snappy` or `zstd` (pyarrow; small types beside the plain ones, page index, checksums), `duckdb`, `tiny`
(two columns), or `plain` (what a table should give).
"""

import json
import sys

import duckdb
import pyarrow as pa
import pyarrow.parquet

import make_odd_parquet as odd

# Kept as the file has them: the annotation of a small integer is dropped, its pages stay.
SMALL = {"int8", "int16", "uint8", "uint16", "zoned", "large_text", "coded_text", "large_bytes"}


def table(small, is_reversed):
    """Six rows of all columns, in one order or the other, the small ones in types of their own."""
    columns = [column for column in odd.COLUMNS if column[0] != "nothing"]
    if is_reversed:
        columns.reverse()
    arrays = [pa.array(odd.three(column[3]) * 2, column[1 if column[0] in small - {"coded_text"} else 2]) for column in columns]
    return pa.table(arrays, names=[column[0] for column in columns])


if __name__ == "__main__":
    path, writer = sys.argv[1:3]
    rows = table(set() if writer == "plain" else SMALL, "reversed" in sys.argv[3:])
    if writer == "tiny":
        rows = rows.select(["int32", "text"])
    if writer == "duckdb":
        # DuckDB writes zone-less times of day and unsigned types with annotations of its own.
        rows = rows.select([name for name in rows.column_names if name not in SMALL])
        duckdb.sql("SET TimeZone = 'UTC'")
        duckdb.sql(f"COPY (FROM rows) TO '{path}' (FORMAT parquet, ROW_GROUP_SIZE 2048)")
    else:
        pyarrow.parquet.write_table(rows, path, compression="snappy" if writer in {"plain", "tiny"} else writer, row_group_size=4, write_page_index=True,
                                    write_page_checksum=True, use_dictionary=writer == "snappy")
    json.dump({"rows": len(rows)}, sys.stdout)
