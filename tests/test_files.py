"""A path has the old content or the new content, whatever fails in between."""

import errno
import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest

from keras_genimg import files
from keras_genimg.errors import InputError
from keras_genimg.files import (
    check_writable,
    dead_partials,
    partial_path,
    remove_partial,
    replace_when_complete,
)


def write(path, text="new"):
    pathlib.Path(path).write_text(text)


def listing(folder):
    return sorted(str(p.relative_to(folder)) for p in pathlib.Path(folder).rglob("*"))


def has_mark(folder):
    return os.path.exists(os.path.join(folder, "mark"))


def test_new_file_and_its_parents(tmp_path):
    path = tmp_path / "a" / "b" / "model.weights.h5"
    with replace_when_complete(path) as temporary:
        assert os.path.dirname(temporary) == str(path.parent)
        name = os.path.basename(temporary)
        assert re.fullmatch(rf"\.partial-[0-9a-f]{{8}}-{os.getpid()}\.model\.weights\.h5", name)
        write(temporary)
        assert not path.exists()
    assert path.read_text() == "new"
    assert listing(tmp_path) == ["a", "a/b", "a/b/model.weights.h5"]


def test_file_is_replaced_only_at_the_end(tmp_path):
    path = tmp_path / "x.txt"
    write(path, "old")
    with replace_when_complete(str(path)) as temporary:
        write(temporary)
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert listing(tmp_path) == ["x.txt"]


@pytest.mark.parametrize("existing", [None, "empty", "earlier"])
def test_folder_new_empty_or_earlier(tmp_path, existing):
    path = tmp_path / "out"
    if existing:
        path.mkdir()
    if existing == "earlier":
        write(path / "mark", "old")
        write(path / "gone", "old")
    with replace_when_complete(path, folder=True, replaceable=has_mark) as temporary:
        assert os.listdir(temporary) == []
        write(os.path.join(temporary, "mark"))
    assert listing(tmp_path) == ["out", "out/mark"]
    assert (path / "mark").read_text() == "new"


@pytest.mark.parametrize("replaceable", [None, has_mark])
def test_folder_with_other_content_is_refused_before_the_body(tmp_path, replaceable):
    write(tmp_path / "thesis.txt", "old")
    with pytest.raises(InputError, match="thesis.txt"):
        with replace_when_complete(tmp_path, folder=True, replaceable=replaceable):
            pytest.fail("the body must not run")
    assert listing(tmp_path) == ["thesis.txt"]


def test_folder_filled_in_the_meantime_is_kept(tmp_path):
    path = tmp_path / "out"
    with pytest.raises(InputError, match="thesis.txt"):
        with replace_when_complete(path, folder=True) as temporary:
            write(os.path.join(temporary, "x"))
            path.mkdir()
            write(path / "thesis.txt", "old")
    assert listing(tmp_path) == ["out", "out/thesis.txt"]


def test_kind_mismatch_is_refused(tmp_path):
    write(tmp_path / "file", "old")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="must name a folder"):
        with replace_when_complete(tmp_path / "file", folder=True):
            pytest.fail("the body must not run")
    with pytest.raises(InputError, match="must name a file"):
        with replace_when_complete(tmp_path / "folder"):
            pytest.fail("the body must not run")
    assert (tmp_path / "file").read_text() == "old"
    with pytest.raises(InputError, match="could not be written"):
        with replace_when_complete(tmp_path / "file" / "below" / "x"):
            pytest.fail("the body must not run")


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="no devices here")
def test_device_is_not_replaced():
    with pytest.raises(InputError, match="must name a file"):
        with replace_when_complete("/dev/null"):
            pytest.fail("the body must not run")


class NativeError(Exception):
    """Stands for the errors of native writers, which are not OSErrors."""


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        NativeError(f"function_node /x/y; {os.strerror(errno.ENOSPC)} [Op:SaveV2]"),
    ],
)
def test_disk_full(tmp_path, folder, error):
    path = tmp_path / "out"
    if folder:
        path.mkdir()
        write(path / "mark", "old")
    else:
        write(path, "old")
    before = listing(tmp_path)
    with pytest.raises(InputError) as caught:
        with replace_when_complete(path, folder=folder, replaceable=has_mark) as temporary:
            write(os.path.join(temporary, "part") if folder else temporary)
            raise error
    assert str(caught.value) == f"{path} could not be written: {os.strerror(errno.ENOSPC)}."
    assert listing(tmp_path) == before
    assert (path / "mark" if folder else path).read_text() == "old"


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyboardInterrupt(), InputError("as is")])
def test_other_errors_pass_and_new_parents_are_removed(tmp_path, error):
    with pytest.raises(type(error)) as caught:
        with replace_when_complete(tmp_path / "a" / "b" / "x") as temporary:
            write(temporary)
            raise error
    assert caught.value is error
    assert listing(tmp_path) == []


def test_failed_second_rename_restores_the_old_folder(tmp_path, monkeypatch):
    path = tmp_path / "out"
    path.mkdir()
    write(path / "mark", "old")
    rename = os.rename

    def failing(source, target):
        if os.path.basename(source).startswith(".partial-"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(InputError, match=os.strerror(errno.EIO)):
        with replace_when_complete(path, folder=True, replaceable=has_mark) as temporary:
            write(os.path.join(temporary, "mark"))
    assert listing(tmp_path) == ["out", "out/mark"]
    assert (path / "mark").read_text() == "old"


def test_nothing_written_is_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="Nothing was written"):
        with replace_when_complete(tmp_path / "x"):
            pass


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_link_is_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    write(tmp_path / "disk" / "x", "old")
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "x")
    with replace_when_complete(tmp_path / "link") as temporary:
        write(temporary)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk" / "x").read_text() == "new"


@pytest.fixture
def dead():
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def of_process(kind, process, name, host=None):
    own = os.path.basename(partial_path(name)).split("-")[1]
    return f".{kind}-{host or own}-{process}.{name}"


def test_partial_files_of_the_dead_are_removed(tmp_path, dead):
    gone = [of_process("partial", dead, name) for name in ("x", "folder")]
    kept = [
        of_process("partial", os.getpid(), "x"), of_process("partial", os.getppid(), "x"),
        of_process("partial", dead, "x", host="0" * 8),  # who knows there?
        ".partial-notes", f".partial-{dead}.x",
    ]  # fmt: skip
    (tmp_path / gone[1] / "below").mkdir(parents=True)
    for name in (gone[0], *kept):
        write(tmp_path / name)
    assert sorted(dead_partials(tmp_path)) == sorted(gone)
    remove_partial(tmp_path, "other")
    assert set(os.listdir(tmp_path)) == {*gone, *kept}
    remove_partial(tmp_path)
    assert set(os.listdir(tmp_path)) == set(kept)
    assert dead_partials(tmp_path / "nowhere") == []


@pytest.mark.parametrize("command", [remove_partial, "write", "check"])
def test_what_a_killed_process_had_set_aside_comes_back(tmp_path, dead, command):
    """It was killed between the two renames of a folder."""
    out, previous = tmp_path / "out", tmp_path / of_process("previous", dead, "out")
    new = tmp_path / of_process("partial", dead, "out")
    others = [of_process("previous", os.getpid(), "out"),
              of_process("previous", dead, "out", host="0" * 8)]  # fmt: skip
    for path in (previous, new, *(tmp_path / name for name in others)):
        path.mkdir()
        write(path / "mark", path.name)
    if command == "check":
        with pytest.raises(InputError, match="which holds mark"):
            check_writable(out, folder=True)
    elif command == "write":
        with pytest.raises(InputError, match="which holds mark"):
            with replace_when_complete(out, folder=True):
                pytest.fail("the body must not run")
    else:
        command(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(["out", *others])
    assert (out / "mark").read_text() == previous.name
    previous.mkdir()  # killed after the second one
    remove_partial(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(["out", *others])


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_killed_process_leaves_the_old_file(tmp_path):
    path = tmp_path / "x"
    write(path, "old")
    code = (
        "import os, signal, sys, types\n"
        "package = types.ModuleType('keras_genimg')\n"  # the real one imports TensorFlow
        "package.__path__ = [sys.argv[2]]\n"
        "sys.modules['keras_genimg'] = package\n"
        "from keras_genimg.files import replace_when_complete\n"
        "with replace_when_complete(sys.argv[1]) as temporary:\n"
        "    open(temporary, 'w').write('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = pathlib.Path(files.__file__).parent
    done = subprocess.run([sys.executable, "-c", code, str(path), str(root)])
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    (left,) = set(listing(tmp_path)) - {"x"}
    assert left.startswith(".partial-")


@pytest.fixture
def tiny_disk(tmp_path):
    """A real file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a file system can be mounted by root on Linux only")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_really_full_disk(tiny_disk):
    path = tiny_disk / "x"
    write(path, "old")
    with pytest.raises(InputError, match="No space left"):
        with replace_when_complete(path) as temporary:
            write(temporary, "y" * 200_000)
    assert path.read_text() == "old"
    assert listing(tiny_disk) == ["x"]
    with pytest.raises(InputError, match="mount point"):
        path.unlink()
        with replace_when_complete(tiny_disk, folder=True):
            pytest.fail("the body must not run")
