"""The run folder as a store: its life cycle, and the earlier runs that it replaces.

A run is new, training, stopped or complete. What `--overwrite` replaces is set aside whole as
`RUN.replaced-N` until the new run is complete, and comes back if the new one learned nothing.
docs/runs.md describes the life cycle.
"""

import contextlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator

from keras_genimg.errors import InputError, tell
from keras_genimg.files import remove_partial, replace_when_complete
from keras_genimg.runs.lock import Lock

__all__ = ["RunFolder", "is_run", "write_json"]

RECORD = "run.json"
# In a folder that was set aside: the id of the run that replaces it.
ASIDE = "replaced_by.json"
LEFT = (".lock", ASIDE)  # what a killed command may leave in an empty folder
CHECKPOINT = re.compile(r"epoch-(\d{4,})(?:-step-(\d{6,}))?\.keras")  # those of `Resume`


def is_run(folder: str | os.PathLike) -> bool:
    """Whether a folder is a run folder, which has a `run.json`."""
    return os.path.isfile(os.path.join(folder, RECORD))


def write_json(path: str | os.PathLike, content: dict) -> None:
    """Writes a JSON file, completely or not at all."""
    with replace_when_complete(path) as partial, open(partial, "w") as file:
        json.dump(content, file, indent=2, default=str)


def _read(path):
    """The dict in a JSON file, empty where it cannot be read."""
    try:
        with open(path) as file:
            content = json.load(file)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


class RunFolder:
    """A run folder that a command writes.

    Args:
        folder: path. A symbolic link is followed, and stays.
    """

    def __init__(self, folder: str | os.PathLike):
        self.name = os.fspath(folder)  # as it was given, for messages
        self.path = os.path.realpath(folder)
        self.record = {}

    def learned(self) -> bool:
        """Whether the run holds a checkpoint, of an epoch or within one, or a model."""
        return bool(os.path.isfile(os.path.join(self.path, "model.keras")) or self._positions())

    def _positions(self):
        """[(epochs, steps), ...] of the checkpoints, in order."""
        with contextlib.suppress(OSError):
            names = os.listdir(os.path.join(self.path, "checkpoints"))
            matches = filter(None, map(CHECKPOINT.fullmatch, names))
            return sorted((int(match[1]), int(match[2] or 0)) for match in matches)
        return []

    def state(self) -> str:
        """`"new"`, `"training"`, `"stopped"`, `"complete"`, or `"other"` for other content."""
        if not os.path.lexists(self.path):
            return "new"
        if is_run(self.path):
            status = _read(os.path.join(self.path, RECORD)).get("status")
            return status if status in ("training", "complete") else "stopped"
        if not os.path.isdir(self.path):
            return "other"
        rest = [name for name in os.listdir(self.path) if name not in LEFT]
        return "other" if any(not name.startswith(".partial-") for name in rest) else "new"

    def check(self, resume: bool, overwrite: bool) -> None:
        """Checks that a training may begin.

        Args:
            resume: bool. Whether it goes on with the run in the folder.
            overwrite: bool. Whether it replaces it.

        Raises:
            InputError: a file, or a folder of other content; a run that exists and neither
                `resume` nor `overwrite`; a run to resume without a checkpoint.
        """
        state = self.state()
        if state == "other" and not os.path.isdir(self.path):
            raise InputError(
                f"A run is written to a folder. Received: {self.name}, which is a file."
            )
        if state == "other" and overwrite:
            raise InputError(
                f"--overwrite replaces only a run folder, with a {RECORD}. Received: {self.name}, "
                "which holds other files."
            )
        if state != "new" and not (resume or overwrite):
            raise InputError(
                f"{self.name} exists; --resume continues it, --overwrite replaces it, "
                "--output RUN names another folder."
            )
        if resume and not self.learned():
            raise InputError(
                f"--resume never trains from scratch. Received: {self.name}, which holds neither "
                "a checkpoint nor model.keras; --overwrite replaces it."
            )

    def recover(self) -> None:
        """Ends what a killed command began, unless another process is writing the run.

        A run without a checkpoint gives way to the one that it replaces, if there is one: any
        other folder stays as it is. A complete run loses what it replaced; partial files of dead
        processes go.
        """
        if not os.path.lexists(self.path):
            for aside in self._set_aside():
                # A command was killed between the two renames of `_create`.
                with contextlib.suppress(OSError):
                    self._bring_back(aside)
                break
        remove_partial(*os.path.split(self.path))
        if not is_run(self.path):
            return
        with contextlib.suppress(InputError, OSError), self._locked():
            remove_partial(self.path)
            record = _read(os.path.join(self.path, RECORD))
            if record.get("status") == "complete":
                self._remove_replaced(record.get("id"))
            elif not self.learned() and self._replaced(record.get("id")) is not None:
                self._restore_replaced(record["id"])

    @contextlib.contextmanager
    def training(self, record: dict, resume: bool = False) -> Iterator["RunFolder"]:
        """A training of the run: the folder is locked, and its record is kept up to date.

        If the body ends, the run is complete, and what it replaced is removed. If it raises, the
        run is stopped; one that has no checkpoint is removed, and what it replaced comes back.
        A run that is resumed loses nothing.

        Args:
            record: dict, the content of `run.json`.
            resume: bool. Whether the run exists and goes on; otherwise the folder is new, or
                holds a run that is set aside.

        Yields:
            The `RunFolder`; `update` adds to its record.

        Raises:
            InputError: another process writes the folder, or it cannot be written.
        """
        self.record = {**record, "status": "training"}
        with self._locked() if resume else self._create():
            try:
                if resume:
                    earlier = _read(os.path.join(self.path, RECORD))
                    self.record = {"id": earlier.get("id") or uuid.uuid4().hex, **self.record}
                    self.update()
                yield self
                self.update(status="complete")
            except BaseException as error:
                said = self._stopped(resume)
                if isinstance(error, KeyboardInterrupt):
                    error.args = (said,)  # what the command says
                raise
            self._remove_replaced(self.record["id"])

    def update(self, **values) -> None:
        """Adds values to the record, and writes it.

        Args:
            **values: entries of `run.json`.
        """
        self.record.update(values)
        write_json(os.path.join(self.path, RECORD), self.record)

    # ------------------------------------------------------------------------- life cycle

    @contextlib.contextmanager
    def _locked(self):
        lock = Lock(self.path)
        try:
            yield
        finally:
            lock.release(self.path)

    @contextlib.contextmanager
    def _create(self):
        """The new folder, complete with its record before it appears, and locked."""
        self.record["id"] = uuid.uuid4().hex
        old, lock = Lock(self.path) if is_run(self.path) else None, None
        staged = self._temporary()
        try:
            os.makedirs(staged)
            lock = Lock(staged)
            write_json(os.path.join(staged, RECORD), self.record)
            aside = self._next_aside() if old else None
            if old:
                write_json(os.path.join(self.path, ASIDE), {"id": self.record["id"]})
                os.rename(self.path, aside)
            try:
                _rename_to(staged, self.path)
            except BaseException:
                if old:
                    os.rename(aside, self.path)
                raise
        except BaseException as error:
            shutil.rmtree(staged, ignore_errors=True)
            if old:
                with contextlib.suppress(OSError):
                    os.remove(os.path.join(self.path, ASIDE))
                old.release(self.path)
            if isinstance(error, OSError):
                raise InputError(
                    f"{self.name} could not be written: {error.strerror or error}."
                ) from error
            raise
        if old:
            old.release(aside)
            tell(f"the earlier run is kept in {aside} until this one is complete.")
        try:
            yield
        finally:
            lock.release(self.path)

    def _temporary(self):
        """A free path beside the folder, which `remove_partial` clears if the process dies."""
        parent, name = os.path.split(self.path)
        path = os.path.join(parent, f".partial-{os.getpid()}.{name}")
        shutil.rmtree(path, ignore_errors=True)
        return path

    def _stopped(self, resume):
        """Leaves a run to resume after an exception, or no trace; says which."""
        if resume or self.learned():
            with contextlib.suppress(InputError, OSError):  # a full disk
                self.update(status="stopped")
            return f"{self.name} is stopped; --resume continues {self._where()}."
        self._restore_replaced(self.record["id"])
        return f"stopped; the new run of {self.name} is removed: it had no checkpoint."

    def _where(self):
        epochs, steps = max(self._positions(), default=(None, 0))
        if steps:
            return f"in epoch {epochs + 1} after step {steps}"
        return "from model.keras" if epochs is None else f"after epoch {epochs}"

    def _set_aside(self):
        """Paths of the folders that were set aside for this one, the last first."""
        paths = [f"{self.path}.replaced-{number}" for number in sorted(self._numbered())[::-1]]
        return [path for path in paths if os.path.isfile(os.path.join(path, ASIDE))]

    def _numbered(self):
        """The numbers of all `RUN.replaced-N`."""
        parent, name = os.path.split(self.path)
        pattern = re.compile(re.escape(name) + r"\.replaced-(\d+)")
        with contextlib.suppress(OSError):
            return [int(match[1]) for match in map(pattern.fullmatch, os.listdir(parent)) if match]
        return []

    def _next_aside(self):
        """A name after all others: those of killed commands come back in order."""
        return f"{self.path}.replaced-{1 + max(self._numbered(), default=0)}"

    def _replaced(self, run_id):
        """The folder that the run of this id set aside, or None."""
        if run_id is None:
            return None
        for path in self._set_aside():
            if _read(os.path.join(path, ASIDE)).get("id") == run_id:
                return path
        return None

    def _restore_replaced(self, run_id):
        """Removes a run that learned nothing; what it replaced comes back."""
        aside, doomed = self._replaced(run_id), self._temporary()
        with contextlib.suppress(OSError):
            os.rename(self.path, doomed)
            if aside is not None:
                self._bring_back(aside)
        shutil.rmtree(doomed, ignore_errors=True)

    def _bring_back(self, aside):
        os.rename(aside, self.path)
        os.remove(os.path.join(self.path, ASIDE))
        tell(
            f"{self.name} holds the earlier run again: the one that replaced it had no checkpoint."
        )

    def _remove_replaced(self, run_id):
        """Removes what a complete run replaced, and what that had replaced."""
        chain = []
        while (aside := self._replaced(run_id)) is not None and aside not in chain:
            chain.append(aside)
            run_id = _read(os.path.join(aside, RECORD)).get("id")
        for aside in reversed(chain):  # the oldest first: a kill in between leaves a chain
            try:
                lock = Lock(aside)
            except (InputError, OSError):  # somebody is training it
                return
            doomed = self._temporary()  # out of the way: half of a run must not come back
            with contextlib.suppress(OSError):
                os.rename(aside, doomed)
            lock.release(doomed)
            shutil.rmtree(doomed, ignore_errors=True)


def _rename_to(staged, path):
    """Moves a folder into place; over an empty one, which may be a mount point."""
    try:
        if os.name == "nt" and os.path.isdir(path):
            os.rmdir(path)  # POSIX renames over an empty folder
        os.rename(staged, path)
    except OSError:
        if not os.path.ismount(path) or os.listdir(path):
            raise
        for name in sorted(os.listdir(staged)):  # the record last
            os.rename(os.path.join(staged, name), os.path.join(path, name))
        os.rmdir(staged)
