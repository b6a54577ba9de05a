"""How the house is built: short files and functions, no circles, imports where a reader looks."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted([*(ROOT / "bcsim").rglob("*.py"), *(ROOT / "cli").rglob("*.py")])
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text("utf-8")) for path in FILES}
MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_FUNCTION = 450, 60
# Packages that take long to import, or need not be there; `import torch` alone takes seconds.
LATE = {"joblib", "librosa", "pyroomacoustics", "rich", "torch"}


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body, without the docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if not body:
        return 0
    last = body[-1].end_lineno
    assert last is not None
    return last - body[0].lineno + 1


def imported(node: ast.AST) -> list[str]:
    """The modules, or names in modules, that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def test_no_file_is_too_long_to_read_in_one_sitting():
    long = {
        path.relative_to(ROOT).as_posix(): path.read_text("utf-8").count("\n") for path in FILES
    }
    assert {name for name, n in long.items() if n > MOST_LINES_OF_A_FILE} == set()


def test_no_function_is_too_long_to_be_one_thing():
    long = {f"{path} {f.name}": length(f) for path, tree in TREES.items() for f in functions(tree)}
    assert {name for name, n in long.items() if n > MOST_LINES_OF_A_FUNCTION} == set()


def module_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


MODULES = {module_of(path) for path in TREES}


def at_the_top(node: ast.AST) -> Iterator[ast.AST]:
    """Every statement that runs when the module is imported, under `if` and `try` as well."""
    for child in ast.iter_child_nodes(node):
        for_types = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if not later and not for_types:
            yield child
            yield from at_the_top(child)


def test_no_import_goes_in_a_circle():
    graph = {}
    for path, tree in TREES.items():
        names = [name for node in at_the_top(tree) for name in imported(node)]
        names = [name if name in MODULES else name.rpartition(".")[0] for name in names]
        graph[module_of(path)] = {name for name in names if name in MODULES}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_only_heavy_packages_are_imported_in_functions():
    """The command line imports late so that `--help` is quick; `bcsim` itself has lazy names."""
    for path, tree in TREES.items():
        if path.startswith("cli/") or path == "bcsim/__init__.py":
            continue
        for function in functions(tree):
            names = {name.split(".")[0] for node in ast.walk(function) for name in imported(node)}
            assert names <= LATE, f"{path}: {function.name}"
