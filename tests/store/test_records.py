"""Records in the spool survive an update of the program, and a return to the version before.

`records/VERSION` holds what that version wrote: files are added for a release, never changed.
"""

import json
import os
import struct
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jwqlscan.model.record_fields import is_newer
from jwqlscan.model.snapshot import RECORD_VERSION, Snapshot
from jwqlscan.model.tally import COUNTERS, Tally
from jwqlscan.store import open_store, spool
from tests.support.marks import STORES
from tests.support.snapshots import make_snapshot

RECORDS = sorted((Path(__file__).parent / "records").glob("*/*.json"))
INSIGHT = Path(__file__).parent / "records/0.1.0/insight.json"

# Their keys are data (a path, a kind of error), not fields.
MAPPINGS = ("errors", "skipped", "mounts", "unrecognized_samples", "folded")


def record_of(path: Path) -> dict[str, Any]:
    record = json.loads(path.read_text())
    return {key: value for key, value in record.items() if key not in ("for_store", "configured")}


def objects(value: Any, name: str = "snapshot") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every object of a record that has named fields, with its own field's name."""
    if isinstance(value, list):
        for item in value:
            yield from objects(item, name)
    elif isinstance(value, dict) and name not in MAPPINGS:
        yield name, value
        for key, item in value.items():
            yield from objects(item, key)


async def flush(tmp_path: Path, url: str, *records: Any) -> spool.Flushed:
    directory = tmp_path / "spool"
    directory.mkdir(exist_ok=True)
    for number, record in enumerate(records):
        (directory / f"{number:02d}.json").write_text(json.dumps(record))
    async with open_store(url) as store:
        return await spool.store_waiting(str(directory), store)


@pytest.mark.case("P34")
@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parent.name}-{path.stem}")
async def test_what_an_older_version_measured_is_stored_whole(tmp_path, request, path, kind):
    url = f"sqlite:///{tmp_path}/s.db" if kind == "sqlite" else request.getfixturevalue("pg_url")
    record = record_of(path)
    flushed = await flush(tmp_path, url, json.loads(path.read_text()))
    assert (flushed.stored, flushed.set_aside, flushed.warnings) == (1, {}, ())
    async with open_store(url) as store:
        found = await store.select(
            "SELECT area_group, area, state, files, apparent_bytes, fits_files, unrecognized,"
            " errors, used_bytes FROM scan_area ORDER BY area_group, area"
        )
        assert [tuple(row) for row in found] == sorted(
            (
                *(area["group"], area["name"], area["state"]),
                *(area["tally"][n] for n in ("files", "apparent_bytes", "fits_files")),
                area["tally"]["unrecognized"],
                json.dumps(area["tally"]["errors"], separators=(",", ":")),
                area["capacity"]["used_bytes"],
            )
            for area in record["areas"]
        )
        looked = await store.select("SELECT count(*) FROM scan_insight")
        assert looked[0][0] == sum("cube" in area["tally"] for area in record["areas"])


@pytest.mark.case("P34")
@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_no_value_of_an_older_record_is_lost_when_it_is_read(path):
    def contains(new: Any, old: Any) -> bool:
        if isinstance(old, dict):
            return all(key in new and contains(new[key], old[key]) for key in old)
        if isinstance(old, list):
            return len(new) == len(old) and all(map(contains, new, old))
        return bool(new == old)

    record = record_of(path)
    found = Snapshot.from_record(record).to_record()
    for area in found["areas"]:  # 0.1.0 wrote a row for each directory
        if (tree := area["tally"].get("tree")) is not None:
            sums = zip(
                *[iter(struct.unpack(f"<{5 * len(tree['paths'])}Q", b64decode(tree["sums"])))] * 5,
                strict=True,
            )
            paths = [f"{area['path']}/{path}".removesuffix("/") for path in tree["paths"]]
            rows = [[path, *numbers] for path, numbers in zip(paths, sums, strict=True)]
            tree["upper"], tree["lower"] = rows[: tree["upper_count"]], rows[tree["upper_count"] :]
    assert contains(found, record)


@pytest.mark.case("P34")
@pytest.mark.parametrize("name", sorted(Tally.__dataclass_fields__))
def test_a_field_that_a_tally_lacks_is_0_or_empty(name):
    full = next(area["tally"] for area in record_of(INSIGHT)["areas"])
    tally = Tally.from_record({key: value for key, value in full.items() if key != name})
    assert getattr(tally, name) == getattr(Tally(), name)
    other = next(one for one in COUNTERS if one != name)
    assert getattr(tally, other) == full[other]


@pytest.mark.case("P34")
async def test_a_record_with_an_unknown_field_anywhere_is_kept_and_reported(tmp_path):
    places = [name for name, _ in objects(record_of(INSIGHT))]
    assert set(places) == {"snapshot", "areas", "capacity", "tally", "cube", "tree"}
    newer = []
    for place in range(len(places)):
        record = record_of(INSIGHT)
        [*objects(record)][place][1]["introduced_later"] = 7
        newer.append(record)
    good = make_snapshot().to_record()
    flushed = await flush(tmp_path, f"sqlite:///{tmp_path}/s.db", *newer, good)
    assert (flushed.stored, flushed.set_aside) == (1, {})
    [warning] = flushed.warnings
    assert f"{len(places)} snapshots" in warning and "'introduced_later'" in warning
    assert "update jwqlscan" in warning and str(tmp_path / "spool") in warning
    names = sorted(os.listdir(tmp_path / "spool"))
    assert names == [f"{number:02d}.json" for number in range(len(places))]


@pytest.mark.case("P34")
@pytest.mark.parametrize(
    "changes",
    [
        {"record_version": RECORD_VERSION + 1},
        {"record_version": RECORD_VERSION + 1, "areas": {"in": "another form"}},
        {"version": "99.0", "areas": [["another form"]]},
        {"version": "99.0.dev1+g0", "workers": "all of them"},
    ],
)
async def test_a_record_of_a_newer_version_is_kept_and_reported(tmp_path, changes):
    newer = record_of(INSIGHT) | changes
    flushed = await flush(tmp_path, f"sqlite:///{tmp_path}/s.db", newer)
    assert (flushed.stored, flushed.set_aside) == (0, {})
    [warning] = flushed.warnings
    assert "a newer jwqlscan wrote" in warning and "00.json" in warning
    assert json.loads((tmp_path / "spool/00.json").read_text()) == newer


@pytest.mark.parametrize(
    ("version", "than", "newer"),
    [
        ("0.1.1", "0.1.0", True),
        ("0.10", "0.9.3", True),
        ("0.1.0", "0.1.0", False),
        ("0.1", "0.1.0", False),
        ("0.1.0rc1", "0.1.0", False),
        ("garbage", "0.1.0", False),
        (7, "0.1.0", False),
    ],
)
def test_versions_are_compared_by_their_numbers(version, than, newer):
    assert is_newer(version, than) is newer
