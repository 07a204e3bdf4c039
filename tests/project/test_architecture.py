"""Imports point one way, and nothing heavy is imported by who has no use for it."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jwqlscan

PACKAGE = Path(jwqlscan.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

# What each package, or module at the root, may import beside itself and COMMON; from the bottom up.
COMMON = "_version resource_limits text units errors"
RULES = {
    "_version": "",
    "resource_limits": "",
    "text": "",
    "units": "",
    "errors": "",
    "model": "",
    "settings": "model",
    "system": "model settings",
    "naming": "model settings",
    "config": "model settings system naming",
    "scanning": "model settings system naming",
    "store": "model settings system",
    "state": "model settings system config scanning store",
    "history": "model settings system naming store",
    "reporting": "model settings system naming store state history",
    "monitoring": "model settings system naming config store state history",
    "operations": (
        "model settings system naming config scanning store state history reporting monitoring"
    ),
    "output": (
        "model settings system naming config scanning store state history reporting monitoring"
        " operations"
    ),
    "cli": (
        "model settings system naming config scanning store state history reporting monitoring"
        " operations output"
    ),
    "__main__": "system scanning cli",
    "": "settings config scanning operations",  # jwqlscan itself: its public names, on demand
}

# Who may import what is heavy, or has an idea of its own.
ONLY_IN = {
    "bokeh": "reporting.*",
    "asyncpg": "store.postgresql*",
    "sqlite3": "store.sqlite*",
    "rich": "output.progress output.tables output.console output.documentation",
    "typer": "cli.*",
    "aiofiles": "system.atomic_files",
    "pwd": "system.accounts",  # the name service may not answer
    "grp": "system.accounts",
    "threading": (
        "scanning.* system.signals monitoring.notify system.accounts state.run_in_progress"
        " system.process_exit system.log_file __main__ operations.attempt_recorder"
    ),
}


def matches(module: str, patterns: str) -> bool:
    return any(
        module == pattern or (pattern.endswith("*") and module.startswith(pattern.rstrip(".*")))
        for pattern in patterns.split()
    )


def imported(path: Path, lazily: bool = True) -> set[str]:
    """Return the modules that a file imports, at its top or, lazily, in functions too."""
    names: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not lazily:
            return
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return names


def package_of(module: str) -> str:
    package = module.split(".")[0]
    assert package in RULES, f"{module}: put it into a package, or that into the rules of this test"
    return package


def test_the_rules_go_one_way():
    below: set[str] = set()
    for package, others in RULES.items():
        assert set(others.split()) <= below, package
        below.add(package)


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_rules(module):
    module = module.removeprefix("__init__")
    own = {name.removeprefix("jwqlscan.") for name in imported(MODULES[module or "__init__"])}
    package = package_of(module)
    order = list(RULES)
    common = [name for name in COMMON.split() if order.index(name) < order.index(package)]
    allowed = {package, *common, *RULES[package].split()}
    others = {package_of(other) for other in own & set(MODULES) - {"", "__init__"}}
    assert not others - allowed, f"{module} imports from {others - allowed}"


def test_no_module_imports_itself_through_others():
    graph = {
        module: {
            name.removeprefix("jwqlscan.")
            for name in imported(path, lazily=False)
            if name.removeprefix("jwqlscan.") in MODULES and name != "jwqlscan"
        }
        for module, path in MODULES.items()
    }
    while graph:
        free = {module for module, others in graph.items() if not others & set(graph) - {module}}
        assert free, f"these import each other: {sorted(graph)}"
        graph = {module: others for module, others in graph.items() if module not in free}


@pytest.mark.parametrize("package", ONLY_IN)
def test_what_is_heavy_is_imported_in_one_place(package):
    places = {
        module
        for module, path in MODULES.items()
        if any(name.split(".")[0] == package for name in imported(path))
    }
    assert places
    assert not {place for place in places if not matches(place, ONLY_IN[package])}


def modules_after(*arguments: str, code: str = "") -> set[str]:
    """Return the modules that a command has imported by its end."""
    code = (
        code or "from jwqlscan.__main__ import main\ntry:\n    main()\nexcept SystemExit:\n    pass"
    )
    script = f"import sys\n{code}\nsys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--help"], "bokeh asyncpg aiofiles numpy sqlite3 anyio asyncio"),
        (["run", "--help"], "bokeh asyncpg aiofiles numpy sqlite3"),
        (["scan", "--json", "."], "bokeh asyncpg aiofiles numpy sqlite3 tomllib rich.table"),
        (["scan", "."], "bokeh asyncpg aiofiles numpy sqlite3 tomllib"),
    ],
)
def test_a_command_imports_nothing_heavy_that_it_does_not_use(tmp_path, arguments, absent):
    arguments = [str(tmp_path) if word == "." else word for word in arguments]
    assert not set(absent.split()) & modules_after(*arguments)


def test_importing_the_package_imports_next_to_nothing():
    names = modules_after(code="import jwqlscan")
    assert not {name for name in names if name.startswith("jwqlscan.")}


def test_the_scanning_process_needs_nothing_but_the_standard_library():
    names = modules_after(
        code="from jwqlscan.scanning import child\n"
        "from jwqlscan.scanning.readers import available_readers, scandir\n"
        "if 'native' in available_readers(): from jwqlscan.scanning.readers import native"
    )
    foreign = {name.split(".")[0] for name in names} - sys.stdlib_module_names
    # what the interpreter itself loads for an editable install or a coverage tool is not ours
    assert not foreign & {"anyio", "typer", "rich", "bokeh", "asyncpg", "aiofiles", "click"}
    assert "asyncio" not in names


def test_no_module_is_too_long_to_read():
    lengths = {module: len(path.read_text().splitlines()) for module, path in MODULES.items()}
    assert not {module: lines for module, lines in lengths.items() if lines > 450}


def test_dates_for_people_have_one_form():
    """`units` has it; names of files, JSON and the axes of plots have others."""
    for module, path in MODULES.items():
        if module.startswith("reporting.plots."):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                is_form = re.search(r"%[Yymd].*[ -]%[mdHM]", node.value) is not None
                is_name = "T%H%M%S" in node.value or node.value == "%Y-%m-%dT%H:%M:%S"
                assert not is_form or is_name or module == "units", f"{module}:{node.lineno}"


# What runs what it reads (S14), and what copies a process that may hold threads and locks (P23).
UNSAFE_MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "multiprocessing"}
UNSAFE_CALLS = {"eval", "exec", "fork", "forkpty", "system", "popen", "fork_exec"}


@pytest.mark.case("S14", "P23")
def test_nothing_read_is_run_and_no_process_is_forked():
    for module, path in MODULES.items():
        names = {name.split(".")[0] for name in imported(path)}
        assert not names & UNSAFE_MODULES, module
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else None
                called = node.func.id if isinstance(node.func, ast.Name) else called
                assert called not in UNSAFE_CALLS, f"{module}:{node.lineno}"


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_migrations_are_numbered_without_gaps(dialect):
    from jwqlscan.store.schema import migrations

    versions = [step.version for step in migrations(dialect)]
    assert versions == list(range(1, len(versions) + 1))


def test_no_error_leaves_a_task_group_in_an_exception_group():
    """Of a group no ``except OSError`` further out knows anything, nor does the user."""
    bare = []
    for module, path in MODULES.items():
        parents: dict[ast.AST, ast.AST] = {}
        for node in ast.walk(ast.parse(path.read_text())):
            parents |= dict.fromkeys(ast.iter_child_nodes(node), node)
            if isinstance(node, ast.TryStar):  # what is raised inside comes out in a group
                bare.append(f"{module}:{node.lineno}")
            if not (isinstance(node, ast.AsyncWith) and "create_task_group" in ast.unparse(node)):
                continue
            if not any("create_task_group()" in ast.unparse(one) for one in node.items):
                continue
            above: ast.AST | None = node
            while above is not None and not (
                isinstance(above, ast.With) and "single_errors()" in ast.unparse(above.items[0])
            ):
                above = parents.get(above)
            # in signals it is around the whole event loop
            if above is None and module != "system.signals":
                bare.append(f"{module}:{node.lineno}")
    assert not bare, f"in these places put `with single_errors()` around: {bare}"
