"""Naming schemes: how the file names of an archive are read, of JWST's or another.

`jwst` is the grammar in `jwqlscan.naming.jwst`. Every other scheme is some regular expressions,
those of `BUILT_IN` as well as those of the configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from jwqlscan.model.cube import FileClass
from jwqlscan.model.tally import Product
from jwqlscan.naming.jwst import INSTRUMENT_LABELS, Classifier
from jwqlscan.settings import JWST, Scheme

if TYPE_CHECKING:
    from jwqlscan.naming.patterns import Pattern

# A label as it is stored, in lower case.
LABEL = re.compile(r"[a-z0-9][a-z0-9_.+-]{0,39}", re.ASCII)

# A pattern may take any word for a filetype, and a hostile tree have any number of them.
MAX_PRODUCTS = 1000

_HST_LETTERS = {
    "f": "fgs",
    "i": "wfc3",
    "j": "acs",
    "l": "cos",
    "n": "nicmos",
    "o": "stis",
    "u": "wfpc2",
    "v": "hsp",
    "w": "wfpc",
    "x": "foc",
    "y": "fos",
    "z": "ghrs",
}
_ROMAN_SKYCELL = "r?[0-9]{3}d?[pm][0-9]{2}x[0-9]{2}y[0-9]{2}"
BUILT_IN = {
    JWST: Scheme(),
    # ipppssoot_suffix: instrument, program (3 characters of its own), set, observation, source. And
    # the products of the Hubble Advanced Products, of a visit and of a cell of the sky.
    "hst": Scheme(
        "hst",
        (".fits",),
        (
            "(?P<instrument>[a-z])(?P<program>[a-z0-9]{3})[a-z0-9]{5}"
            "_(?P<filetype>[a-z][a-z0-9]*(?:_[a-z][a-z0-9]*)?)",
            "hst_(?:[0-9]{4,5}_[a-z0-9]{2}|skycell-p[0-9]{4}x[0-9]{2}y[0-9]{2})"
            "_(?P<instrument>acs|wfc3|wfpc2)(?:_[a-z0-9-]+){2,3}_(?P<filetype>[a-z][a-z0-9]*)",
        ),
        tuple((_HST_LETTERS | {name: name for name in ("acs", "wfc3", "wfpc2")}).items()),
    ),
    # Exposures (program, plan, pass, segment, observation, visit _ exposure _ detector _ optical
    # element _ suffix; older ones have no optical element, and the visit file's numbers), and
    # mosaics of the cells of the sky. All are of the Wide Field Instrument, which most do not name.
    "roman": Scheme(
        "roman",
        (".asdf",),
        (
            "(?i)r(?P<program>[0-9]{5})[0-9]{14}_(?:[0-9]{5}_)?[0-9]{4}_(?P<instrument>wfi)[0-9]{2}"
            "(?:_(?:f[0-9]{3}|grism|prism|dark))?"
            "_(?P<filetype>[a-z]+(?:_[a-z]+)?|wfi18_transient)",
            "(?i)r(?P<program>[0-9]{5})_[a-z][0-9]*_(?:full|user|[a-z][0-9]+(?:_[0-9]{4})?)"
            f"_{_ROMAN_SKYCELL}(?:_f[0-9]{{3}})?(?P<instrument>)_(?P<filetype>[a-z]+)",
        ),
        (("wfi", "wfi"), ("", "wfi")),
    ),
}

_JWST_ALONE = INSTRUMENT_LABELS.keys() - set(_HST_LETTERS.values())

# How instruments are shown; those that are not here, as they are stored.
_LABELS = INSTRUMENT_LABELS | {
    **{name: name.upper() for name in ("acs", "cos", "foc", "fos", "ghrs", "hsp", "nicmos")},
    **{name: name.upper() for name in ("stis", "wfc3", "wfi", "wfpc2")},
    "wfpc": "WFPC",
}


def instrument_labels(stored: Iterable[str]) -> dict[str, str]:
    """Return how instruments are shown, of those stored: all of JWST's first, if there is one.

    What no scheme of ours can have stored is left out: these labels become names of files.
    """
    found = {instrument for instrument in stored if LABEL.fullmatch(instrument)}
    others = sorted(found - INSTRUMENT_LABELS.keys())
    # HST, too, has an instrument fgs.
    jwst = INSTRUMENT_LABELS if not others or found & _JWST_ALONE else {}
    labels = {name: _LABELS.get(name, name) for name in sorted(found)}
    return jwst | {name: label for name, label in labels.items() if name not in jwst}


class NameClassifier(Protocol):
    """Tells products from names; one serves any number of threads.

    Attributes
    ----------
    endings : tuple of str
        Endings of the names that it classifies.
    product_extension : str
        What extension its products have.
    program_prefix : str
    program_digits : int
        The prefix and number of digits that names of a program begin with. 0 digits: use `program`.
    """

    endings: tuple[str, ...]
    product_extension: str
    program_prefix: str
    program_digits: int

    def classify(self, name: str) -> Product | None:
        """Return the product of a name with one of the endings; None if it has none."""
        ...

    def lookup(self, names: list[str]) -> list[Product | None]:
        """Return what `classify` returns for each name: for millions of names."""
        ...

    def program(self, name: str) -> str | None:
        """Return the program in a name; None if it has none."""
        ...

    def unrecognized(self, name: str) -> FileClass:
        """Return the class of a file whose name has one of the endings but no product."""
        ...

    def kept_digits(self, with_programs: bool) -> tuple[int, int]:
        """Return from which character up to which digits matter in runs of 3 or more.

        Other digits there may differ: the names are classified alike and, `with_programs`, are of
        the same program, unless `program_digits` has those.
        """
        ...


def make_classifier(scheme: Scheme, extra_filetypes: Iterable[str] = ()) -> NameClassifier:
    """Return the classifier of a scheme.

    Raises
    ------
    ValueError
        If one of its patterns, or an extra filetype, can't be used; in one line.
    """
    if scheme.name == JWST:
        return Classifier(extra_filetypes)
    return PatternClassifier(scheme)


class PatternClassifier:
    """Tell products from names by regular expressions; see `NameClassifier`.

    The first that matches the whole name without its ending decides.

    Parameters
    ----------
    scheme : Scheme

    Raises
    ------
    ValueError
        If a pattern can't be used.

    Notes
    -----
    Names are not remembered: to look one up takes a third of the time that to match it does, and
    an archive such as HST's has no two names of one shape.
    """

    program_prefix = ""
    program_digits = 0

    def __init__(self, scheme: Scheme) -> None:
        self.endings = scheme.endings
        extensions = dict.fromkeys(ending.rpartition(".")[2] for ending in scheme.endings)
        self.product_extension = " or ".join(extensions).lower()
        self._patterns = [_numbered(text, at) for at, text in enumerate(scheme.patterns, 1)]
        self._instruments = dict(scheme.instruments)
        self._reads_programs = any("program" in p.regex.groupindex for p in self._patterns)
        # By the labels in a name; each change of a dict is one atomic operation.
        self._products: dict[tuple[str, str], Product] = {}

    def classify(self, name: str) -> Product | None:
        """Return the product of a name; None if it has none."""
        match = self._match(name)
        if match is None:
            return None
        labels = (match["instrument"], match["filetype"])
        product = self._products.get(labels)
        if product is None:
            product = self._product(*labels)
            if product is not None and len(self._products) < MAX_PRODUCTS:
                self._products[labels] = product
            elif product not in self._products.values():
                return None
        return product

    def lookup(self, names: list[str]) -> list[Product | None]:
        """Return what `classify` returns for each name."""
        return [self.classify(name) for name in names]

    def program(self, name: str) -> str | None:
        """Return the program in a name; None if it has none."""
        if not self._reads_programs:
            return None
        match = self._match(name)
        program = None if match is None else match.groupdict().get("program")
        if not program or not LABEL.fullmatch(program.lower()):
            return None
        return program.lower()

    def unrecognized(self, name: str) -> FileClass:
        """Return the class of a file whose name has one of the endings but no product."""
        return FileClass("", name.rpartition(".")[2].lower())

    def kept_digits(self, with_programs: bool) -> tuple[int, int]:
        """Return from which character up to which digits matter in runs of 3 or more."""
        kept = [p.kept_with_program if with_programs else p.kept for p in self._patterns]
        some = [(start, stop) for start, stop in kept if start < stop] or [(0, 0)]
        return min(start for start, _ in some), max(stop for _, stop in some)

    def _match(self, name: str) -> re.Match[str] | None:
        if not name.isascii():
            return None
        for ending in self.endings:
            if name.endswith(ending):
                stem = name[: -len(ending)]
                for pattern in self._patterns:
                    if match := pattern.regex.fullmatch(stem):
                        return match
        return None

    def _product(self, instrument: str | None, filetype: str | None) -> Product | None:
        if instrument is None or filetype is None:
            return None
        stored: str | None = instrument.lower()
        if self._instruments:
            stored = self._instruments.get(stored or "")
        if stored and LABEL.fullmatch(stored) and LABEL.fullmatch(filetype.lower()):
            return Product(stored, filetype.lower())
        return None


def _numbered(text: str, number: int) -> Pattern:
    from jwqlscan.naming.patterns import read_pattern  # a scan of a JWST archive does without

    try:
        return read_pattern(text)
    except ValueError as error:
        raise ValueError(f"pattern {number}: {error}") from None
