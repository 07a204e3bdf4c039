"""Which rows of a long history are drawn."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
IntArray: TypeAlias = npt.NDArray[np.int64]

# A plot is some 600 px wide, so 2 points a pixel and more can't be distinguished; and 480 series of
# 1,000 points make a page of 5 MB (7 MB with Bokeh 3.7, which does not compress them).
POINTS = 1_000
# Series that peak on different days keep more rows than POINTS; where they would keep more than
# this, the buckets get wider.
MAX_POINTS = 1_250
MAX_FORCED = 250
# The newest year of daily runs is drawn run by run: readers zoom in there, and seldom elsewhere.
RECENT = 370


def kept_rows(values: FloatArray, wanted: IntArray | None = None) -> IntArray:
    """Choose the rows to draw: all of a short history, else about `POINTS` of them.

    The newest `RECENT` rows are all among them; the older are thinned.

    Parameters
    ----------
    values : ndarray of float, shape (n_series, n_rows)
        NaN where a series has no value.
    wanted : ndarray of int, optional
        Rows to keep in any case, if there are not too many of them.

    Returns
    -------
    ndarray of int
        Ascending. Of every series the first and the last value, the beginning of each gap and, of
        every bucket of rows, the smallest and the largest value are among them.

    Notes
    -----
    All series of a plot share the rows, so that they share one column of dates.
    """
    n_series, n_rows = values.shape
    if n_rows <= POINTS or n_series == 0:
        return np.arange(n_rows)
    forced = np.zeros(n_rows, dtype=bool)
    forced[0] = forced[-RECENT:] = True
    finite = np.isfinite(values)
    forced[finite.argmax(axis=1)] = True
    forced[n_rows - 1 - finite[:, ::-1].argmax(axis=1)] = True
    gaps = np.flatnonzero((finite[:, :-1] & ~finite[:, 1:]).any(axis=0)) + 1
    for rows in (gaps, wanted):
        if rows is not None and len(rows) <= MAX_FORCED:
            forced[rows] = True
    buckets = (POINTS - RECENT) // 2
    older = slice(0, n_rows - RECENT)
    while True:
        kept = forced.copy()
        kept[older] |= _extremes(values[:, older], finite[:, older], buckets)
        if kept.sum() <= MAX_POINTS or buckets == 1:
            return np.flatnonzero(kept)
        buckets //= 2


def _extremes(values: FloatArray, finite: BoolArray, buckets: int) -> BoolArray:
    """Mark the rows where some series has the smallest or the largest value of a bucket."""
    n_series, n_rows = values.shape
    width = -(-n_rows // buckets)
    buckets = -(-n_rows // width)
    padding = buckets * width - n_rows
    marks = np.zeros(buckets * width, dtype=bool)
    first = np.arange(buckets) * width
    for fill, choose in ((np.inf, np.argmin), (-np.inf, np.argmax)):
        filled = np.pad(
            np.where(finite, values, fill), ((0, 0), (0, padding)), constant_values=fill
        )
        chosen = choose(filled.reshape(n_series, buckets, width), axis=2)
        marks[(chosen + first).ravel()] = True
    return marks[:n_rows]
