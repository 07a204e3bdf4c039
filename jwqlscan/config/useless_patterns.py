"""Patterns and names under ``[scan]`` that can match nothing: valid, but without any effect."""

from __future__ import annotations

from collections.abc import Sequence

from jwqlscan.settings import ScanSettings
from jwqlscan.text import escape


def useless_patterns(scan: ScanSettings, roots: Sequence[str], source: str = "") -> str:
    """Return in one line which patterns have no effect, and what to write; "" if all have one.

    Parameters
    ----------
    scan : ScanSettings
    roots : sequence of str
        The directories of the areas.
    source : str
        Where the keys are set: `jwqlscan.config.loader.Config.source`.
    """
    problems = {
        "scan.exclude": {one: exclude_problem(one, roots) for one in scan.exclude},
        "scan.snapshot_names": {one: name_problem(one) for one in scan.snapshot_names},
    }
    return "; ".join(
        f"{key}{source}: can match nothing: "
        + ", ".join(f"'{escape(one)}' ({why})" for one, why in reasons.items() if why)
        for key, reasons in problems.items()
        if any(reasons.values())
    )


def exclude_problem(pattern: str, roots: Sequence[str]) -> str:
    """Return why a pattern of ``scan.exclude`` can match nothing, or not what is meant; or "".

    A pattern is compared with names or, if it has a slash, with paths below an area's directory,
    such as ``d/a.tmp``. These have no slash in front and no ``.`` or ``..`` in them.

    Parameters
    ----------
    pattern : str
    roots : sequence of str
    """
    for root in sorted(roots, key=len, reverse=True):  # the innermost one first
        below = pattern.removeprefix(root.rstrip("/") + "/")
        if below != pattern and below.strip("/"):
            return f"it is compared with the path below {escape(root)}: write '{escape(below)}'"
    if pattern.startswith("/"):
        rest = pattern.strip("/")
        if not rest:
            return "it names no entry"
        advice = rest if "/" in rest else f"{rest}/"
        return f"it is compared with paths below an area's directory: write '{escape(advice)}'"
    if pattern.startswith("~/"):
        return "~ is not the home directory here; paths below an area's directory are compared"
    if {".", ".."} & set(pattern.split("/")) or "//" in pattern:
        return "paths that are compared have no '.', '..' or '//'"
    if _opens_bracket(pattern):
        return "the [ has no ]"
    return ""


def name_problem(name: str) -> str:
    """Return why a name of ``scan.snapshot_names`` can be no directory's; "" if it can be one's."""
    if "/" in name:
        return "it is compared with names, which have no slash"
    return "it is the name of no entry" if name in (".", "..") else ""


def _opens_bracket(pattern: str) -> bool:
    """Tell whether a ``[`` has no ``]``, so that fnmatch(3) takes it for itself."""
    start = pattern.find("[")
    while start != -1:
        first = start + 1 + pattern.startswith("!", start + 1)
        end = pattern.find("]", first + 1)  # one that is first is a member
        if end == -1:
            return True
        start = pattern.find("[", end)
    return False
