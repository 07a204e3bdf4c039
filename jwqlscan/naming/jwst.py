"""JWST file names: the instrument and the product of a FITS file.

Only the name is used. A name without a known product is not an error: it is counted as
None, and whoever counts keeps a sample of its shape.

Notes
-----
Inside runs of 3 or more digits no digit's value matters to the grammar below: there every digit is
``[0-9]``, and each literal that holds digits (``nrca1``, ``acq2``, ``s2d``) holds runs of at most 2
and stands between characters that are not digits. So a name and its `shape` classify alike, and
an archive of millions of files has some hundreds of shapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple

from jwqlscan.model.cube import PRODUCT_EXTENSION, FileClass
from jwqlscan.model.tally import Product

FITS = ".fits"

# The class of a FITS file whose name has no known product: its extension.
UNRECOGNIZED = FileClass("", "fits")

INSTRUMENT_LABELS = {
    "fgs": "FGS",
    "miri": "MIRI",
    "nircam": "NIRCam",
    "niriss": "NIRISS",
    "nirspec": "NIRSpec",
}

DETECTORS = {
    "fgs": "guider1 guider2",
    "miri": "mirimage mirifulong mirifushort",
    "nircam": "nrca1 nrca2 nrca3 nrca4 nrcalong nrcb1 nrcb2 nrcb3 nrcb4 nrcblong nrca5 nrcb5",
    "niriss": "nis",
    "nirspec": "nrs1 nrs2",
}

_FILETYPES_BY_KIND = {
    "generic": "uncal ramp rate rateints fitopt trapsfilled dark bsub bsubints mbsub cal calints"
    " crf crfints i2d s2d s3d x1d x1dints c1d cat segm median blot snr original",
    "time series": "phot whtlt",
    "coronagraphy": "psfstack psfalign psfsub",
    "NIRISS AMI": "ami amiavg aminorm amilg ami-oi aminorm-oi amimulti-oi psf-amiavg psf-ami-oi",
    "wavefront sensing": "wfscmb",
    "MSA": "msa",
    "guide star": "stream image_cal image_uncal stacked_cal stacked_uncal",
}
FILETYPES = frozenset(word for words in _FILETYPES_BY_KIND.values() for word in words.split())
GUIDE_STAR_FILETYPES = frozenset([*_FILETYPES_BY_KIND["guide star"].split(), "cal", "uncal"])

# Filetypes that may be followed by "-" and the activity they were made from, two characters.
WITH_ACTIVITY = frozenset(["wfscmb"])

# What stage of the pipelines makes a filetype, beside those that guide star data is. Some are made
# twice, of one exposure and of all of an association, under one suffix: the filetype is the same.
_FILETYPES_BY_STAGE = {
    "0/1": "uncal ramp rate rateints fitopt trapsfilled dark",
    "2": "bsub bsubints cal calints crf crfints",  # crf is made in stage 3, and called 2c
    "2/3": "i2d s2d s3d x1d x1dints",
    "3": "mbsub c1d cat segm median blot phot whtlt psfstack psfalign psfsub wfscmb"
    f" {_FILETYPES_BY_KIND['NIRISS AMI']}",
    "guide star": _FILETYPES_BY_KIND["guide star"],
}
NO_STAGE = "other"
STAGES = (*_FILETYPES_BY_STAGE, NO_STAGE)
_STAGE_OF = {word: stage for stage, words in _FILETYPES_BY_STAGE.items() for word in words.split()}

# Names of a program begin with this and the program's number, of this many digits.
PROGRAM_PREFIX = "jw"
PROGRAM_DIGITS = 5

# An archive has some hundreds of shapes; a hostile one has no end of them. So many answers, at the
# 255 bytes a name can have, take 39 MB (measured).
CACHE_ANSWERS = 50_000

_INSTRUMENT_OF = {token: name for name, tokens in DETECTORS.items() for token in tokens.split()}
_DIGITS_TO_0 = bytes.maketrans(b"123456789", b"000000000")


class _Grammar(NamedTuple):
    """The four kinds of names, lower case, without ``.fits``; no name is of two kinds."""

    exposure: re.Pattern[str]
    stage3: re.Pattern[str]
    guide_star: re.Pattern[str]
    msa: re.Pattern[str]


@cache
def _grammar() -> _Grammar:
    # Compiled at the first name, as importing this must stay cheap. No pattern has two ways to
    # match one text (a repeated group starts with a separator that its body can't hold), so none
    # can run away.
    association = "(?:o[0-9]{3}|[acr][0-9]{4})"
    target = "(?:t[0-9]{3}(?:-s[0-9]{9})?|s[0-9]{5}|[sbv][0-9]{9})(?:-epoch[0-9])?"
    return _Grammar(
        exposure=re.compile(
            "jw[0-9]{11}_[0-9]{3}[0-9a-z]{2}_[0-9]+(?:-seg[0-9]{3})?_(?P<detector>[a-z0-9]+)"
            f"(?:_{association})?_(?P<filetype>[a-z0-9_-]+)"
        ),
        stage3=re.compile(
            f"jw[0-9]{{5}}-{association}_{target}_(?P<instrument>{'|'.join(INSTRUMENT_LABELS)})"
            "_(?P<optics_filetype>[a-z0-9]+(?:[-_][a-z0-9]+)*)"
        ),
        guide_star=re.compile(
            "jw[0-9]{11}_gs-(?:id|acq1|acq2|track|fg)_(?:[0-9]{1,3}|[0-9]{13})(?:-seg[0-9]{3})?"
            "_(?P<filetype>[a-z0-9_-]+)"
        ),
        msa=re.compile("jw[0-9]{11}_[0-9]{2}_msa"),
    )


def stage(product: Product | FileClass) -> str:
    """Return which of `STAGES` a product is of; `NO_STAGE` if it is none of JWST's.

    Products of one filetype have one stage, also where the archive has two kinds of it.
    """
    if product.instrument not in INSTRUMENT_LABELS:
        return NO_STAGE
    return _STAGE_OF.get(product.filetype, NO_STAGE)


def program(name: str) -> str | None:
    """Return the program in a name, five digits; None if it has none."""
    digits = name[len(PROGRAM_PREFIX) : len(PROGRAM_PREFIX) + PROGRAM_DIGITS]
    if (
        name.startswith(PROGRAM_PREFIX)
        and len(digits) == PROGRAM_DIGITS
        and digits.isascii()
        and digits.isdigit()
    ):
        return digits
    return None


def shape(name: str) -> str:
    """Return a name with every digit of runs of 3 or more ASCII digits replaced by ``0``."""
    return re.sub("[0-9]{3,}", lambda run: "0" * len(run[0]), name)


class Classifier:
    """Tell products from names; one serves any number of threads.

    Parameters
    ----------
    extra_filetypes : iterable of str, optional
        Product suffixes to recognize besides `FILETYPES`, in names of every kind but MSA metadata.

    Raises
    ------
    ValueError
        If an extra filetype is not lower case letters and digits joined by single ``-`` or ``_``,
        or has a run of 3 or more digits (then a name and its shape would not classify alike).
    """

    endings: tuple[str, ...] = (FITS,)
    product_extension = PRODUCT_EXTENSION
    program_prefix = PROGRAM_PREFIX
    program_digits = PROGRAM_DIGITS
    program = staticmethod(program)

    def __init__(self, extra_filetypes: Iterable[str] = ()) -> None:
        extra = frozenset(extra_filetypes)
        for filetype in sorted(extra):
            if not re.fullmatch("[a-z0-9]+(?:[-_][a-z0-9]+)*", filetype):
                raise ValueError(
                    f"filetype {filetype!r} is not lower case letters and digits, joined by - or _"
                )
            if re.search("[0-9]{3}", filetype):
                raise ValueError(f"filetype {filetype!r} has 3 or more digits in a row")
        self._filetypes = FILETYPES | extra
        self._guide_star_filetypes = GUIDE_STAR_FILETYPES | extra
        # By a name with all its digits 0: the answer or, if it has short runs of digits, a tuple of
        # what picks those digits from the name, and the answers by those digits.
        # Threads need no lock: they change it by single, atomic dict operations or replace it as a
        # whole, and the worst they do is learn an answer twice, or lose count of some of the room.
        self._answers: dict[bytes, Any] = {}
        self._room = CACHE_ANSWERS

    def classify(self, name: str) -> Product | None:
        """Return the product of a name; None if it is not the name of a known FITS product.

        The name must end in exactly ``.fits``; the rest is matched ignoring ASCII case.
        """
        if not name.endswith(FITS) or not name.isascii():  # U+212A lowers to k
            return None
        stem = name[: -len(FITS)].lower()
        grammar = _grammar()
        instrument: str | None
        filetype: str | None
        if match := grammar.exposure.fullmatch(stem):
            instrument, filetype = _INSTRUMENT_OF.get(match["detector"]), match["filetype"]
            known = filetype in self._filetypes
        elif match := grammar.stage3.fullmatch(stem):
            instrument, filetype = match["instrument"], self._ending(match["optics_filetype"])
            known = filetype is not None
        elif match := grammar.guide_star.fullmatch(stem):
            instrument, filetype = "fgs", match["filetype"]
            known = filetype in self._guide_star_filetypes
        elif grammar.msa.fullmatch(stem):
            return Product("nirspec", "msa")
        else:
            return None
        return Product(instrument, filetype) if known and instrument and filetype else None

    def lookup(self, names: list[str]) -> list[Product | None]:
        """Return what `classify` returns for each name, from a cache: for millions of names.

        No name may hold a NUL; no file's does.
        """
        if not names:
            return []
        # Measured: all names at once take a third of the time of one by one, and bytes.translate
        # a third of str.translate's.
        joined = "\0".join(names).encode("utf-8", "surrogatepass")
        keys = joined.translate(_DIGITS_TO_0).split(b"\0")
        answers = self._answers
        found = []
        for key, name in zip(keys, names, strict=True):
            answer = answers.get(key, answers)  # itself: no answer, as None is one
            if answer.__class__ is tuple:  # no Product, though that derives from tuple
                pick, by_digits = answer
                answer = by_digits.get(pick(name), answers)
            found.append(self._learn(name) if answer is answers else answer)
        return found

    def unrecognized(self, name: str) -> FileClass:
        """Return the class of a FITS file whose name has no known product."""
        return UNRECOGNIZED

    def kept_digits(self, with_programs: bool) -> tuple[int, int]:
        """Return which digits matter in runs of 3 or more: none; see `shape`."""
        return 0, 0

    def _learn(self, name: str) -> Product | None:
        product = self.classify(name)
        if not name.endswith(FITS) or not name.isascii():
            return product  # found at once: it needs no place in the cache
        if self._room <= 0:
            self._answers = {}
            self._room = CACHE_ANSWERS
        self._room -= 1
        key = name.encode().translate(_DIGITS_TO_0)
        short = [
            at
            for run in re.finditer("[0-9]+", name)
            if len(run[0]) < 3
            for at in range(run.start(), run.end())
        ]
        if short:
            pick, answers = self._answers.setdefault(key, (itemgetter(*short), {}))
            answers[pick(name)] = product
        else:
            self._answers[key] = product
        return product

    def _ending(self, optics_filetype: str) -> str | None:
        # The longest filetype that ends it, with some optics and "_" before: image_cal, not cal.
        at = optics_filetype.find("_")
        while at >= 0:
            filetype = optics_filetype[at + 1 :]
            if filetype in self._filetypes:
                return filetype
            base, activity = filetype[:-3], filetype[-3:]
            if base in WITH_ACTIVITY and activity[0] == "-" and activity[1:].isalnum():
                return base
            at = optics_filetype.find("_", at + 1)
        return None
