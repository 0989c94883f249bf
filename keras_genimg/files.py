"""Files and folders that appear under their name only once they are complete."""

import contextlib
import errno
import os
import shutil

from keras_genimg.errors import InputError

__all__ = ["replace_when_complete"]

# TensorFlow and other native writers raise errors of their own that carry the
# system's wording inside a longer text. EDQUOT is unknown to Windows.
_SYSTEM_REASONS = tuple(
    os.strerror(getattr(errno, name))
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EFBIG", "EIO")
    if hasattr(errno, name)
)


@contextlib.contextmanager
def replace_when_complete(path, *, folder=False, replaceable=None):
    """Lends a temporary path and moves what was written there to `path`.

    The temporary lies beside `path` and is called `.partial-PID.NAME`: it keeps
    the whole name, since writers choose their format by the suffix, and a moved
    file never crosses a disk. When the body ends, its content is flushed to the
    disk and moved into place. When the body raises, or is interrupted, the
    temporary and the parent folders made for it are removed, and what stood at
    `path` is untouched. Only a process that is killed leaves its `.partial-`
    behind, which is safe to delete.

    A file is replaced in one step (`os.replace`): at every moment `path` is the
    old file or the new one. A folder cannot be replaced in one step: the old
    one is renamed to `.previous-PID.NAME`, the new one is renamed to `path` and
    the old one is deleted. A process killed between the two renames leaves
    both, complete, under their dotted names. Where `path` does not exist or is
    an empty folder, a folder too appears in one step (on POSIX systems).

    A symbolic link is followed: its target is replaced and the link stays.

    Args:
        path: string or path. The file or folder to write.
        folder: boolean. Whether `path` is to be a folder; the temporary folder
            then exists, empty, when the body starts.
        replaceable: function of a folder's path that tells whether that
            non-empty folder may be replaced. `None` refuses all of them.

    Yields:
        String. The temporary path to write to.

    Raises:
        InputError: `path` is a folder where a file is wanted or the reverse, is
            a folder that holds other things, or could not be written (disk
            full, no permission, ...).

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
        _check_target(path, target, folder, replaceable)
        parent, name = os.path.split(target)
        made = _missing_folders(parent)
        os.makedirs(parent, exist_ok=True)
        temporary = os.path.join(parent, f".partial-{os.getpid()}.{name}")
        _remove(temporary)  # a killed process may have had the same id
        if folder:
            os.mkdir(temporary)
        yield temporary
        if not os.path.lexists(temporary):
            raise RuntimeError(f"Nothing was written to the path lent for {path}.")
        _flush_to_disk(temporary)
        # The body may have run for long, and somebody may have used the path.
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
                _remove(temporary)
            for parent in made:
                with contextlib.suppress(OSError):
                    os.rmdir(parent)
    _flush_folder(os.path.dirname(target))


def _check_target(path, target, folder, replaceable):
    """Refuses a target whose replacement would lose something else."""
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
            "The folder must not be a mount point, since that cannot be replaced; name a folder "
            f"inside it. Received: {path}."
        )
    entries = sorted(os.listdir(target))
    if entries and not (replaceable is not None and replaceable(target)):
        raise InputError(
            "The folder must be new, empty, or one written before by the same function, since "
            f"anything else in it would be lost. Received: {path}, which holds {entries[0]}"
            f"{f' and {len(entries) - 1} more' if len(entries) > 1 else ''}."
        )


def _missing_folders(folder):
    """The folders that do not exist yet on the way to `folder`, innermost first."""
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
    parent, name = os.path.split(target)
    previous = os.path.join(parent, f".previous-{os.getpid()}.{name}")
    _remove(previous)
    os.rename(target, previous)
    try:
        os.rename(temporary, target)
    except BaseException:
        os.rename(previous, target)
        raise
    _remove(previous)


def _remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.remove(path)


def _flush_to_disk(path):
    """Waits until the content is on the disk: a rename can overtake the data."""
    if os.path.isfile(path):
        with open(path, "rb+") as file:  # Windows flushes no file opened to read
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
    """Why the disk refused, or `None` for an error that is not the disk's."""
    if isinstance(error, OSError):
        # Some writers put a paragraph where the system's sentence belongs.
        reason = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
        name = error.filename
        if isinstance(name, str) and not (temporary and name.startswith(temporary)):
            reason += f" ({name})"
        return reason
    return next((reason for reason in _SYSTEM_REASONS if reason in str(error)), None)
