"""The tally: merging in any order and grouping is the same, and a record is a round trip."""

import copy
import functools
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from jwqlscan.model.tally import (
    ERROR_SAMPLES,
    UNRECOGNIZED_SAMPLES,
    Amount,
    Product,
    ScanError,
    Tally,
)

counts = st.integers(0, 2**62)
paths = st.text(st.characters(codec="utf-8") | st.sampled_from("\udc80\udcff/\n"), max_size=5)
few = st.sampled_from("abcdefghijklmnopqrstuvwxyz")
products = st.builds(Product, st.sampled_from(["miri", "fgs"]), st.sampled_from(["cal", "rate"]))
amounts = st.builds(Amount, counts, counts)
errors = st.builds(ScanError, paths | few, st.sampled_from(["open", "stat"]), st.just(5), few)


@st.composite
def tallies(draw):
    tally = Tally(
        **{
            name: draw(counts)
            for name in ("files", "apparent_bytes", "allocated_bytes", "directories", "symlinks")
        },
        other=draw(counts),
        vanished=draw(counts),
        fits_files=draw(counts),
        fits_bytes=draw(counts),
    )
    for product, amount in draw(st.dictionaries(products, amounts)).items():
        tally.add_product(product, amount.count, amount.bytes)
    for shape, path in draw(st.lists(st.tuples(few, paths), max_size=30)):
        tally.add_unrecognized(shape, path)
    for error in draw(st.lists(errors, max_size=30)):
        tally.add_error(error)
    for reason in draw(st.lists(st.sampled_from(["mount", "snapshot"]))):
        tally.add_skipped(reason)
    return tally


def merged(*parts: Tally) -> Tally:
    total = Tally()
    for part in parts:
        total.merge(part)
    return total


@settings(max_examples=50)
@given(tallies(), tallies())
def test_merging_is_commutative(one, two):
    assert merged(one, two).to_record() == merged(two, one).to_record()


@settings(max_examples=50)
@given(tallies(), tallies(), tallies())
def test_merging_is_associative(one, two, three):
    left = merged(merged(one, two), three)
    right = merged(one, merged(two, three))
    assert left.to_record() == right.to_record()


@given(tallies())
def test_an_empty_tally_is_neutral(tally):
    assert merged(Tally(), tally).to_record() == tally.to_record()
    assert merged(tally, Tally()).to_record() == tally.to_record()


@settings(max_examples=50)
@given(tallies(), tallies())
def test_merging_leaves_the_other_as_it_is(one, two):
    before = copy.deepcopy(two)
    one.merge(two)
    one.merge(one)
    assert two == before


@given(st.lists(errors, max_size=120), st.integers(1, 7))
def test_the_samples_do_not_depend_on_how_errors_are_spread(failures, parts):
    whole = Tally()
    spread = [Tally() for _ in range(parts)]
    for number, error in enumerate(failures):
        whole.add_error(error)
        spread[number % parts].add_error(error)
    assert merged(*reversed(spread)).to_record() == whole.to_record()
    assert whole.error_samples == sorted(failures)[:ERROR_SAMPLES]


@given(st.lists(st.tuples(st.text("abcdef", max_size=4), paths), max_size=120), st.integers(1, 7))
def test_the_samples_do_not_depend_on_how_names_are_spread(names, parts):
    whole = Tally()
    spread = [Tally() for _ in range(parts)]
    for number, (shape, path) in enumerate(names):
        whole.add_unrecognized(shape, path)
        spread[number % parts].add_unrecognized(shape, path)
    assert merged(*reversed(spread)) == whole
    smallest = sorted({shape for shape, _ in names})[:UNRECOGNIZED_SAMPLES]
    assert whole.unrecognized_samples == {
        shape: min(path for other, path in names if other == shape) for shape in smallest
    }
    assert whole.unrecognized == len(names)


@given(tallies())
def test_a_record_is_a_round_trip_through_json(tally):
    record = tally.to_record()
    assert Tally.from_record(record) == tally
    assert Tally.from_record(json.loads(json.dumps(record))).to_record() == record


@settings(max_examples=50)
@given(st.lists(tallies(), max_size=4))
def test_counts_add_up(parts):
    total = functools.reduce(merged, parts, Tally())
    assert total.files == sum(part.files for part in parts)
    assert total.entries == sum(part.entries for part in parts)
    assert sum(total.errors.values()) == sum(sum(part.errors.values()) for part in parts)
    assert total.complete == all(part.complete for part in parts)


def test_what_vanished_or_was_skipped_leaves_a_tally_complete():
    tally = Tally(vanished=3)
    tally.add_skipped("mount")
    assert tally.complete
    tally.add_error(ScanError("/a", "open", 13, "permission"))
    assert not tally.complete


def test_counts_are_not_bounded_by_64_bits():
    tally = Tally(apparent_bytes=2**63)
    tally.merge(Tally(apparent_bytes=2**63))
    assert Tally.from_record(json.loads(json.dumps(tally.to_record()))).apparent_bytes == 2**64
