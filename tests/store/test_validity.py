"""Values that last from run to run: whatever comes and goes, each run says what it said."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwqlscan.model.cube import CellKey, FileClass
from jwqlscan.model.directory_totals import DirectorySum
from jwqlscan.model.tally import Tally
from jwqlscan.store.validity import (
    FOREVER_US,
    MAX_KEY_LENGTH,
    cell_key,
    cell_text,
    changes,
    difference,
    directory_text,
    plain,
    states,
)
from jwqlscan.text import escape
from tests.support.snapshots import make_area, make_snapshot


class Table:
    """`scan_value` and `scan_insight`, as the databases have them."""

    def __init__(self):
        self.rows = {}
        self.runs = set()

    def record(self, date, state):
        before = max((run for run in self.runs if run < date), default=None)
        after = min((run for run in self.runs if run > date), default=None)
        since = date if before is None else before
        rows = [
            (str(row.series_id), *row.numbers, *row[:3])
            for row in self.rows.values()
            if row.last_us >= since and row.first_us <= date
        ]
        found = {str(number): numbers for number, numbers in state.items()}
        left = difference(rows, found, date)
        assert left.ids == {str(row.series_id): row.series_id for row in left.known}
        todo = {int(key): numbers for key, numbers in left.numbers.items()}
        made = changes(left.known, todo, date, before, after)
        for key in made.deletes:
            del self.rows[key]
        for last, *key in made.ends:
            self.rows[tuple(key)] = self.rows[tuple(key)]._replace(last_us=last)
        for row in made.inserts:
            assert (row.series_id, row.first_us) not in self.rows
            assert row.first_us <= row.last_us
            self.rows[row.series_id, row.first_us] = row
        self.runs.add(date)

    def sweep(self):
        self.rows = {
            key: row
            for key, row in self.rows.items()
            if any(row.first_us <= run <= row.last_us for run in self.runs)
        }

    def state(self, date):
        found = [row for row in self.rows.values() if row.first_us <= date <= row.last_us]
        assert len({row.series_id for row in found}) == len(found), "two values at one time"
        return {row.series_id: row.numbers for row in found}


STATES = st.dictionaries(st.integers(0, 3), st.tuples(*[st.integers(0, 1)] * 5), max_size=4)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("record"), st.integers(0, 12), STATES),
        st.tuples(st.just("delete"), st.integers(0, 12), st.none()),
        st.tuples(st.just("sweep"), st.none(), st.none()),
    ),
    max_size=14,
)


@given(STEPS)
@settings(max_examples=400)
def test_runs_in_any_order_that_come_and_go_each_say_what_they_said(steps):
    table, said = Table(), {}
    for what, date, state in steps:
        if what == "record" and date not in said:
            table.record(date, state)
            said[date] = state
        elif what == "delete":
            table.runs.discard(date)
            said.pop(date, None)
        elif what == "sweep":
            table.sweep()
        for run, wanted in said.items():
            assert table.state(run) == wanted


def test_what_stays_as_it_is_takes_no_more_room():
    table = Table()
    for date in range(100):
        table.record(date, {1: (1, 2, 3, 4, 5), 2: (date // 50, 0, 0, 0, 0)})
    assert len(table.rows) == 3
    assert {row.last_us for row in table.rows.values()} == {49, FOREVER_US}


def test_what_is_swept_away_is_what_no_run_is_left_of():
    table = Table()
    for date in range(4):
        table.record(date, {1: (date, 0, 0, 0, 0), 2: (7, 0, 0, 0, 0)})
    table.runs -= {1, 3}
    table.sweep()
    assert sorted(table.rows) == [(1, 0), (1, 2), (2, 0)]


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("", ""),
        ("b/c", "b/c"),
        ("/elsewhere/x", "/elsewhere/x"),
        ("new\nline", "new\\\\x0aline"),
        ("\udcff", "\\\\xff"),
        ("\u4e2d", "\\u4e2d"),
    ],
)
def test_a_directory_is_kept_as_ascii(path, key):
    assert directory_text(path) == key


PARTS = st.text(st.sampled_from('ab \\"\n\u4e2d\udcff\x7f'), min_size=1, max_size=4)
SIZES = st.sampled_from((0, 1, 2**63 - 1, 2**63, 2**80))


@given(st.dictionaries(PARTS, st.tuples(*[SIZES] * 5), max_size=5), st.booleans())
def test_of_many_directories_each_is_kept_as_it_is_alone(sums, long):
    tally = Tally()
    tally.tree.upper = {path: DirectorySum(*row) for path, row in sums.items()}
    tally.tree.upper[""] = DirectorySum(1, 2, 3)
    if long:
        tally.tree.lower = {"b/" + "x" * 3000: DirectorySum(apparent_bytes=5)}
    snapshot = make_snapshot(0, make_area(tally=tally))
    [state] = states(snapshot)
    most = 2**63 - 1
    assert state.numbers["directory"] == {
        directory_text(path): (
            row.files,
            min(row.apparent_bytes, most),
            min(row.allocated_bytes, most),
            row.fits_files,
            min(row.fits_bytes, most),
        )
        for path, row in (tally.tree.upper | tally.tree.lower).items()
    }


@pytest.mark.parametrize("label", ["cal", 'c"al', "\u4e2d", "\udcff", "a\\b"])
def test_a_cell_is_kept_as_json(label):
    tally = Tally()
    tally.cube.add(CellKey(FileClass("nircam", label), -1, 7, 3, 64), 1, 2, 3)
    [state] = states(make_snapshot(0, make_area(tally=tally)))
    key = json.dumps(["nircam", escape(label), -1, 7, 3, 64], separators=(",", ":"))
    assert state.numbers["cell"] == {key: (1, 2, 3, 0, 0)}


def test_a_path_too_long_for_an_index_is_cut_and_still_itself_alone():
    long = ["\u4e2d" * 700, "\u4e2d" * 701, "a" * 2001, "\\" * 1000, "\n" * 999]
    keys = [directory_text(path) for path in long]
    assert len(set(keys)) == len(keys)
    for key in keys:
        assert len(key) <= MAX_KEY_LENGTH + 20
        assert json.loads(f'"{key}"') == plain(key)


def test_a_cell_is_given_back():
    key = CellKey(FileClass("nircam", 'c"al'), -1, 2**32 - 1, 3, 64)
    assert cell_key(cell_text(key)) == key
