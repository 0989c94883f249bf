"""One writer per run folder: a lock that its owner's death releases."""

import contextlib
import json
import os
import socket

from keras_genimg.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["Lock"]

NAME = ".lock"


class Lock:
    """The lock of a run folder, the file `.lock` in it.

    The system holds it for an open file, and releases it when the process ends in any way:
    whoever comes next takes it over. The file says who the owner is, for messages. It moves with
    its folder. Where the system has no such locks (Windows, some network disks), nothing is
    locked. Windows gets no file either: it moves no folder in which a file is open.

    Args:
        folder: path of a folder that exists.

    Raises:
        InputError: another process holds the lock.
    """

    def __init__(self, folder: str | os.PathLike):
        self._descriptor = _locked_file(os.path.join(folder, NAME))

    def release(self, folder: str | os.PathLike) -> None:
        """Removes the file and releases the lock.

        Args:
            folder: path at which the folder is now. The lock of another folder there stays.
        """
        if self._descriptor is None:
            return
        path = os.path.join(folder, NAME)
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(self._descriptor), os.stat(path)):
                os.remove(path)
        with contextlib.suppress(OSError):
            os.close(self._descriptor)
        self._descriptor = None


def _locked_file(path):
    """The descriptor of the lock file, locked and signed; None on Windows."""
    if fcntl is None:
        return None
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(descriptor, path)
            # Its last owner may have removed it between the two calls.
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                break
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    with contextlib.suppress(OSError):  # a full disk
        os.ftruncate(descriptor, 0)
        owner = {"process": os.getpid(), "host": socket.gethostname()}
        os.write(descriptor, json.dumps(owner).encode())
    return descriptor


def _lock(descriptor, path):
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = _owner(descriptor)
        raise InputError(
            f"A run folder has one writer at a time. Received: {os.path.dirname(path)}, which "
            f"process {owner.get('process', '?')} on {owner.get('host', '?')} is writing."
        ) from None
    except OSError:  # not supported there
        pass


def _owner(descriptor):
    try:
        owner = json.loads(os.pread(descriptor, 1000, 0))
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}
