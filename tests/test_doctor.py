"""`apfgan doctor`: what it says of the engines."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from apfgan import jittor_setup
from apfgan.jittor_setup import JittorSetup, OneDnn
from commands.doctor import jittor_text

ROOT = Path(__file__).parents[1]

HERE = JittorSetup(
    version="1.3.11.0",
    compiler="/usr/bin/g++",
    headers="/usr/include/python3.11",
    numpy="1.26.4",
    onednn=OneDnn.in_place,
    nvcc="/usr/local/cuda/bin/nvcc",
    gpu=False,
    cuda=False,
    respected={"cc_path": "/opt/my compilers/g++"},
    settings={"log_silent": "1", "nvcc_path": ""},
    problems=(),
)


@pytest.fixture
def on(monkeypatch):
    """Pretend to be on a machine."""
    return lambda setup: monkeypatch.setattr(jittor_setup, "inspect_jittor", lambda: setup)


def test_what_jittor_finds_what_is_set_and_what_is_respected():
    text = jittor_text(HERE)
    rows = {line[:14].strip(): line[14:] for line in text.splitlines()}
    assert rows == {
        "jittor": "1.3.11.0",
        "compiler": "/usr/bin/g++",
        "headers": "/usr/include/python3.11",
        "numpy": "1.26.4",
        "oneDNN": "in place",
        "CUDA": "/usr/local/cuda/bin/nvcc, no GPU: computes on the CPU",
        "you set": "cc_path='/opt/my compilers/g++'",
        "set for it": "log_silent=1 nvcc_path=''",
        "first use": "compiles Jittor's core: about two minutes, once",
    }


def test_every_state_of_onednn_is_said_in_other_words():
    assert len({jittor_text(replace(HERE, onednn=each)) for each in OneDnn}) == len(OneDnn)


@pytest.mark.parametrize(
    ("nvcc", "gpu", "said"),
    [
        (None, False, "no nvcc, no GPU: computes on the CPU"),
        (None, True, "no nvcc, a GPU: computes on the CPU"),
        ("/bin/nvcc", True, "/bin/nvcc, a GPU: computes on the GPU"),
    ],
)
def test_cuda_is_said_with_its_reason(nvcc, gpu, said):
    assert said in jittor_text(replace(HERE, nvcc=nvcc, gpu=gpu, cuda=bool(nvcc) and gpu))


def test_problems_come_last_in_lines_of_the_terminal():
    problems = (f"First {'very ' * 20}long. {jittor_setup.INSTALL}.", "Second.")
    text = jittor_text(replace(HERE, compiler=None, problems=problems))
    assert max(map(len, text.splitlines())) <= 80
    assert text.endswith("\n  Second.") and jittor_setup.INSTALL in text and "compiler    missing" in text


def test_without_jittor_only_how_to_get_it():
    text = jittor_text(replace(HERE, version=None, problems=(f"Jittor is not installed: {jittor_setup.INSTALL}.",)))
    assert text == f"jittor        not installed\n  Jittor is not installed: {jittor_setup.INSTALL}."


def test_text_and_json(apfgan, on, monkeypatch):
    on(HERE)
    monkeypatch.setenv("APFGAN_BACKEND", "jittor")
    code, out, _ = apfgan("doctor")
    assert code == 0 and jittor_text(HERE) in out and "\nengine        jittor (APFGAN_BACKEND says so)\n" in out
    code, out, _ = apfgan("doctor", "--json")
    found = json.loads(out)
    assert code == 0 and found["engine"] == "jittor"
    assert found["jittor"]["onednn"] == "in place" and found["jittor"]["cuda"] is False and found["jittor"]["settings"] == HERE.settings
    monkeypatch.delenv("APFGAN_BACKEND")
    assert json.loads(apfgan("doctor", "--json")[1])["engine"] == "pytorch"
    assert "\nengine        pytorch (APFGAN_BACKEND is not set)\n" in apfgan("doctor")[1]


def test_an_engine_that_is_none_is_said(apfgan, monkeypatch):
    monkeypatch.setenv("APFGAN_BACKEND", "jitter")
    code, _, error = apfgan("doctor")
    assert code == 2 and "APFGAN_BACKEND=jitter" in error


def test_jittor_is_not_imported():
    script = "import sys; from commands.doctor import doctor; doctor(as_json=True); assert not {'jittor', 'jittor_utils'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and json.loads(done.stdout)["jittor"]["numpy"], done.stderr
