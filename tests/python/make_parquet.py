"""Writes a Parquet file with pyarrow and prints its rows and bytes as JSON.

    make_parquet.py OUT --from EXPECTATION.json     the rows that `expected.py` builds from the description
    make_parquet.py OUT --rows JSON                 a list of objects
    make_parquet.py OUT --dates JSON                a list of dates, as the column `day`
    make_parquet.py - --many FILES.json             many: [{"out": OUT, "from": EXPECTATION.json, "how": write_table's options}, …]
    make_parquet.py OUT --megabytes N               N MiB, less at most 2 %, that hardly compress; one row group, as pyarrow likes it
"""

import argparse
import json
import os
import sys

import pyarrow as pa
import pyarrow.parquet

import expected

MIB = 1024 * 1024


def noise(wanted_bytes):
    """Rows of random numbers and texts that make a file of at most the wanted size."""
    # A row costs 8 bytes of random number, 16 of hex text with 4 of length, and part of a dictionary page.
    rows = int(wanted_bytes * 0.985) // 28
    numbers = pa.Array.from_buffers(pa.int64(), rows, [None, pa.py_buffer(os.urandom(8 * rows))])
    digits = os.urandom(8 * rows).hex().encode()
    lengths = pa.array(range(0, 16 * rows + 1, 16), pa.int32())
    texts = pa.Array.from_buffers(pa.string(), rows, [None, lengths.buffers()[1], pa.py_buffer(digits)])
    return pa.table({"number": numbers, "word": texts})


def main():
    """Reads the command line and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--from", dest="expectation")
    what.add_argument("--megabytes", type=int)
    what.add_argument("--many")
    what.add_argument("--rows", type=json.loads)
    what.add_argument("--dates", type=json.loads)
    arguments = parser.parse_args()
    if arguments.many:
        write_many(arguments.many)
        return
    if arguments.rows or arguments.dates or arguments.expectation:
        if arguments.rows:
            table = pa.Table.from_pylist(arguments.rows)
        elif arguments.dates:
            table = pa.table({"day": pa.array(arguments.dates).cast(pa.date32())})
        else:
            table = expected.load(arguments.expectation)
        pyarrow.parquet.write_table(table, arguments.out)
        report(arguments.out, table)
        return
    wanted_bytes = arguments.megabytes * MIB
    table = noise(wanted_bytes)
    pyarrow.parquet.write_table(table, arguments.out, use_dictionary=False, compression="none", row_group_size=len(table))
    written_bytes = os.path.getsize(arguments.out)
    if not 0.98 * wanted_bytes <= written_bytes <= wanted_bytes:
        sys.exit(f"{arguments.out} has {written_bytes} bytes, wanted nearly {wanted_bytes}")
    report(arguments.out, table)


def write_many(list_path):
    """Writes every file of the list and prints how many."""
    with open(list_path, encoding="utf-8") as file:
        files = json.load(file)
    for one in files:
        pyarrow.parquet.write_table(expected.load(one["from"]), one["out"], **one["how"])
    json.dump({"files": len(files)}, sys.stdout)


def report(path, table):
    """Tells the caller what was written."""
    json.dump({"rows": len(table), "bytes": os.path.getsize(path)}, sys.stdout)


if __name__ == "__main__":
    main()
