"""What is declared is what is tested; what is released holds what it needs."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile

import keras
import pytest
import tensorflow as tf
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements(*extras):
    """The dependencies, and those of some extras."""
    more = [each for name in extras for each in PROJECT["optional-dependencies"][name]]
    return list(map(Requirement, PROJECT["dependencies"] + more))


def bounds(operator, *extras):
    """Name of a package -> the version that bounds it from below (">=") or above ("<")."""
    found = [(each.name, spec) for each in requirements(*extras) for spec in each.specifier]
    return {name: spec.version for name, spec in found if spec.operator == operator}


def lowest():
    """The constraints of tests/lowest.txt."""
    lines = (ROOT / "tests" / "lowest.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_the_lowest_versions_tested_are_those_declared():
    lower = bounds(">=", "export", "test")
    for python in ("3.11", "3.12", "3.13"):
        assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]
        active = [
            each for each in lowest()
            if each.marker is None or each.marker.evaluate({"python_version": python})
        ]  # fmt: skip
        pinned = {each.name: str(each.specifier).removeprefix("==") for each in active}
        assert len(pinned) == len(active) and set(pinned) == set(lower)
        for name, bound in lower.items():
            found, declared = Version(pinned[name]), Version(bound)
            assert found == declared if python == "3.11" else found >= declared, name
    assert PROJECT["requires-python"] == ">=3.11"


def test_versions_whose_private_names_are_unknown_are_excluded():
    upper = bounds("<")
    for module in (keras, tf):  # see tests/test_private_names.py
        name = module.__name__.split(".")[0]
        assert Version(bounds(">=")[name]) <= Version(module.__version__) < Version(upper[name])


def test_the_workflow_tries_the_lowest_and_the_newest():
    yaml = pytest.importorskip("yaml")
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    matrix = jobs["tests"]["strategy"]["matrix"]
    assert matrix == {"python": ["3.11", "3.12", "3.13"], "versions": ["lowest", "newest"]}
    commands = [step.get("run", "") for step in jobs["tests"]["steps"]]
    assert any("tests/lowest.txt" in command for command in commands)
    assert "bash .ci/run" in [step.get("run") for step in jobs["gate"]["steps"]]


def test_the_gate_builds_and_tries_the_lowest():
    gate = (ROOT / ".ci" / "run").read_text()
    for command in ("-m build", "twine check --strict", "--constraint tests/lowest.txt"):
        assert command in gate
    for name in re.findall(r"\btests/[\w/.]+", gate):
        assert (ROOT / name).exists(), name


def run(*command, cwd):
    """Runs a command outside the checkout, without its path."""
    environment = {name: os.environ[name] for name in os.environ if name != "PYTHONPATH"}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert process.returncode == 0, (process.stdout + process.stderr)[-3000:]
    return process.stdout


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A folder with the wheel and the sdist, built from a copy: builds leave files behind."""
    # A folder build/ in the checkout, which `pip install .` leaves, is no such package.
    pytest.importorskip("build.env", reason="needs the package build: pip install '.[dev]'")
    folder = tmp_path_factory.mktemp("released")
    left_out = shutil.ignore_patterns(".git", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, folder / "source", ignore=left_out)
    run(sys.executable, "-m", "build", "--outdir", folder, folder / "source", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def python(released):
    """The Python of an environment with the wheel; other packages are those of this one."""
    folder = released / "environment"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=released)
    # Such a file adds folders to search, without what their own .pth files add: editable installs.
    others = [path for path in sys.path if path.endswith("site-packages")]
    pathlib.Path(site.strip(), "others.pth").write_text("\n".join(others))
    (wheel,) = released.glob("*.whl")
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index")
    # Where the wheel is already among the others, as in the gate, it is installed all the same.
    run(*pip, "--no-deps", "--ignore-installed", wheel, cwd=released)
    return python


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_no_more(released):
    (wheel,) = released.glob("*.whl")
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    package = ROOT / "keras_genimg"
    files = [path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert sorted(names) == sorted(str(path.relative_to(ROOT)) for path in files)
    assert wheel.stat().st_size <= 18_000_000


@pytest.mark.slow
def test_the_wheel_trains_outside_the_checkout(python, tmp_path):
    where = run(python, "-c", "import keras_genimg; print(keras_genimg.__file__)", cwd=tmp_path)
    assert where.startswith(str(python.parents[1]))
    command = python.parent / "keras-genimg"
    run(command, "train", "gan", "--steps-per-epoch", 2, "--epochs", 1, cwd=tmp_path)
    made = {path.name for path in (tmp_path / "runs" / "gan").iterdir()}
    assert {"samples.png", "model.keras", "saved_model", "run.json"} <= made


@pytest.mark.slow
def test_the_tests_of_the_sdist_run(released, python, tmp_path):
    """Those that read files beside the package: data, golden files, docs, tutorials."""
    (sdist,) = released.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    paths = [f"tests/test_{name}.py" for name in ("readme", "tutorials", "packaging", "golden")]
    chosen = "not python_runs and not trained_further and (not golden_file or vae_mixture)"
    # Without -P, the package beside the tests would be imported, not the installed one.
    paths.append("tests/data/test_glyphs.py")
    output = run(python, "-P", "-m", "pytest", "-n", "0", "-k", chosen, *paths, cwd=source)
    assert "passed" in output
