"""Schemes: what the names of other archives say, and that both readers read it from them."""

import re
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jwqlscan.history.rollups import projection
from jwqlscan.model.cube import FileClass, age_limits, extension
from jwqlscan.model.tally import UNRECOGNIZED_SAMPLES, Product
from jwqlscan.naming import schemes
from jwqlscan.naming.jwst import Classifier, shape
from jwqlscan.naming.schemes import BUILT_IN, PatternClassifier, instrument_labels, make_classifier
from jwqlscan.scanning.readers import available_readers
from jwqlscan.scanning.rules import ScanRules
from jwqlscan.settings import Scheme
from tests.support.trees import make_tree, read_alone, walk
from tests.unit.test_patterns import patterns

NOW = 1_800_000_000
RULES = ScanRules(age_limits=age_limits(NOW))

# Names that STScI's own packages for these archives use: drizzlepac 3.11, romancal 1.1 and
# romanisim 0.15; and the instruments of the table of rootnames in the HST data handbooks.
HST = {
    "j8xi01ojq_flt.fits": ("acs", "flt", "8xi"),
    "jbl70rtv_flc.fits": None,  # 8 characters
    "jbl70rtvq_flc.fits": ("acs", "flc", "bl7"),
    "ib4606c5q_drz.fits": ("wfc3", "drz", "b46"),
    "u9xa0101m_c0m.fits": ("wfpc2", "c0m", "9xa"),
    "l9z501abq_corrtag_a.fits": ("cos", "corrtag_a", "9z5"),
    "o4dd05060_x1d.fits": ("stis", "x1d", "4dd"),
    "n4hk12010_mos.fits": ("nicmos", "mos", "4hk"),
    "w0bs0102t_c0f.fits": ("wfpc", "c0f", "0bs"),
    "x2gc0101t_c0f.fits": ("foc", "c0f", "2gc"),
    "y0rs0103t_c0f.fits": ("fos", "c0f", "0rs"),
    "z0yd0103t_c0f.fits": ("ghrs", "c0f", "0yd"),
    "f3i30101m_a1f.fits": ("fgs", "a1f", "3i3"),
    "v0n20101t_d0f.fits": ("hsp", "d0f", "0n2"),
    "j8xi01010_flt_hlet.fits": ("acs", "flt_hlet", "8xi"),
    "q8xi01ojq_flt.fits": (None, None, "8xi"),  # no instrument's letter
    "J8XI01OJQ_flt.fits": None,
    "j8xi01ojq_flt.fits.gz": None,
    "j8xi01ojq.fits": None,
    "j8xi01ojq_.fits": None,
    "hst_12286_0r_acs_wfc_f775w_jbl70rtv_flc.fits": ("acs", "flc", None),
    "hst_10265_01_acs_wfc_total_drz.fits": ("acs", "drz", None),
    "hst_10265_01_acs_wfc_f606w_drz.fits": ("acs", "drz", None),
    "hst_11969_04_wfpc2_f606w_pc_drz.fits": ("wfpc2", "drz", None),
    "hst_11665_06_wfc3_ir_total_ib4606_drz.fits": ("wfc3", "drz", None),
    "hst_skycell-p1889x07y19_acs_wfc_f775w_all_drc.fits": ("acs", "drc", None),
    "hst_skycell-p1889x07y19_wfc3_ir_f160w_coarse-all_drz.fits": ("wfc3", "drz", None),
    "hst_15677_cos_hd-123_g160m_lbxx_cspec.fits": None,
}
ROMAN = {
    "r0000101001001001001_0001_wfi01_f158_cal.asdf": ("wfi", "cal", "00001"),
    "r0000201001001001001_0004_wfi18_grism_uncal.asdf": ("wfi", "uncal", "00002"),
    "r0000101001001001001_0001_wfi01_f158_wfi18_transient.asdf": (
        *("wfi", "wfi18_transient", "00001"),
    ),
    "r0000101002003004005_0001_wfi10_cal.asdf": ("wfi", "cal", "00001"),
    "r0000101001001001001_01101_0001_WFI01_uncal.asdf": ("wfi", "uncal", "00001"),
    "r00001_p_v01001001001001_270p65x70y49_f158_coadd.asdf": ("wfi", "coadd", "00001"),
    "r00001_p_full_271m66x49y70_f123_coadd.asdf": ("wfi", "coadd", "00001"),
    "r00001_p_e01001001001001_0001_270p65x70y49_f158_coadd.asdf": ("wfi", "coadd", "00001"),
    "r00001_p_v01001001001001_270p65x70y49_f158_segm.asdf": ("wfi", "segm", "00001"),
    "r00001_p_v01001001001001_270p65x70y49_f158_cat.parquet": None,
    "r0000101001001001001_0001_wfi01_f158_cal.fits": None,
    "r000010100100100100_0001_wfi01_f158_cal.asdf": None,
    "r0000101001001001001_0001_wfi01.asdf": None,
    "r0000101001001001001_0001_xxx01_f158_cal.asdf": None,
}


@pytest.mark.parametrize(
    ("scheme", "name", "said"),
    [
        (scheme, name, said)
        for scheme, names in (("hst", HST), ("roman", ROMAN))
        for name, said in names.items()
    ],
)
def test_a_name_of_another_archive_says_its_instrument_product_and_program(scheme, name, said):
    classifier = make_classifier(BUILT_IN[scheme])
    instrument, filetype, program = said or (None, None, None)
    product = None if instrument is None else Product(instrument, filetype)
    assert classifier.classify(name) == product
    assert classifier.program(name) == program
    assert classifier.lookup([name, name]) == [classifier.classify(name)] * 2


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_scheme_is_one_that_the_configuration_would_take(name):
    scheme = BUILT_IN[name]
    assert scheme.name == name
    make_classifier(scheme)
    assert all(schemes.LABEL.fullmatch(stored) for _, stored in scheme.instruments)


def test_jwst_is_told_by_its_grammar():
    assert isinstance(make_classifier(Scheme(), ["new"]), Classifier)


def test_of_a_roman_archive_only_the_digits_of_the_program_are_kept():
    assert make_classifier(BUILT_IN["roman"]).kept_digits(with_programs=False) == (0, 0)
    assert make_classifier(BUILT_IN["roman"]).kept_digits(with_programs=True) == (1, 6)


def scheme_of(*texts, endings=(".fits",), instruments=()):
    return PatternClassifier(Scheme("mine", endings, texts, instruments))


def test_what_a_name_says_is_stored_in_lower_case_or_not_at_all():
    classifier = scheme_of("(?P<instrument>[^_]*)_(?P<filetype>.*)")
    assert classifier.classify("WFI_L1.fits") == ("wfi", "l1")
    for name in ("_a.fits", "a_.fits", "a b_c.fits", "a_\n.fits", "a_b/c.fits", "é_b.fits"):
        assert classifier.classify(name) is None
    assert classifier.classify(f"a_{'b' * 40}.fits") == ("a", "b" * 40)
    assert classifier.classify(f"a_{'b' * 41}.fits") is None


def test_a_group_that_takes_no_part_says_nothing():
    classifier = scheme_of("(?:(?P<instrument>a)|(?P<program>b))_(?P<filetype>c)")
    assert classifier.classify("a_c.fits") == ("a", "c")
    assert classifier.program("a_c.fits") is None
    assert classifier.classify("b_c.fits") is None
    assert classifier.program("b_c.fits") == "b"


def test_instruments_are_those_that_are_listed():
    instruments = (("j", "acs"), ("", "none"))
    classifier = scheme_of("(?P<instrument>[a-zA-Z]?)_(?P<filetype>c)", instruments=instruments)
    assert classifier.classify("j_c.fits") == ("acs", "c")
    assert classifier.classify("J_c.fits") == ("acs", "c")
    assert classifier.classify("_c.fits") == ("none", "c")
    assert classifier.classify("k_c.fits") is None


def test_products_are_told_apart_up_to_a_number(monkeypatch):
    monkeypatch.setattr(schemes, "MAX_PRODUCTS", 10)
    classifier = scheme_of("(?P<instrument>a)_(?P<filetype>[a-z0-9A-Z]+)")
    found = classifier.lookup([f"a_{number}.fits" for number in range(100)])
    assert [one is not None for one in found] == [number < 10 for number in range(100)]
    assert classifier.classify("a_9.fits") == ("a", "9")
    assert len(classifier._products) == 10


def test_the_extension_of_products_is_the_schemes(tmp_path):
    names = {"a_b.asdf": 1, "x.asdf": 2, "a_c.FZ": 4, "d.fits": 8}
    make_tree(tmp_path, names)
    classifier = scheme_of("(?P<instrument>a)_(?P<filetype>b|c)", endings=(".asdf", ".FZ"))
    for reader in available_readers():
        cube = walk(tmp_path, reader, rules=RULES, classifier=classifier).cube
        rows = {row.label: row.sum.apparent_bytes for row in projection(cube, "extension")}
        assert rows == {"asdf or fz": 5, "asdf": 2, "fits": 8}
        again = type(cube).from_record(cube.to_record())
        assert projection(again, "extension") == projection(cube, "extension")


# ---- both readers ----


def expected(names, texts, ending):
    """Return what a tally must hold, made from the names alone."""
    products, programs, classes, unrecognized = {}, {}, {}, {}
    for name, size in names.items():
        found = None
        if name.endswith(ending) and name.isascii():
            matches = (re.fullmatch(text, name.removesuffix(ending), re.ASCII) for text in texts)
            found = next(filter(None, matches), None)
        said = found and (found["instrument"], found["filetype"])
        if said and all(said) and all(schemes.LABEL.fullmatch(word.lower()) for word in said):
            product = tuple(word.lower() for word in said)
            count, total = products.get(product, (0, 0))
            products[product] = (count + 1, total + size)
        elif name.endswith(ending):
            product = ("", ending[1:])
            unrecognized[shape(name)] = unrecognized.get(shape(name), 0) + 1
        else:
            product = ("", extension(name))
        classes[product] = classes.get(product, 0) + 1
        program = found and found.groupdict().get("program")
        if program and schemes.LABEL.fullmatch(program.lower()):
            count, total = programs.get(program.lower(), (0, 0))
            programs[program.lower()] = (count + 1, total + size)
    return products, programs, classes, unrecognized


def check(top, names, texts, ending=".fits"):
    products, programs, classes, unrecognized = expected(names, texts, ending)
    classifier = PatternClassifier(Scheme("mine", (ending,), tuple(texts)))
    for reader in available_readers():
        for rules in (RULES, ScanRules()):
            tally = read_alone(top, reader, rules, classifier=classifier)
            found = {tuple(key): (one.count, one.bytes) for key, one in tally.products.items()}
            assert found == products, reader
            assert tally.fits_files == sum(name.endswith(ending) for name in names)
            assert tally.unrecognized == sum(unrecognized.values())
            smallest = sorted(unrecognized)[:UNRECOGNIZED_SAMPLES]
            assert sorted(tally.unrecognized_samples) == smallest
            if rules.age_limits:
                cube = tally.cube
                assert {key: tuple(row) for key, row in cube.programs.items()} == programs
                files = {tuple(k): s.files for k, s in cube.by(lambda k: k.file_class).items()}
                assert files == classes


@pytest.mark.parametrize(
    "texts",
    [
        ["r(?P<program>[0-9]{5})[0-9]+_(?P<instrument>wfi)[0-9]{2}_(?P<filetype>[a-z]+)"],
        ["r0000[12][0-9]+_(?P<instrument>wfi)[0-9]{2}_(?P<filetype>[a-z]+)"],  # tells digits
        ["r(?P<program>[0-9]+)_(?P<instrument>wfi)(?P<filetype>[0-9]+)_[a-z]+"],  # says digits
        ["r[0-9]+_(?P<instrument>wfi)01_(?P<filetype>[a-z]+)", "(?P<instrument>)(?P<filetype>).*"],
        [
            "r[0-9]+_(?P<instrument>wfi)1[0-9]_(?P<filetype>cal)",
            "[a-z](?P<program>[0-9]{3})[0-9]+_(?P<instrument>[a-z]+)[0-9]+_(?P<filetype>[a-z]+)",
            ".(?P<program>[0-9]{7}).*_(?P<instrument>wfi)(?P<filetype>).*",
        ],
    ],
)
def test_both_readers_count_what_the_names_say(tmp_path, texts):
    names = {
        f"r{program:05}{visit:014}_wfi{detector:02}_{filetype}.{ending}": program + visit
        for program in (1, 2, 31, 99999)
        for visit in (0, 12345, 99)
        for detector in (1, 2, 18)
        for filetype in ("cal", "uncal", "x1d")
        for ending in ("fits", "json")
    }
    names |= {"r123_wfi.fits": 5, "r.fits": 6, ".fits": 7, "\udcff_wfi01_cal.fits": 8, "é.fits": 9}
    make_tree(tmp_path, {name.encode("utf-8", "surrogateescape"): n for name, n in names.items()})
    check(str(tmp_path), names, texts)


NAMES = st.text("ab019_-x", min_size=1, max_size=12) | st.from_regex(
    "[ab][0-9]{3,6}_(x1d|cal|nrca)_[ab][0-9]*", fullmatch=True
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@given(patterns(), st.sets(NAMES, min_size=1, max_size=30), st.data())
def test_any_pattern_that_is_taken_counts_the_same_in_both_readers(
    tmp_path_factory, pattern, words, data
):
    words |= {
        data.draw(st.from_regex(pattern.regex, fullmatch=True))[:60].replace("/", "_")
        for _ in range(5)
    }
    names = {f"{word}.fits": at for at, word in enumerate(sorted(words)) if "\0" not in word}
    top = tmp_path_factory.mktemp("tree")
    make_tree(top, names)
    check(str(top), names, [pattern.regex.pattern])


@pytest.mark.parametrize("reader", available_readers())
def test_more_names_than_a_batch_takes_are_all_counted(tmp_path, reader):
    subprocess.run(
        ["bash", "-c", "printf 'x%06d_cal.fits\\0' {1..45000} | xargs -0 touch"],
        cwd=tmp_path,
        check=True,
    )
    classifier = scheme_of("(?P<program>x[0-9]+[1-9])0?_(?P<instrument>c)(?P<filetype>al)")
    for rules in (ScanRules(), RULES):
        tally = walk(tmp_path, reader, rules=rules, classifier=classifier)
        assert (
            tally.products[Product("c", "al")].count + tally.unrecognized == tally.files == 45_000
        )
        assert tally.unrecognized == 450


# ---- shown ----


def test_instruments_are_shown_by_their_names_those_of_jwst_first():
    assert [*instrument_labels([]).values()] == ["FGS", "MIRI", "NIRCam", "NIRISS", "NIRSpec"]
    assert instrument_labels(["miri"]) == instrument_labels([])
    assert instrument_labels(["wfc3", "acs", "fgs", "mine"]) == {
        **{"acs": "ACS", "fgs": "FGS", "mine": "mine", "wfc3": "WFC3"}
    }
    assert [*instrument_labels(["acs", "miri"])] == [*instrument_labels([]), "acs"]
    assert instrument_labels(["../x", "", "a b", "MIRI", "a" * 41, "wfi"]) == {"wfi": "WFI"}


def test_unrecognized_names_are_of_the_class_of_their_ending():
    assert make_classifier(BUILT_IN["roman"]).unrecognized("x.asdf") == FileClass("", "asdf")
    assert make_classifier(Scheme()).unrecognized(".fits") == FileClass("", "fits")
