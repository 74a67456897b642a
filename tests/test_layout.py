"""The shape of the repository: which package may import which, what ships, what is documented."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("apfgan", "commands", "metrics", "reports", "selection")

_LEAVES = {"errors", "files", "labels", "images", "records", "measured", "confusion", "composite"}
LEAVES_OF_METRICS = {f"apfgan.{name}" for name in (*_LEAVES, "progress")}
_READ_BY_REPORTS = {
    "candidates",
    "config",
    "data",
    "failures",
    "guards",
    "runs",
    "noise",
    "picks",
    "prints",
    "progress",
    "ranking",
    "single_class",
    "spending",
}
LEAVES_OF_REPORTS = {f"apfgan.{name}" for name in (*_LEAVES, *_READ_BY_REPORTS)}
ALLOWED = {
    "apfgan": {"apfgan"},
    "metrics": {"metrics", *LEAVES_OF_METRICS},
    "reports": {"reports", *LEAVES_OF_REPORTS},
    "selection": {"selection", "metrics", "apfgan"},
    "commands": {"commands", "selection", "metrics", "reports", "apfgan"},
    "cli": {"cli", "commands", "apfgan"},
}
TORCH_FREE = [
    *sorted(LEAVES_OF_REPORTS | LEAVES_OF_METRICS),
    *(f"apfgan.{name}" for name in ("engines", "folders", "image_sets", "jittor_setup", "landscapes", "threads")),
]


def module_name(path: Path) -> str:
    """`apfgan.files` for apfgan/files.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> dict[str, str]:
    """Source of each module that ships, by name."""
    paths = [ROOT / "cli.py", *(path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))]
    return {module_name(path): path.read_text(encoding="utf-8") for path in paths if path.exists()}


def imports(module: str, source: str, *, top_level: bool = False) -> Iterator[str]:
    """Dotted names that a module imports, `a.b.c` for `from a.b import c`; only those that run at its import if `top_level`."""
    pending: list[ast.AST] = [ast.parse(source)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            yield from (".".join([*above, *filter(None, [node.module]), alias.name]) for alias in node.names)
        elif not (top_level and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)):
            pending.extend(ast.iter_child_nodes(node))


def belongs_to(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def is_light(module: str) -> bool:
    """Whether the module has to load without PyTorch."""
    return module in TORCH_FREE or any(belongs_to(module, package) for package in ("cli", "commands", "reports"))


def wrong_imports(module: str, source: str) -> list[str]:
    """Imports of `module` that point where they may not."""
    allowed = ALLOWED[module.partition(".")[0]]
    return [
        f"{module} imports {name}; it may import {', '.join(sorted(allowed))}"
        for name in imports(module, source)
        if any(belongs_to(name, package) for package in ALLOWED) and not any(belongs_to(name, package) for package in allowed)
    ]


def undocumented(module: str, source: str) -> list[str]:
    """Public classes, functions and methods of `module` that have no docstring, and the module itself."""

    def look(node: ast.AST, name: str) -> Iterator[str]:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not ast.get_docstring(node):
            yield name
        if isinstance(node, ast.Module | ast.ClassDef):
            for child in node.body:
                if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
                    yield from look(child, f"{name}.{child.name}")

    return list(look(ast.parse(source), module))


@pytest.mark.parametrize("module", sources())
def test_imports_point_down(module):
    assert wrong_imports(module, sources()[module]) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("apfgan.files", "import metrics"),
        ("apfgan.files", "from cli import app"),
        ("apfgan.networks.blocks", "from selection.ranking import rank"),
        ("metrics.fid", "from apfgan.networks import generator"),
        ("metrics.fid", "from apfgan import runs"),
        ("metrics.fid", "import apfgan.runs as r"),
        ("metrics.fid", "from ..apfgan import runs"),
        ("metrics.fid", "from apfgan.files_of_another_kind import x"),
        ("metrics.fid", "def f():\n    if True:\n        import apfgan.training"),
        ("reports.page", "import metrics.frechet"),
        ("reports.page", "from apfgan.checkpoints import load_weights"),
        ("reports.page", "import apfgan"),
        ("selection.ranking", "from reports import tables"),
        ("selection.ranking", "import cli"),
        ("selection.ranking", "from commands.opening import run_search"),
        ("commands.pick", "from cli import app"),
        ("cli", "from selection import picking"),
    ],
)
def test_checker_sees_planted_violations(module, line):
    assert len(wrong_imports(module, f'"""Doc."""\nimport json\n{line}\n')) == 1


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("apfgan.files", "from apfgan.errors import UsageError"),
        ("apfgan.files", "from .errors import UsageError"),
        ("metrics.fid", "from apfgan.errors import DataError\nimport metrics.judges, torch"),
        ("metrics.fid", "from apfgan import files"),
        ("metrics.fid", "import apfganlike, clinical"),
        ("reports.page", "from apfgan.runs import Run\nfrom reports.tables import write"),
        ("selection.ranking", "from metrics import frechet\nfrom apfgan.training import train"),
        ("commands.rank", "import reports.page, selection.ranking, metrics, apfgan.training, commands.opening"),
        ("cli", "from commands import rank\nfrom apfgan.errors import ApfganError"),
    ],
)
def test_checker_lets_the_rest_pass(module, line):
    assert wrong_imports(module, line) == []


def test_reports_never_touch_torch():
    found = {(module, name) for module, source in sources().items() if belongs_to(module, "reports") for name in imports(module, source)}
    assert [pair for pair in found if belongs_to(pair[1], "torch") or belongs_to(pair[1], "transformers")] == []


def test_torch_is_not_imported_at_the_top_of_light_modules():
    source = "import json\nclass A:\n    import torch.nn\ndef f():\n    import torchvision\nif True:\n    from torch import nn\n"
    assert set(imports("a", source, top_level=True)) == {"json", "torch.nn"}
    for module in sources():
        if is_light(module):
            assert not any(belongs_to(name, "torch") for name in imports(module, sources()[module], top_level=True)), module


def test_light_modules_load_without_torch():
    """What the one before cannot see: torch by way of another module."""
    modules = [module for module in sources() if is_light(module)]
    script = f"import sys, {', '.join(modules)}\nassert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", sources())
def test_everything_public_is_documented(module):
    assert undocumented(module, sources()[module]) == []


def test_checker_sees_what_is_not_documented():
    source = 'def f(): pass\ndef _g(): pass\nclass C:\n    """Doc."""\n    def m(self): pass\n    def __len__(self): pass\nasync def h(): "Doc."\n'
    assert undocumented("a", source) == ["a", "a.f", "a.C.m"]


def test_everything_that_exists_ships():
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert set(wheel["only-include"]) == folders | {path.name for path in ROOT.glob("*.py")} == {*PACKAGES, "cli.py"}


def test_every_package_is_one_and_typed():
    for package in PACKAGES:
        assert (ROOT / package / "py.typed").exists()
        for path in (ROOT / package).rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), path


def test_statistics_need_no_torch():
    """A network runs on its device; what is made of its features is NumPy in float64, on any machine."""
    modules = [f"metrics.{name}" for name in ("frechet", "reference", "kid", "manifold", "floor", "judges", "scorer")]
    done = subprocess.run([sys.executable, "-c", f"import sys, {', '.join(modules)}\nassert 'torch' not in sys.modules"], cwd=ROOT, check=False)
    assert done.returncode == 0


def test_every_test_that_the_documents_name_is_there():
    for page in (ROOT / "docs").glob("*.md"):
        for file, name in re.findall(r"`(test_\w+\.py)::(\w+)`", page.read_text(encoding="utf-8")):
            assert f"def {name}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), f"{page.name}: {file}::{name}"
