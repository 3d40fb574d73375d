"""The rules of the house: who imports whom, how long files and functions are, which names are not used."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("schemas", "operators", "eventlog", "models", "flows", "api", "rejoinder")
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
# Parsed once, before any other test runs: CPython 3.11 can fail to build a tree while other threads unwind deep calls.
TREES = {path: ast.parse(path.read_text()) for path in FILES}
BELOW = {
    "schemas": {"schemas"},
    "operators": {"schemas", "operators"},
    "eventlog": {"schemas", "operators", "eventlog"},
    "models": {"schemas", "operators", "models"},
    "flows": {"schemas", "operators", "eventlog", "models", "flows"},
    "api": {"schemas", "operators", "eventlog", "models", "api"},
    "rejoinder": set(PACKAGES),
}
ONLY_IN = {
    "bytewax": ("flows",),
    "confluent_kafka": ("eventlog", "flows"),
    "fastapi": ("api", "rejoinder"),
    "sqlite3": ("eventlog", "rejoinder"),
    "chromadb": ("rejoinder",),
    "duckdb": ("rejoinder",),
    "openai": ("models",),
    "onnxruntime": ("models",),
    "torch": ("models",),
    "av": ("api",),
    "aiortc": ("api",),
    "livekit": ("api",),
}
PURE = {"asyncio", "threading", "socket", "subprocess", "time", "random", "sqlite3", "httpx", "os"}
BANNED = re.compile(r"(^|_)(manager|handler|helper|utils|process|info|service)($|_)")
THIRD_PARTY_PURE = {"pydantic", "numpy"}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found.add((node.module or "").partition(".")[0])
    return found


def package_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=short)
def test_imports_point_down_the_house(path: Path) -> None:
    package, used = package_of(path), imports(path)
    assert used & set(PACKAGES) <= BELOW[package]
    for library, homes in ONLY_IN.items():
        assert library not in used or package in homes, f"{library} belongs into {homes}"
    if package in ("schemas", "operators"):
        assert not used & PURE
        allowed = set(sys.stdlib_module_names) | THIRD_PARTY_PURE | set(PACKAGES)
        assert used <= allowed


@pytest.mark.parametrize("path", FILES, ids=short)
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            nested = any(
                isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
                for inner in ast.walk(node)
                if inner is not node
            )
            # A function that only holds others (routes of a router) is as long as they are together.
            assert length <= (120 if nested else 50), f"{node.name} has {length} lines"
            assert not BANNED.search(node.name), node.name
        elif isinstance(node, ast.ClassDef):
            assert not BANNED.search(re.sub(r"(?<!^)(?=[A-Z])", "_", node.name).lower()), node.name


@pytest.mark.parametrize("path", FILES, ids=short)
def test_everything_is_caught_only_where_one_bad_record_must_not_stop_the_rest(path: Path) -> None:
    allowed = {"eventlog/checks.py", "eventlog/sqlite.py", "flows/logic.py", "models/llm.py", "api/stream.py"}
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.ExceptHandler):
            wide = node.type is None or (
                isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
            )
            assert not wide or short(path) in allowed


def test_the_engine_knows_no_product() -> None:
    words = re.compile(r"\b(oet|price|billing|mentor)\b", re.IGNORECASE)
    for path in FILES:
        if package_of(path) != "rejoinder":
            assert not words.search(path.read_text()), short(path)


SET_FOR_NUMPY = 'os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")'
"""The one line by which a library of others is told something; it reads nothing."""


def test_the_environment_is_read_in_one_place() -> None:
    for path in FILES:
        if short(path) != "rejoinder/settings.py":
            text = path.read_text()
            if short(path) == "rejoinder/__init__.py":
                text = text.replace(SET_FOR_NUMPY, "")
            assert not re.search(r"os\.(environ|getenv)", text), short(path)


def test_no_dependency_owns_our_package_names() -> None:
    from importlib.metadata import packages_distributions

    owners = packages_distributions()
    for package in PACKAGES:
        assert set(owners.get(package, [])) <= {"rejoinder"}
