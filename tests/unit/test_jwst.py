"""Names: every kind of file the archive holds, what must not pass for one, and the shape law."""

import re
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwqlscan.model.cube import FileClass
from jwqlscan.model.tally import Product
from jwqlscan.naming import jwst
from jwqlscan.naming.jwst import (
    DETECTORS,
    FILETYPES,
    GUIDE_STAR_FILETYPES,
    INSTRUMENT_LABELS,
    STAGES,
    WITH_ACTIVITY,
    Classifier,
    shape,
    stage,
)

CLASSIFIER = Classifier()

KNOWN = {
    # exposures
    "jw80500012009_01101_00012_nrcalong_uncal.fits": ("nircam", "uncal"),
    "jw00733003001_02101_00002-seg001_nrs1_rate.fits": ("nirspec", "rate"),
    "jw01018001001_0210a_00001_nis_rateints.fits": ("niriss", "rateints"),
    "jw01018001001_021a1_00001_nis_cal.fits": ("niriss", "cal"),
    "jw01018001001_021zz_00001_nis_cal.fits": ("niriss", "cal"),
    "jw80500012009_01101_1_nrca1_rate.fits": ("nircam", "rate"),
    "jw80500012009_01101_00012_nrca5_calints.fits": ("nircam", "calints"),
    "jw80500012009_01101_00012_NRCA1_RateInts.fits": ("nircam", "rateints"),
    "JW80500012009_01101_00012_mirifushort_s3d.fits": ("miri", "s3d"),
    "jw80500012009_01101_00012_guider1_cal.fits": ("fgs", "cal"),
    "jw80500012009_01101_00012_nis_ami-oi.fits": ("niriss", "ami-oi"),
    "jw80500012009_01101_00012_nis_psf-amiavg.fits": ("niriss", "psf-amiavg"),
    "jw80500012009_01101_00012_nrs2_segm.fits": ("nirspec", "segm"),
    # exposures of an association
    "jw94015002002_02108_00001_mirimage_o002_crf.fits": ("miri", "crf"),
    "jw00733003001_02101_00002-seg001_nrs1_o001_crfints.fits": ("nirspec", "crfints"),
    "jw01386002001_0310a_00001_nrcalong_c1020_psfsub.fits": ("nircam", "psfsub"),
    "jw94015002002_02108_00001_mirimage_a3001_crf.fits": ("miri", "crf"),
    "jw94015002002_02108_00001_mirimage_r0002_crf.fits": ("miri", "crf"),
    # stage 3
    "jw80600-o009_t001_miri_f1130w_i2d.fits": ("miri", "i2d"),
    "jw80600-o009_t001_miri_f1130w_s2d.fits": ("miri", "s2d"),
    "jw07772-c1015_t005_miri_ch1-long_x1d.fits": ("miri", "x1d"),
    "jw80600-o009_t001-epoch1_miri_f1130w_i2d.fits": ("miri", "i2d"),
    "jw80600-a3001_t001_fgs_clear_i2d.fits": ("fgs", "i2d"),
    "jw09230-o004_t001_nirspec_g395h_f290lp_s3d.fits": ("nirspec", "s3d"),
    "jw01076-o124_s00122_nircam_f322w2-grismr_x1d.fits": ("nircam", "x1d"),
    "jw01076-o124_s000001220_nircam_f322w2-grismr_x1d.fits": ("nircam", "x1d"),
    "jw01076-o124_b000001220_nirspec_f100lp-g140m_cal.fits": ("nirspec", "cal"),
    "jw01076-o124_v000001220_nirspec_f100lp-g140m_s2d.fits": ("nirspec", "s2d"),
    "jw01076-o124_s000001220-epoch2_nirspec_f100lp-g140m_s2d.fits": ("nirspec", "s2d"),
    "jw01309-o022_t001-s000000001_nirspec_f100lp-g140h-s200a1-s200a2-allslits_x1d.fits": (
        "nirspec",
        "x1d",
    ),
    "jw01386-c1020_t001_nircam_f300m-maskrnd-sub320a335r_psfstack.fits": ("nircam", "psfstack"),
    "jw01366-o002_t001_niriss_clear-gr700xd-substrip256_whtlt.fits": ("niriss", "whtlt"),
    "jw01366-o002_t001_nircam_f322w2-grismr-subgrism256_x1dints.fits": ("nircam", "x1dints"),
    "jw01093-o001_t001_niriss_f480m-nrm_aminorm-oi.fits": ("niriss", "aminorm-oi"),
    "jw01093-o001_t001_niriss_f480m-nrm-sub80_amimulti-oi.fits": ("niriss", "amimulti-oi"),
    "jw01093-o001_t001_niriss_f380m_sub80_psf-ami-oi.fits": ("niriss", "psf-ami-oi"),
    "jw02725-o484_t097_nircam_clear-f356w-nrcalong_wfscmb-04.fits": ("nircam", "wfscmb"),
    "jw01464-o063_t001_nircam_clear-f212n-nrcb_wfscmb-0a.fits": ("nircam", "wfscmb"),
    "jw01464-o063_t001_nircam_clear-f212n_wfscmb-zz.fits": ("nircam", "wfscmb"),
    "jw01464-o063_t001_nircam_clear-f212n_wfscmb.fits": ("nircam", "wfscmb"),
    # guide stars
    "jw00729011001_gs-id_1_image_cal.fits": ("fgs", "image_cal"),
    "jw00729011001_gs-id_12_stacked_uncal.fits": ("fgs", "stacked_uncal"),
    "jw00729011001_gs-acq2_123_cal.fits": ("fgs", "cal"),
    "jw00729011001_gs-track_2019154181705_uncal.fits": ("fgs", "uncal"),
    "jw00799003001_gs-acq1_2019154181705_stream.fits": ("fgs", "stream"),
    "jw01118005001_gs-fg_2022150070312-seg002_uncal.fits": ("fgs", "uncal"),
    # MSA metadata
    "jw01118008001_01_msa.fits": ("nirspec", "msa"),
}

UNKNOWN = [
    "",
    ".fits",
    "cal.fits",
    "readme.txt",
    "jw80600-o009_t001_miri_f1130w_i2d.jpg",
    "jw80600-o009_t001_miri_f1130w_cat.ecsv",
    "jw80500012009_01101_00012_nrca1_uncal.FITS",
    "jw80500012009_01101_00012_nrca1_uncal.fits.gz",
    "jw80500012009_01101_00012_nrca1_uncal.fits ",
    "jw80500012009_01101_00012_nrca1_uncal.fits\n",
    "jw80500012009_01101_00012_nrca1_uncal\n.fits",
    "\njw80500012009_01101_00012_nrca1_uncal.fits",
    " jw80500012009_01101_00012_nrca1_uncal.fits",
    "xjw80500012009_01101_00012_nrca1_uncal.fits",
    "jw80500012009_01101_00012_nrca1_uncal2.fits",
    "jw80500012009_01101_00012_nrca1_calx.fits",
    "jw80500012009_01101_00012_nrca1_ca.fits",
    "jw80500012009_01101_00012_nrca1_.fits",
    "jw80500012009_01101_00012_nrca1.fits",
    "jw80500012009_01101_00012_nrca1_x3d.fits",
    "jw80500012009_01101_00012_nrca1_foo_cal.fits",
    "jw80500012009_01101_00012_nrca1_o02_crf.fits",
    "jw80500012009_01101_00012_nrca1_o0002_crf.fits",
    "jw80500012009_01101_00012_nrca1_c102_crf.fits",
    "jw80500012009_01101_00012_nrca1_x1020_crf.fits",
    "jw80500012009_01101_00012_nrca6_cal.fits",
    "jw80500012009_01101_00012_nrca_cal.fits",
    "jw80500012009_01101_00012_nrca12_cal.fits",
    "jw80500012009_01101_00012_abc1_cal.fits",
    "jw80500012009_01101_00012_guider3_cal.fits",
    "jw80500012009_01101_00012-seg01_nrca1_cal.fits",
    "jw80500012009_01101_00012-seg0001_nrca1_cal.fits",
    "jw80500012009_01101__nrca1_cal.fits",
    "jw80500012009_0110_00012_nrca1_cal.fits",
    "jw80500012009_a1101_00012_nrca1_cal.fits",
    "jw8050001200_01101_00012_nrca1_cal.fits",
    "jw805000120099_01101_00012_nrca1_cal.fits",
    "jw8050001200\u0669_01101_00012_nrca1_cal.fits",  # ARABIC-INDIC DIGIT NINE
    "jw8050001200\u00b2_01101_00012_nrca1_cal.fits",  # SUPERSCRIPT TWO
    "jw80500012009_01101_00012_nrs1_b\u017fub.fits",  # LATIN SMALL LETTER LONG S
    "jw00799003001_gs-trac\u212a_1_cal.fits",  # KELVIN SIGN
    "jw80500012009_01101_00012_nrca1_cal\udcff.fits",
    "jw80500012009_01101_00012_nrca1_cal\x00.fits",
    "jw80600-o009_t001_miri_i2d.fits",  # no optics
    "jw80600-o009_t001_miri__i2d.fits",
    "jw80600-o009_t001_miri_f1130w-i2d.fits",
    "jw80600-o009_t001_miri_f1130w_psf-cal.fits",
    "jw80600-o009_t001_miri_f1130w__i2d.fits",
    "jw80600-o009_t001_miri_f1130w-_i2d.fits",
    "jw80600-o009_t001_hst_f1130w_i2d.fits",
    "jw80600-o009_t01_miri_f1130w_i2d.fits",
    "jw80600-o009_s0001_miri_f1130w_i2d.fits",
    "jw80600-o009_b00001_miri_f1130w_i2d.fits",
    "jw80600-o009_t001-epoch12_miri_f1130w_i2d.fits",
    "jw80600-o009_miri_f1130w_i2d.fits",
    "jw80600_t001_miri_f1130w_i2d.fits",
    "jw02725-o484_t097_nircam_clear-f356w_wfscmb-4.fits",
    "jw02725-o484_t097_nircam_clear-f356w_wfscmb-004.fits",
    "jw02725-o484_t097_nircam_clear-f356w_wfscmb_04.fits",
    "jw02725-o484_t097_nircam_clear-f356w_wfscmb--4.fits",
    "jw02725-o484_t097_nircam_clear-f356w_wfscmb-04-05.fits",
    "jw02725-o484_t097_nircam_clear-f356w_i2d-04.fits",
    "jw02725-o484_t097_nircam_clear-f356w_aminorm-04.fits",
    "jw80600-o0009_t001_miri_f1130w_i2d.fits",
    "jw00729011001_gs-id_1_rate.fits",
    "jw00729011001_gs-id_1_image.fits",
    "jw00729011001_gs-id_1_imagecal.fits",
    "jw00729011001_gs-id_1_blurred_cal.fits",
    "jw00729011001_gs-acq3_1_cal.fits",
    "jw00729011001_gs-id_1234_cal.fits",
    "jw00729011001_gs-id_201915418170_cal.fits",
    "jw00729011001_gs-id_20191541817055_cal.fits",
    "jw00729011001_gs-id_cal.fits",
    "jw01118008001_1_msa.fits",
    "jw01118008001_001_msa.fits",
    "jw01118008001_01_msa_x.fits",
]


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_name_says_its_instrument_and_its_product(name):
    assert CLASSIFIER.classify(name) == Product(*KNOWN[name])


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_near_miss_is_no_product(name):
    assert CLASSIFIER.classify(name) is None


@pytest.mark.parametrize("name", [name for name in [*KNOWN, *UNKNOWN] if "\0" not in name])
def test_the_cache_says_the_same_at_first_and_again(name):
    classifier = Classifier()
    expected = classifier.classify(name)
    assert [classifier.lookup([name]) for _ in range(3)] == [[expected]] * 3
    assert classifier.lookup([name, "a.fits", name]) == [expected, None, expected]


@pytest.mark.parametrize(
    ("instrument", "detector"),
    [(instrument, token) for instrument in DETECTORS for token in DETECTORS[instrument].split()],
)
def test_every_detector_belongs_to_its_instrument(instrument, detector):
    for token in (detector, detector.upper()):
        name = f"jw80500012009_01101_00012_{token}_cal.fits"
        assert CLASSIFIER.classify(name) == (instrument, "cal")


def test_detectors_and_labels_are_told_of_the_same_instruments():
    assert DETECTORS.keys() == INSTRUMENT_LABELS.keys()


@pytest.mark.parametrize("filetype", sorted(FILETYPES))
def test_every_filetype_is_matched_whole(filetype):
    exposure = "jw80500012009_01101_00012_nrca1_o001_"
    stage3 = "jw80600-o009_t001_nircam_f322w2-grismr_"
    for start in (exposure, stage3):
        assert CLASSIFIER.classify(f"{start}{filetype}.fits") == ("nircam", filetype)
        for wrong in (f"{filetype}x", f"{filetype}-", f"{filetype}_"):
            assert CLASSIFIER.classify(f"{start}{wrong}.fits") is None
    assert CLASSIFIER.classify(f"{exposure}x{filetype}.fits") is None


def test_what_stands_before_a_filetype_of_stage_3_is_optics():
    name = "jw80600-o009_t001_nircam_f322w2_{}.fits"
    assert CLASSIFIER.classify(name.format("image_cal")) == ("nircam", "image_cal")
    assert CLASSIFIER.classify(name.format("mimage_cal")) == ("nircam", "cal")


def test_a_filetype_that_ends_in_another_is_not_that_other():
    name = "jw80600-o009_t001_niriss_f380m-nrm_{}.fits"
    for filetype in ("ami-oi", "aminorm-oi", "psf-ami-oi", "ami", "image_cal", "cal"):
        assert CLASSIFIER.classify(name.format(filetype)) == ("niriss", filetype)


def test_the_same_shape_with_other_short_runs_of_digits_is_another_product():
    classifier = Classifier()
    name = "jw80600-o009_t001_miri_ch{}-long_{}.fits"
    for _ in range(2):
        assert classifier.lookup([name.format(1, "s2d")])[0] == ("miri", "s2d")
        assert classifier.lookup([name.format(2, "s3d")])[0] == ("miri", "s3d")
        assert classifier.lookup([name.format(2, "s4d")])[0] is None


@pytest.mark.parametrize(
    ("instrument", "filetype", "expected"),
    [
        ("nircam", "uncal", "0/1"),
        ("miri", "rateints", "0/1"),
        ("fgs", "cal", "2"),
        ("nirspec", "crfints", "2"),
        ("miri", "x1d", "2/3"),  # of an exposure, or of an association
        ("niriss", "ami-oi", "3"),
        ("nircam", "segm", "3"),
        ("fgs", "image_cal", "guide star"),
        ("nirspec", "msa", "other"),
        ("nircam", "wonder", "other"),
        ("", "fits", "other"),
        ("acs", "x1d", "other"),  # of another archive
    ],
)
def test_a_filetype_says_its_stage(instrument, filetype, expected):
    assert stage(Product(instrument, filetype)) == expected
    assert stage(FileClass(instrument, filetype)) == expected


def test_every_filetype_has_at_most_one_stage_and_each_stage_some():
    told = [word for words in jwst._FILETYPES_BY_STAGE.values() for word in words.split()]
    assert len(told) == len(set(told))
    assert FILETYPES - set(told) == {"msa", "original", "snr"}
    assert set(told) <= FILETYPES
    found = {stage(Product("nircam", filetype)) for filetype in FILETYPES}
    assert found == set(STAGES)


def test_extra_filetypes_are_recognized_in_every_kind_of_name():
    classifier = Classifier(["moments", "cube-9", "noise_map", "i2d"])
    for filetype in ("moments", "cube-9", "noise_map", "i2d"):
        exposure = f"jw80500012009_01101_00012_nrca1_{filetype}.fits"
        assert classifier.classify(exposure) == ("nircam", filetype)
        stage3 = f"jw80600-o009_t001_miri_f1130w_{filetype.upper()}.fits"
        assert classifier.lookup([stage3])[0] == ("miri", filetype)
        guide_star = f"jw00729011001_gs-id_1_{filetype}.fits"
        assert classifier.classify(guide_star) == ("fgs", filetype)


@pytest.mark.parametrize(
    "filetype",
    ["", "Moments", "a.b", "a b", "a/b", "a\n", "é", "-a", "a_", "a--b", "a100", "1234", "٣"],
)
def test_an_extra_filetype_that_is_none_is_refused_by_name(filetype):
    with pytest.raises(ValueError, match="filetype") as caught:
        Classifier(["moments", filetype])
    assert repr(filetype) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("jw80500012009_01101_00012_nrca1_s2d.fits", "jw00000000000_00000_00000_nrca1_s2d.fits"),
        ("a12b123c1234", "a12b000c0000"),
        ("\u0669\u0669\u0669 12\u0669 999", "\u0669\u0669\u0669 12\u0669 000"),
        ("", ""),
    ],
)
def test_a_shape_keeps_all_but_the_digits_of_long_runs(name, expected):
    assert shape(name) == expected
    assert shape(expected) == expected


def digits(n):
    return st.text("0123456789", min_size=n, max_size=n)


def joined(*parts):
    return st.tuples(*(st.just(p) if isinstance(p, str) else p for p in parts)).map("".join)


def optional(*parts):
    return st.just("") | joined(*parts)


def one_of(words):
    return st.sampled_from(sorted(words))


ASSOCIATION = joined("o", digits(3)) | joined(one_of("car"), digits(4))
TARGET = joined(
    joined("t", digits(3), optional("-s", digits(9)))
    | joined("s", digits(5))
    | joined(one_of("sbv"), digits(9)),
    optional("-epoch", digits(1)),
)
OPTICS = st.lists(st.from_regex("[a-z0-9]{1,12}", fullmatch=True), min_size=1, max_size=5).flatmap(
    lambda tokens: joined(tokens[0], *(joined(one_of("-_"), token) for token in tokens[1:]))
)
BASE_36 = st.text("0123456789abcdefghijklmnopqrstuvwxyz", min_size=2, max_size=2)
SEGMENT = optional("-seg", digits(3))


def exposures():
    detectors = {token: name for name in DETECTORS for token in DETECTORS[name].split()}
    return st.tuples(one_of(detectors), one_of(FILETYPES)).flatmap(
        lambda pick: st.tuples(
            joined(
                *("jw", digits(11), "_", digits(3), BASE_36, "_"),
                *(st.integers(0, 10**6).map(str), SEGMENT, "_", pick[0]),
                *(optional("_", ASSOCIATION), "_", pick[1], ".fits"),
            ),
            st.just(Product(detectors[pick[0]], pick[1])),
        )
    )


def activity(filetype):
    return optional("-", BASE_36) if filetype in WITH_ACTIVITY else st.just("")


def stage3():
    # An optics token may be "image": then the name does say image_cal, as the longest wins.
    return st.tuples(one_of(DETECTORS), one_of(FILETYPES), OPTICS).flatmap(
        lambda pick: st.tuples(
            joined(
                *("jw", digits(5), "-", ASSOCIATION, "_", TARGET),
                *("_", pick[0], "_", pick[2], "_", pick[1], activity(pick[1]), ".fits"),
            ),
            st.just(Product(pick[0], pick[1])),
        )
    )


def guide_stars():
    return one_of(GUIDE_STAR_FILETYPES).flatmap(
        lambda filetype: st.tuples(
            joined(
                *("jw", digits(11), "_gs-", one_of(["id", "acq1", "acq2", "track", "fg"]), "_"),
                *(digits(1) | digits(2) | digits(3) | digits(13), SEGMENT),
                *("_", filetype, ".fits"),
            ),
            st.just(Product("fgs", filetype)),
        )
    )


def msas():
    return st.tuples(
        joined("jw", digits(11), "_", digits(2), "_msa.fits"), st.just(Product("nirspec", "msa"))
    )


VALID = exposures() | stage3() | guide_stars() | msas()
REUSED = Classifier()  # its cache fills with every example


@given(VALID)
def test_every_name_made_by_the_grammar_is_recognized(pair):
    name, product = pair
    assert CLASSIFIER.classify(name) == product
    assert REUSED.lookup([name])[0] == product
    assert REUSED.lookup([name.removesuffix(".fits").upper() + ".fits"])[0] == product


@given(VALID, st.data())
def test_digits_of_long_runs_do_not_matter(pair, data):
    name, product = pair
    other = re.sub("[0-9]{3,}", lambda run: data.draw(digits(len(run[0]))), name)
    assert shape(other) == shape(name)
    assert CLASSIFIER.classify(other) == CLASSIFIER.classify(shape(name)) == product
    assert REUSED.lookup([other])[0] == product


NAMES = st.text(st.characters(exclude_characters="\0"))
NEARLY = st.lists(
    one_of(["jw", "_", "-", "gs-id", "o001", "t001", "miri", "nrca1", "cal", "s2d", "seg", "nrs"])
    | st.text("0123456789", max_size=14)
    | NAMES.map(lambda text: text[:3])
).map(lambda parts: "".join(parts) + ".fits")


@given(NAMES | NEARLY)
def test_name_shape_and_cache_agree_on_any_text(name):
    product = CLASSIFIER.classify(name)
    assert CLASSIFIER.classify(shape(name)) == product
    assert REUSED.lookup([name, name]) == [product] * 2
    assert REUSED.lookup([shape(name)])[0] == product


@given(VALID, st.integers(0, 250), st.characters(exclude_characters="\0"))
def test_a_valid_name_with_one_more_character_agrees_too(pair, at, character):
    name = pair[0][:at] + character + pair[0][at:]
    product = CLASSIFIER.classify(name)
    assert CLASSIFIER.classify(shape(name)) == product
    assert REUSED.lookup([name, shape(name)]) == [product] * 2


@pytest.mark.parametrize("piece", ["a", "-", "_", "a-", "a_", "0", "-seg000", "_o001", "_cal", "é"])
@pytest.mark.parametrize(
    "start",
    [
        "",
        "jw80500012009_01101_",
        "jw80500012009_01101_00012_",
        "jw80500012009_01101_00012_nrca1_",
        "jw80600-o009_t001_miri_",
        "jw80600-o009_t001_miri_f1130w_",
        "jw00729011001_gs-id_",
    ],
)
def test_no_hostile_name_keeps_the_classifier_long(start, piece):
    hostile = [(start + piece * 255)[: 250 - len(end)] + end for end in ("", "!", "_cal", "_image")]
    began = time.thread_time()
    for end in hostile:
        CLASSIFIER.classify(f"{end}.fits")
    assert time.thread_time() - began < 0.5  # about 0.1 ms; a runaway pattern takes ages


def test_the_cache_is_bounded_and_right_after_it_was_full(monkeypatch):
    monkeypatch.setattr(jwst, "CACHE_ANSWERS", 50)
    classifier = Classifier()
    for number in range(1000):
        assert classifier.lookup([f"a{'b' * number}.fits"])[0] is None
        assert classifier.lookup([f"jw01118008001_{number % 100:02}_msa.fits"])[0] is not None
        kept = classifier._answers.values()
        assert sum(len(found[1]) if type(found) is tuple else 1 for found in kept) <= 50


def test_names_that_are_not_fits_take_no_room_in_the_cache():
    classifier = Classifier()
    for name in ("a.jpg", "b_1.json", "é.fits", "\udcff.fits"):
        assert classifier.lookup([name])[0] is None
    assert not classifier._answers


def test_many_threads_share_a_classifier(monkeypatch):
    monkeypatch.setattr(jwst, "CACHE_ANSWERS", 30)  # so that it is replaced all the time
    classifier = Classifier()
    wrong = []

    def look():
        for _ in range(100):
            wrong.extend(name for name in KNOWN if classifier.lookup([name])[0] != KNOWN[name])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong


def test_importing_compiles_no_pattern():
    code = "import jwqlscan.naming.jwst as n; print(n._grammar.cache_info().currsize)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
