"""CPU seconds that DuckDB takes, with one thread, to make a Parquet file of a text file.

    python duckdb_copy.py csv|json FILE OUTPUT
"""

import sys
import time

import duckdb

kind, source, output = sys.argv[1:]
connection = duckdb.connect(config={"threads": 1, "autoinstall_known_extensions": False})
started = time.process_time()
connection.execute(f"COPY (SELECT * FROM read_{kind}('{source}')) TO '{output}' (FORMAT parquet, COMPRESSION zstd)")
print(time.process_time() - started)
