"""CPU seconds that PyArrow takes, with one thread, to read a Parquet file.

    python pyarrow_read.py FILE
"""

import sys
import time

import pyarrow.parquet

started = time.process_time()
pyarrow.parquet.read_table(sys.argv[1], use_threads=False)
print(time.process_time() - started)
