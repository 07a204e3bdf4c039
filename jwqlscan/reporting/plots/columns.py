"""Columns: the figures' numbers, encoded once however many figures draw them.

A figure's JSON names a column where Bokeh would have its data; a component's text has the data
filled in, and the page fills it in when a figure is first drawn.
"""

from __future__ import annotations

import json
import re
from typing import Any, TypeAlias

import numpy as np
from bokeh.core.serialization import Serializer

from jwqlscan.reporting.plots.thinning import FloatArray

Json: TypeAlias = dict[str, Any]

_NAMED = re.compile(r'\{"type":"column","id":(\d+)\}')


class Columns:
    """The columns of a report."""

    def __init__(self) -> None:
        self._known: dict[bytes, int] = {}
        self._texts: list[str] = []

    def add(self, column: FloatArray | list[str]) -> Json:
        """Return what stands for a column in a figure's JSON."""
        if isinstance(column, list):
            key = json.dumps(column).encode()
        else:
            column = np.ascontiguousarray(column, dtype=float)
            key = column.tobytes()
        number = self._known.get(key)
        if number is None:
            number = self._known[key] = len(self._texts)
            self._texts.append(compact(Serializer(deferred=False).encode(column)))
        return {"type": "column", "id": number}

    def filled(self, text: str) -> str:
        """Return a figure's compact JSON with the columns in their places."""
        return _NAMED.sub(lambda match: self._texts[int(match[1])], text)

    def used(self, texts: list[str]) -> str:
        """Return the columns that some figures name as JSON, an object by number."""
        wanted = sorted({int(number) for text in texts for number in _NAMED.findall(text)})
        return "{" + ",".join(f'"{number}":{self._texts[number]}' for number in wanted) + "}"


def compact(data: object) -> str:
    """Return JSON that may stand in a script element.

    Notes
    -----
    JSON is JavaScript as it is; with the characters escaped that HTML gives a meaning, it can
    stand in a script element too. They occur only inside strings, where the escapes mean the same;
    U+2028 and everything else that is not ASCII is escaped by `json.dumps`.
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
