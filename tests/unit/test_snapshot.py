"""The snapshot: what makes it complete, and its record."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from jwqlscan.model.record_fields import NewerRecordError
from jwqlscan.model.snapshot import AreaSnapshot, Capacity, Snapshot
from jwqlscan.model.tally import Product, ScanError, Tally

CAPACITY = Capacity(100, 60, 30, 10, 4, 6, "dev\udcff", "xfs", "/mount point")
PUBLIC = AreaSnapshot("archive", "public", "/a\udcff/public", Tally(files=3), CAPACITY)


def snapshot(*areas: AreaSnapshot) -> Snapshot:
    start = datetime(2026, 11, 1, 5, 30, 0, 123456, UTC)
    end = start + timedelta(hours=1)
    return Snapshot("id", start, end, "host", "1.0", "native", 32, 3599.5, areas, "/log", True)


LATER = {"suspicions", "accepted"}  # keys that records did not always have


def test_a_record_is_a_round_trip_through_json():
    tally = Tally(files=1, apparent_bytes=2**60)
    tally.add_product(Product("miri", "cal"), 1, 5)
    tally.add_unrecognized("jw_x.fits", "/a/jw_\udcff.fits")
    tally.add_error(ScanError("/a/\udcff", "open", 13, "permission"))
    whole = snapshot(PUBLIC, replace(PUBLIC, name="other", capacity=None, tally=tally))
    assert Snapshot.from_record(json.loads(json.dumps(whole.to_record()))) == whole


def test_a_record_of_another_version_is_refused():
    record = snapshot(PUBLIC).to_record() | {"record_version": 99}
    with pytest.raises(NewerRecordError, match="99 is newer than 1"):
        Snapshot.from_record(record)


@pytest.mark.parametrize("key", sorted(LATER))
def test_a_record_of_before_a_key_was_added_is_read(key):
    record = snapshot(PUBLIC).to_record()
    del record[key]
    assert Snapshot.from_record(record) == snapshot(PUBLIC)


@pytest.mark.parametrize("key", sorted(snapshot(PUBLIC).to_record().keys() - LATER))
def test_a_record_without_a_key_is_refused(key):
    record = snapshot(PUBLIC).to_record()
    del record[key]
    with pytest.raises(KeyError, match=key):
        Snapshot.from_record(record)


def test_an_area_is_found_by_group_and_name():
    whole = snapshot(PUBLIC, replace(PUBLIC, group="central"))
    assert whole.area("central", "public") is whole.areas[1]
    assert whole.area("central", "all") is None


def test_it_is_complete_when_every_area_and_capacity_is_known():
    assert snapshot(PUBLIC).status == "complete"
    assert snapshot(PUBLIC).incomplete_reasons == []


def test_a_capacity_that_is_not_known_makes_it_incomplete():
    whole = snapshot(PUBLIC, replace(PUBLIC, name="p", capacity=None))
    assert whole.status == "incomplete"
    assert whole.incomplete_reasons == ["archive p: capacity unknown, df gave no answer"]


@pytest.mark.parametrize("state", ["stalled", "failed", "missing"])
def test_a_capacity_that_is_not_known_for_the_same_cause_is_no_line_of_its_own(state):
    lost = replace(PUBLIC, name="p", state=state, note="why", tally=Tally(), capacity=None)
    whole = replace(lost, name="all", note="p: why")
    lines = {True: ["archive p: missing (why), accepted by --allow-empty"]}
    for areas in ((PUBLIC, lost), (whole, lost)):
        found = snapshot(*areas)
        assert found.missing_areas == lines.get(state == "missing", [])
        assert found.incomplete_reasons == (
            [] if state == "missing" else [f"archive p: {state} (why)"]
        )


def test_a_missing_area_is_not_why_another_is_incomplete():
    part = replace(PUBLIC, state="partial", tally=Tally(errors={"io": 2}))
    whole = replace(part, name="all")
    gone = replace(PUBLIC, name="p", state="missing", note="why", tally=Tally(), capacity=None)
    both = snapshot(whole, part, gone)
    assert both.incomplete_reasons == ["archive public: partial, 2 errors"]
    assert both.status == "incomplete" and len(both.missing_areas) == 1


def test_an_area_that_is_partial_makes_it_incomplete():
    tally = Tally(errors={"io": 2, "permission": 1})
    whole = snapshot(replace(PUBLIC, state="partial", tally=tally))
    assert whole.incomplete_reasons == ["archive public: partial, 3 errors"]


def test_one_cause_is_one_line_whatever_areas_it_meets():
    tally = Tally(errors={"permission": 3})
    wrong = {"state": "partial", "tally": tally}
    whole, part = replace(PUBLIC, name="all", **wrong), replace(PUBLIC, **wrong)
    fine = replace(PUBLIC, name="proprietary")
    assert snapshot(whole, part, fine).incomplete_reasons == ["archive public: partial, 3 errors"]
    same = replace(part, name="proprietary")
    both = replace(whole, tally=Tally(errors={"permission": 6}))
    assert snapshot(both, part, same).incomplete_reasons == [
        "archive public, archive proprietary: partial, 3 errors"
    ]
    unknown = [replace(one, capacity=None) for one in (replace(whole, state="complete"), fine)]
    assert snapshot(*unknown).incomplete_reasons == [
        "archive proprietary: capacity unknown, df gave no answer"
    ]


@pytest.mark.parametrize(("group", "errors"), [("archive", 4), ("central", 6)])
def test_errors_of_a_group_that_its_areas_do_not_have_are_a_line_of_their_own(group, errors):
    area = replace(PUBLIC, group=group, state="partial", tally=Tally(errors={"io": 3}))
    whole = replace(area, name="all", tally=Tally(errors={"io": errors}))
    nested = [replace(area, name=name) for name in ("logs", "test")]
    areas = [whole, *(nested if group == "central" else nested[:1])]
    assert f"{group} all: partial, {errors} errors" in snapshot(*areas).incomplete_reasons
