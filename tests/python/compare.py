"""Compares two Arrow tables value by value, whatever the order of their rows.

Null is not the empty string, NaN equals NaN, minus zero is not zero, and a type is only the same when a value of it
has the same meaning: `large_string` is `string`, but `int32` is not `int64`, nor a local time an instant.
"""

import json

import pyarrow as pa
import pyarrow.compute as pc


class Difference(Exception):
    """What was expected is not what was read; the message names the first place."""


def canonical(kind):
    """The one spelling of types that differ only in how Arrow lays their values out."""
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return pa.timestamp(kind.unit, "UTC")
    if pa.types.is_dictionary(kind):
        return canonical(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_list_view(kind):
        return pa.list_(pa.field("element", canonical(kind.value_type)))
    if pa.types.is_map(kind):
        return pa.map_(canonical(kind.key_type), canonical(kind.item_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, canonical(field.type)) for field in kind])
    return kind


def canonical_table(table):
    """The table with canonical column types; the values are the same."""
    return table.cast(pa.schema([pa.field(field.name, canonical(field.type)) for field in table.schema]))


def comparable(column):
    """One array that sorts, and whose elements are equal exactly when the values are the same."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_nested(array.type):
        return pa.array([None if value is None else json.dumps(value, default=repr) for value in array.to_pylist()], pa.string())
    if pa.types.is_floating(array.type):
        one_nan = pc.if_else(pc.is_nan(array), pa.scalar(float("nan"), array.type), array)
        return one_nan.view(pa.int64() if pa.types.is_float64(array.type) else pa.int32())
    return array


class Rows:
    """A table with canonical types whose rows are also known in sorted order."""

    def __init__(self, table):
        self.table = canonical_table(table)
        columns = {name: comparable(self.table.column(name)) for name in self.table.column_names}
        keyed = pa.table(list(columns.values()), names=[str(index) for index in range(len(columns))])
        self.order = pc.sort_indices(keyed, sort_keys=[(name, "ascending") for name in keyed.column_names])
        self.columns = {name: column.take(self.order) for name, column in columns.items()}

    def __len__(self):
        return len(self.table)

    def row(self, position):
        """The row that stands at `position` of the sorted rows, as text."""
        return repr(self.table.slice(self.order[position].as_py(), 1).to_pylist()[0])


def assert_same(expected, actual, reader):
    """Raises `Difference` with the first row and column in which two `Rows` differ."""
    if expected.table.column_names != actual.table.column_names:
        raise Difference(f"{reader}: columns are {actual.table.column_names}, expected {expected.table.column_names}")
    for wanted, found in zip(expected.table.schema, actual.table.schema):
        if wanted.type != found.type:
            raise Difference(f"{reader}: column {wanted.name} is {found.type}, expected {wanted.type}")
    counts = f"{len(actual)} rows read, {len(expected)} expected"
    shared = min(len(expected), len(actual))
    places = []
    for name in expected.table.column_names:
        wanted, found = expected.columns[name].slice(0, shared), actual.columns[name].slice(0, shared)
        unequal = pc.fill_null(pc.not_equal(wanted, found), False)
        only_one_null = pc.xor(wanted.is_null(), found.is_null())
        first = pc.index(pc.or_(unequal, only_one_null), True).as_py()
        if first >= 0:
            places.append((first, name))
    if places:
        row, name = min(places, key=lambda place: place[0])
        raise Difference(
            f"{reader}: sorted row {row} differs first in column {name} ({counts}):\n"
            f"  expected {expected.row(row)}\n  found    {actual.row(row)}"
        )
    if len(expected) != len(actual):
        rows, word = (actual, "too many") if len(actual) > shared else (expected, "missing")
        raise Difference(f"{reader}: {counts}; the first {word}: {rows.row(shared)}")
