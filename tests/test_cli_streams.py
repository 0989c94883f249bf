"""Standard output and error: readers that leave, characters that cannot be encoded, warnings."""

import os
import subprocess
import sys
import warnings

import pytest
from test_cli import environment

from keras_genimg import streams
from keras_genimg.streams import standard_streams, told_warnings

# Commands of the test in place of those that need TensorFlow.
SCRIPT = """
import os, sys
sys.argv[0] = "keras-genimg"
from keras_genimg import cli
from keras_genimg.errors import tell

def list_models(options):
    for number in range(20_000):
        print(number)
    os.write(int(sys.argv[1]), b"done")

def train(options):
    for text in ("\\xfc.png", os.fsdecode(b"\\xff.png")):
        print(text, flush=True)
        print(text, file=sys.stderr)
    tell("\\xfc")

cli.OTHERS.update(list=list_models, train=train)
code = cli.main(sys.argv[2:])
print("after")
sys.exit(code)
"""


def start(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments], env=environment(**options.pop("env", {})),
        **options,
    )  # fmt: skip


@pytest.fixture
def mark(tmp_path):
    """A file in which a command writes that it has gone on to its end."""
    with open(tmp_path / "mark", "wb+") as file:
        yield file


@pytest.mark.parametrize("buffered", [{}, {"PYTHONUNBUFFERED": "1"}])
def test_a_command_goes_on_when_its_reader_has_gone(buffered, mark):
    process = start(str(mark.fileno()), "list", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    pass_fds=[mark.fileno()], env=buffered)  # fmt: skip
    assert process.stdout.readline() == b"0\n"
    process.stdout.close()
    errors = process.stderr.read()
    assert (process.wait(), errors) == (0, b"") and mark.seek(0) == 0 and mark.read() == b"done"


@pytest.mark.parametrize("closed", [[1], [2], [1, 2]])
def test_closed_streams(closed, mark):
    process = start(
        str(mark.fileno()), "list", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        pass_fds=[mark.fileno()], preexec_fn=lambda: [*map(os.close, closed)],
    )  # fmt: skip
    assert process.communicate()[1] == b"" and process.returncode == 0
    assert mark.seek(0) == 0 and mark.read() == b"done"


def test_a_full_disk_is_told():
    with open("/dev/full", "wb") as full:
        process = start("2", "list", stdout=full, stderr=subprocess.PIPE)
        _, errors = process.communicate()
    assert process.returncode != 0
    assert errors.startswith(b"keras-genimg: error: Standard output could not be written: No space")


def test_any_text_is_written():
    process = start("1", "train", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    env={"PYTHONIOENCODING": "ascii"})  # fmt: skip
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    assert out == b"\\xfc.png\n\\udcff.png\nafter\n"
    assert errors == b"\\xfc.png\n\\udcff.png\nkeras-genimg: \\xfc\n"


def test_streams_that_somebody_has_replaced_stay(capsys):
    before = sys.stdout
    with standard_streams():
        assert sys.stdout is before


def test_only_warnings_of_the_package_are_its_notices():
    given = [("new\nline", UserWarning, streams), ("of\nKeras", UserWarning, warnings),
             ("old", FutureWarning, streams)]  # fmt: skip
    with told_warnings():
        told = [warnings.formatwarning(text, category, module.__file__, 1)
                for text, category, module in given]  # fmt: skip
    assert told == ["keras-genimg: new\\nline\n", "UserWarning: of\\nKeras\n",
                    "FutureWarning: old\n"]  # fmt: skip
