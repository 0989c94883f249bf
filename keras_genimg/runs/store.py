"""The run folder as a store: its life cycle, and the earlier runs that it replaces.

A run is new, training, stopped or complete. What `--overwrite` replaces is set aside whole as
`RUN.replaced-N` until the new run is complete, and comes back if the new one learned nothing.
docs/runs.md describes the life cycle.
"""

import contextlib
import math
import os
import re
import uuid
import warnings
from collections.abc import Iterator

from keras_genimg.callbacks.checkpoint_files import CHECKPOINT
from keras_genimg.errors import InputError, tell
from keras_genimg.files import dead_partials, partial_path, remove, remove_partial
from keras_genimg.runs.folder import resume_point
from keras_genimg.runs.lock import NAME, Lock
from keras_genimg.runs.records import ASIDE, RECORD, is_run, read_json, write_json

__all__ = ["RunFolder"]


class RunFolder:
    """A run folder that a command writes.

    Args:
        folder: path. A symbolic link is followed, and stays.
    """

    def __init__(self, folder: str | os.PathLike):
        self.name = os.fspath(folder)  # as it was given, for messages
        self.path = os.path.realpath(folder)
        self.record = {}
        self._claimed, self._lock = False, None

    def learned(self) -> bool:
        """Whether the run holds a checkpoint, of an epoch or within one, or a model."""
        names = []
        with contextlib.suppress(OSError):
            names = os.listdir(self._file("checkpoints"))
        return os.path.isfile(self._file("model.keras")) or any(map(CHECKPOINT.fullmatch, names))

    def state(self) -> str:
        """`"new"`, `"training"`, `"stopped"`, `"complete"`, or `"other"` for other content."""
        if not os.path.lexists(self.path):
            return "new"
        if is_run(self.path):
            status = self._on_disk().get("status")
            return status if status in ("training", "complete") else "stopped"
        if not os.path.isdir(self.path):
            return "other"
        left = {NAME, ASIDE, *dead_partials(self.path)}  # by a killed command
        return "new" if left.issuperset(os.listdir(self.path)) else "other"

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
        if state == "other" and not resume:
            raise InputError(
                "A run is written to a new folder, or with --overwrite in place of a run, which "
                f"has a {RECORD}. Received: {self.name}, which holds other files; --output RUN "
                "names another folder."
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

    @contextlib.contextmanager
    def claimed(self) -> Iterator["RunFolder"]:
        """Within the block no other command writes the run, if there is one.

        First it ends what a killed command began. A run without a checkpoint gives way to the one
        that it replaces, if there is one: any other folder stays as it is. A complete run loses
        what it replaced; partial files of dead processes go.

        Yields:
            The `RunFolder`.

        Raises:
            InputError: another process writes the run.
        """
        if self._claimed:
            yield self
            return
        self._claimed = True
        try:
            self._claim()
            yield self
        finally:
            self._release(self.path)
            self._claimed = False

    @contextlib.contextmanager
    def training(self, record: dict, resume: bool = False) -> Iterator["RunFolder"]:
        """A training of the run, which is `claimed`: its record is kept up to date.

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
            InputError: another process writes the folder, or has written it since it was claimed;
                it cannot be written.
        """
        with self.claimed():
            run_id = self._on_disk().get("id") if resume else None
            self.record = {"id": run_id or uuid.uuid4().hex, **record, "status": "training"}
            if not resume:
                self._begin()
            done = False
            try:
                if resume:
                    self.update()
                yield self
                done = True
                self.update(status="complete")
                self._remove_replaced(self.record["id"])
            except BaseException as error:
                signal = isinstance(error, KeyboardInterrupt)
                if done and signal:
                    self.update(status="complete")
                    said = f"{self.name} is complete."
                else:
                    said = self._stopped(resume)
                if signal:
                    error.args = (said,)  # what the command says
                raise

    def update(self, **values) -> None:
        """Adds values to the record, and writes it.

        Args:
            **values: entries of `run.json`.
        """
        self.record.update(values)
        write_json(self._file(RECORD), self.record)

    # ------------------------------------------------------------------------- life cycle

    def _file(self, name):
        return os.path.join(self.path, name)

    def _on_disk(self):
        """The record in the folder, which may be of another run."""
        return read_json(self._file(RECORD))

    def _claim(self):
        if not os.path.lexists(self.path):
            for aside in self._set_aside():
                # A command was killed between the two renames of `_replace`, or RUN was removed.
                said = f"was missing, and holds again the earlier run that {aside} kept."
                self._bring_back(aside, said)
                break
        remove_partial(*os.path.split(self.path))
        while self._lock is None and is_run(self.path):
            self._lock = Lock(self.path)
            remove_partial(self.path)
            record = self._on_disk()
            if record.get("status") == "complete":
                self._remove_replaced(record.get("id"))
            elif not self.learned() and self._replaced(record.get("id")) is not None:
                with contextlib.suppress(OSError):
                    self._give_way(record["id"])  # and claim what came back

    def _release(self, path):
        if self._lock is not None:
            self._lock.release(path)
        self._lock = None

    def _begin(self):
        """The new run, with its record and locked; an earlier one is set aside."""
        try:
            if self._lock is None:
                self._make()
            else:
                self._replace()
        except OSError as error:
            raise InputError(
                f"{self.name} could not be written: {error.strerror or error}."
            ) from error

    def _make(self):
        """A run where there was none; the folder may exist, as a mount point does."""
        made = not os.path.isdir(self.path)
        os.makedirs(self.path, exist_ok=True)
        try:
            self._lock = Lock(self.path)
            if self.state() != "new":
                raise InputError(
                    f"A new run needs a folder of its own. Received: {self.name}, which another "
                    "command has written in the meantime; --output RUN names another folder."
                )
            for name in (ASIDE, *dead_partials(self.path)):
                remove(self._file(name))
            self.update()
        except BaseException:
            self._release(self.path)
            if made:
                with contextlib.suppress(OSError):  # it holds somebody's files now
                    os.rmdir(self.path)
            raise

    def _replace(self):
        """The run in place of the earlier one: it appears complete with its record and lock."""
        earlier, aside, staged = self._lock, self._next_aside(), self._temporary()
        place, lock = self.path, None
        try:
            os.makedirs(staged)
            lock = Lock(staged)
            write_json(os.path.join(staged, RECORD), self.record)
            note = {"id": self.record["id"], "name": os.path.basename(aside)}
            write_json(self._file(ASIDE), note)
            os.rename(self.path, aside)
            place = aside
            os.rename(staged, self.path)
        except BaseException:
            if place == aside:
                os.rename(aside, self.path)
            with contextlib.suppress(OSError):
                os.remove(self._file(ASIDE))
            if lock is not None:
                lock.release(staged)
            remove(staged)
            raise
        earlier.release(aside)
        self._lock = lock
        tell(f"the earlier run is kept in {aside} until this one is complete.")

    def _temporary(self):
        """A free path beside the folder, which `remove_partial` clears if the process dies."""
        path = partial_path(self.path)
        remove(path)
        return path

    def _stopped(self, resume):
        """Leaves a run to resume after an exception, or no trace; says which."""
        if not (resume or self.learned()):
            with contextlib.suppress(InputError, OSError):
                self._give_way(self.record["id"])
            if self._on_disk().get("id") != self.record["id"]:
                return f"stopped; the new run of {self.name} is removed: it had no checkpoint."
        with contextlib.suppress(InputError, OSError):  # a full disk
            self.update(status="stopped")
        return f"{self.name} is stopped; {self._way_on()}"

    def _way_on(self):
        """Where `--resume` goes on, for a message."""
        wanted = self.record.get("settings", {}).get("epochs", math.inf)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what is damaged: `--resume` names it
                path, epochs, steps = resume_point(self.path, self.record, wanted)
        except InputError:
            return "it has no intact checkpoint: --overwrite replaces it."
        if not CHECKPOINT.fullmatch(os.path.basename(path)):
            return "--resume continues from model.keras."
        where = f"in epoch {epochs + 1} after step {steps}" if steps else f"after epoch {epochs}"
        return f"--resume continues {where}."

    def _set_aside(self):
        """{path: id of the run that replaces it} of the folders set aside, the last first.

        Copies of such folders are somebody's own: those of this version have another name than
        the one in their note; those of earlier ones share an id.
        """
        notes = {}
        for number in sorted(self._numbered(), reverse=True):
            path = f"{self.path}.replaced-{number}"
            note, name = read_json(os.path.join(path, ASIDE)), os.path.basename(path)
            if "id" in note and note.get("name", name) == name:
                notes[path] = note["id"]
        ids = list(notes.values())
        return {path: run_id for path, run_id in notes.items() if ids.count(run_id) == 1}

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
        return next((path for path, of in self._set_aside().items() if of == run_id), None)

    def _give_way(self, run_id):
        """Removes a run that learned nothing; what it replaced comes back."""
        aside, doomed = self._replaced(run_id), self._temporary()
        try:
            os.rename(self.path, doomed)
        except OSError:  # a mount point, which stays
            for name in sorted(os.listdir(self.path), key=lambda name: name == RECORD):
                if name != NAME:
                    remove(self._file(name))
            self._release(self.path)
            return
        self._release(doomed)
        try:
            if aside is not None:
                said = "holds the earlier run again: the one that replaced it had no checkpoint."
                self._bring_back(aside, said)
        finally:
            remove(doomed)

    def _bring_back(self, aside, said):
        lock, place = Lock(aside), aside  # nobody is moving it
        try:
            os.rename(aside, self.path)
            place = self.path
            os.remove(self._file(ASIDE))
        finally:
            lock.release(place)
        tell(f"{self.name} {said}")

    def _remove_replaced(self, run_id):
        """Removes what a complete run replaced, and what that had replaced."""
        chain = []
        while (aside := self._replaced(run_id)) is not None and aside not in chain:
            chain.append(aside)
            run_id = read_json(os.path.join(aside, RECORD)).get("id")
        for aside in reversed(chain):  # the oldest first: a kill in between leaves a chain
            try:
                lock = Lock(aside)
            except (InputError, OSError):  # somebody is training it
                return
            place, doomed = aside, self._temporary()
            with contextlib.suppress(OSError):  # out of the way: half of a run must not come back
                os.rename(aside, doomed)
                place = doomed
            lock.release(place)
            remove(doomed)
