"""Appends a second of one small file to one table with PyIceberg and its SQL catalog: one writer, which is the best it can do, for several
conflict with each other.

    python pyiceberg_appends.py FILE FOLDER SECONDS
"""

import logging
import os
import sys
import time

os.environ["PYICEBERG_DOWNCAST_NS_TIMESTAMP_TO_US_ON_WRITE"] = "true"
logging.getLogger("pyiceberg").setLevel(logging.ERROR)

import pyarrow.csv
from pyiceberg.catalog.sql import SqlCatalog

source, folder, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
catalog = SqlCatalog("bench", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")
catalog.create_namespace("shop")
table = catalog.create_table("shop.orders", pyarrow.csv.read_csv(source).schema)
started = time.monotonic()
appends = 0
while time.monotonic() < started + seconds:
    table.append(pyarrow.csv.read_csv(source))
    appends += 1
print(appends / (time.monotonic() - started))
