"""Docstrings where Python was started without them (``-OO``, PYTHONOPTIMIZE=2)."""

from __future__ import annotations

import ast
import inspect
import sys
from types import FunctionType


def restore_docstrings(prefix: str) -> None:
    """Give the functions of imported modules their docstrings, which the help is made of.

    Parameters
    ----------
    prefix : str
        Of the modules' names.
    """
    for name, module in tuple(sys.modules.items()):
        if not name.startswith(prefix):
            continue
        try:
            tree = ast.parse(inspect.getsource(module))
        except OSError:  # installed without its source
            continue
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                function = getattr(module, node.name, None)
                if isinstance(function, FunctionType):
                    function.__doc__ = ast.get_docstring(node)
