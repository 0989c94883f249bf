"""Files and folders that appear under their names only once they are complete."""

import contextlib
import errno
import functools
import hashlib
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator

from keras_genimg.errors import InputError

__all__ = [
    "check_writable", "dead_partials", "partial_path", "remove", "remove_partial",
    "replace_when_complete",
]  # fmt: skip

_TEMPORARY = re.compile(r"\.(partial|previous)-([0-9a-f]{8})-(\d+)\.(.*)", re.DOTALL)

# TensorFlow and other native writers raise their own errors, with the system's
# message inside a longer text. Windows does not have EDQUOT.
_SYSTEM_REASONS = tuple(
    os.strerror(getattr(errno, name))
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EFBIG", "EIO")
    if hasattr(errno, name)
)


@contextlib.contextmanager
def replace_when_complete(
    path: str | os.PathLike, *, folder: bool = False, replaceable: Callable | None = None
) -> Iterator[str]:
    """Yields a temporary path and moves what was written there to `path`.

    The temporary path is `.partial-HOST-PID.NAME` in the same folder as `path`. It keeps
    the whole name, since writers choose their format by the suffix, and the move
    stays on one disk. When the body ends, the content is flushed to disk and moved
    into place. If the body raises or is interrupted, the temporary content and the
    parent folders created for it are removed, and `path` is untouched. Only a
    killed process leaves its `.partial-` behind, until the same path is written again.

    A file is replaced in one step (`os.replace`): at every moment `path` is the
    old file or the new one. A folder cannot be replaced in one step: the old
    one is renamed to `.previous-PID.NAME`, the new one is renamed to `path`, and
    the old one is deleted. A process killed between the two renames leaves
    both, complete, under their dotted names. If `path` does not exist or is
    an empty folder, a folder also appears in one step (on POSIX systems).

    A symbolic link is followed: its target is replaced and the link stays.

    Args:
        path: string or path. The file or folder to write.
        folder: boolean. Whether `path` is a folder; the temporary folder then
            exists and is empty when the body starts.
        replaceable: function from a folder's path to whether that non-empty
            folder may be replaced. `None` refuses all of them.

    Yields:
        String. The temporary path to write to.

    Raises:
        InputError: `path` is a folder instead of a file or the reverse, is a
            folder with other content, or could not be written (disk full, no
            permission, ...).

    Example:

    ```python
    with replace_when_complete("run/model.keras") as temporary:
        model.save(temporary)
    ```
    """
    path = os.fspath(path)
    temporary, made, complete = None, [], False
    try:
        target = os.path.realpath(path)
        parent, name = _place_of(path, target)
        remove_partial(parent, name)
        _check_target(path, target, folder, replaceable)
        made = _missing_folders(parent)
        os.makedirs(parent, exist_ok=True)
        temporary = partial_path(os.path.join(parent, name))
        remove(temporary)  # a killed process may have had the same id
        if folder:
            os.mkdir(temporary)
        yield temporary
        if not os.path.lexists(temporary):
            raise RuntimeError(f"Nothing was written to the temporary path of {path}.")
        _flush_to_disk(temporary)
        # The path may have been used while the body ran.
        _check_target(path, target, folder, replaceable)
        if folder:
            _replace_folder(temporary, target)
        else:
            os.replace(temporary, target)
        complete = True
    except InputError:
        raise
    except Exception as error:
        reason = _reason(error, temporary)
        if reason is None:
            raise
        raise InputError(f"{path} could not be written: {reason}.") from error
    finally:
        if not complete:
            if temporary is not None:
                remove(temporary)
            for parent in made:
                with contextlib.suppress(OSError):
                    os.rmdir(parent)
    _flush_folder(os.path.dirname(target))


def check_writable(
    path: str | os.PathLike, *, folder: bool = False, replaceable: Callable | None = None
) -> None:
    """Checks what `replace_when_complete` would refuse, before there is anything to write.

    Args:
        path, folder, replaceable: see `replace_when_complete`.

    Raises:
        InputError: see `replace_when_complete`.
    """
    try:
        target = os.path.realpath(path)
        parent, name = _place_of(path, target)
        remove_partial(parent, name)
        _check_target(path, target, folder, replaceable)
        missing = [os.path.basename(each) for each in _missing_folders(parent)]
        for _ in missing:
            parent = os.path.dirname(parent)
        for each in (*missing, os.path.basename(partial_path(name))):
            with contextlib.suppress(FileNotFoundError):  # but not for a name that is too long
                os.lstat(os.path.join(parent, each))
        if not os.access(parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path} could not be written: {error.strerror}.") from error


def remove_partial(folder: str | os.PathLike, name: str | None = None) -> None:
    """Removes the temporary files and folders that killed processes of this machine left.

    What such a process had set aside, and not yet replaced, comes back. Nobody knows here
    whether the processes of other machines and containers live: what is theirs stays.

    Args:
        folder: path.
        name: string, the complete name of what was written; None for any.
    """
    for entry in dead_partials(folder, name):
        remove(os.path.join(folder, entry))
    for entry in _of_dead("previous", folder, name):
        path, target = (os.path.join(folder, each) for each in (entry, _name_in(entry)))
        if os.path.lexists(target):
            remove(path)
        else:
            with contextlib.suppress(OSError):
                os.rename(path, target)


def dead_partials(folder: str | os.PathLike, name: str | None = None) -> list:
    """The names of the incomplete files and folders that killed processes left in a folder.

    Args:
        folder, name: see `remove_partial`.

    Returns:
        list of strings; empty for a folder that cannot be read.
    """
    return _of_dead("partial", folder, name)


def partial_path(path: str | os.PathLike) -> str:
    """The temporary path of this process beside a path, see `replace_when_complete`.

    Args:
        path: path.

    Returns:
        string.
    """
    return _temporary("partial", path)


def remove(path: str | os.PathLike) -> None:
    """Removes a file, a link, or a folder with all that is in it, as far as that is possible.

    Args:
        path: path, which need not exist.
    """
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.remove(path)


def _of_dead(kind, folder, name):
    """Names of the temporary files of one kind whose process is dead."""
    try:
        matches = filter(None, map(_TEMPORARY.fullmatch, os.listdir(folder)))
    except OSError:
        return []
    return [
        match[0] for match in matches
        if match[1] == kind and name in (None, match[4])
        and match[2] == _host() and not _runs(int(match[3]))
    ]  # fmt: skip


def _name_in(entry):
    return _TEMPORARY.fullmatch(entry)[4]


def _temporary(kind, path):
    parent, name = os.path.split(path)
    return os.path.join(parent, f".{kind}-{_host()}-{os.getpid()}.{name}")


@functools.cache
def _host():
    """Where the ids of processes are those of this one: the machine, or the container."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux
        space = ""
    return hashlib.sha256(f"{socket.gethostname()} {space}".encode()).hexdigest()[:8]


def _place_of(path, target):
    """The folder of the target, and its name with the suffix of the path.

    They differ where the path is a link, and writers choose their format by the suffix.
    """
    parent, name = os.path.split(target)
    suffix = os.path.splitext(path)[1]
    return parent, name if name.endswith(suffix) else name + suffix


def _runs(process):
    """Whether a process of this id runs on this machine."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True


def _check_target(path, target, folder, replaceable):
    """Refuses a target whose replacement would lose other content."""
    if not os.path.lexists(target):
        return
    if not folder:
        # A device such as /dev/null must not be replaced by a file either.
        if not os.path.isfile(target):
            kind = "a folder" if os.path.isdir(target) else "neither a file nor a folder"
            raise InputError(f"The path must name a file. Received: {path}, which is {kind}.")
        return
    if not os.path.isdir(target):
        raise InputError(f"The path must name a folder. Received: {path}, which is a file.")
    if os.path.ismount(target):
        raise InputError(
            "The folder must not be a mount point, which cannot be replaced; name a folder "
            f"inside it. Received: {path}."
        )
    entries = sorted(os.listdir(target))
    if entries and not (replaceable is not None and replaceable(target)):
        raise InputError(
            "The folder must be new, empty, or written earlier by the same function, because "
            f"anything else in it would be lost. Received: {path}, which holds {entries[0]}"
            f"{f' and {len(entries) - 1} more' if len(entries) > 1 else ''}."
        )


def _missing_folders(folder):
    """`folder` and its parents that do not exist yet, innermost first."""
    missing = []
    while not os.path.lexists(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    return missing


def _replace_folder(temporary, target):
    if os.path.isdir(target) and not os.listdir(target) and os.name == "nt":
        os.rmdir(target)  # POSIX renames over an empty folder, Windows does not
    if not (os.path.isdir(target) and os.listdir(target)):
        os.rename(temporary, target)
        return
    previous = _temporary("previous", target)
    remove(previous)
    os.rename(target, previous)
    try:
        os.rename(temporary, target)
    except BaseException:
        os.rename(previous, target)
        raise
    remove(previous)


def _flush_to_disk(path):
    """Waits until the content is on disk: a rename can overtake the data."""
    if os.path.isfile(path):
        with open(path, "rb+") as file:  # Windows does not flush a file opened for reading
            os.fsync(file.fileno())
        return
    for folder, _, names in os.walk(path):
        for name in names:
            _flush_to_disk(os.path.join(folder, name))
        _flush_folder(folder)


def _flush_folder(folder):
    # Not every file system can flush a folder, and Windows cannot open one.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _reason(error, temporary):
    """Why writing failed, or `None` for an error of another kind."""
    if isinstance(error, OSError):
        # Some writers put a paragraph in place of the system's message.
        reason = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
        name = error.filename
        if isinstance(name, str) and not (temporary and name.startswith(temporary)):
            reason += f" ({name})"
        return reason
    return next((reason for reason in _SYSTEM_REASONS if reason in str(error)), None)
