"""What is marked `both_engines`, on Jittor: a test session of its own, in another process."""

import ast
from pathlib import Path
from xml.etree import ElementTree

import pytest

from apfgan.engines import Engine
from tests.engines import ROOT, start_on

MARK = "both_engines"
TESTS = ROOT / "tests"
MARKED = [path for path in sorted(TESTS.glob("test_*.py")) if f"pytest.mark.{MARK}" in path.read_text(encoding="utf-8")]

UNTRIED = {
    "Distributed": "the type of what `distribute` gives",
    "Work": "the type of what `counted_work` gives",
    "World": "the type of `ALONE`",
    "compile_anew": "does nothing in Jittor, which compiles whatever it computes; PyTorch's is in test_precision.py",
}
"""Words that no such test names, with the reason."""


@pytest.mark.jittor
def test_what_every_engine_does_holds_on_jittor(tmp_path: Path) -> None:
    results = tmp_path / "results.xml"
    session = start_on(Engine.jittor, "pytest", "-m", MARK, "-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--junit-xml={results}", *MARKED)
    said, _ = session.communicate()
    assert results.exists(), said
    cases = list(ElementTree.parse(results).iter("testcase"))
    failed = [(case, found) for case in cases for found in (*case.findall("failure"), *case.findall("error"))]
    if failed:
        pytest.fail("\n\n".join(f"{case.get('classname')}::{case.get('name')}\n{found.text}" for case, found in failed), pytrace=False)
    assert session.returncode == 0 and len(cases) > 100, said


def words(engine: Engine) -> list[str]:
    """What an engine's vocabulary lists, read without starting the engine."""
    tree = ast.parse((ROOT / "apfgan" / "backend" / engine / "__init__.py").read_text(encoding="utf-8"))
    (listed,) = (node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__")
    return ast.literal_eval(listed)


def test_engines_have_the_same_words() -> None:
    assert words(Engine.jittor) == words(Engine.pytorch) == sorted(words(Engine.pytorch), key=lambda word: (not word.isupper(), word.islower(), word))


def test_every_word_is_tried_on_both_engines() -> None:
    tried = {node.id for path in MARKED for part in marked(path) for node in ast.walk(part) if isinstance(node, ast.Name)}
    assert set(words(Engine.pytorch)) - tried == set(UNTRIED)


def marked(path: Path) -> list[ast.stmt]:
    """What is marked of a file: everything, or some functions."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    if any(isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark" and MARK in ast.unparse(node.value) for node in body):
        return body
    return [node for node in body if isinstance(node, ast.FunctionDef) and any(MARK in ast.unparse(mark) for mark in node.decorator_list)]
