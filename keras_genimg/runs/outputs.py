"""Where commands write: never over a file of a run, and over other files only if told to."""

import contextlib
import math
import os
from collections.abc import Callable, Iterator

from keras_genimg.errors import InputError
from keras_genimg.files import check_writable, replace_when_complete
from keras_genimg.runs.folder import FILES, FOLDERS
from keras_genimg.runs.lock import NAME as LOCK
from keras_genimg.runs.records import ASIDE, is_run

__all__ = ["Output", "check_memory", "check_not_of_a_run"]

# What train, prior and evaluate write into a run folder, whether or not it is there.
OF_A_RUN = {name.casefold() for name in (
    *FILES, *FOLDERS, "saved_model", "prior.json", "prior_samples.png", "metrics.json", LOCK, ASIDE,
)}  # fmt: skip


class Output:
    """A file or a folder that a command writes, checked before it computes anything.

    Args:
        path: string. Where to write.
        endings: tuple of strings, such as `(".png", ".npz")`, one of which a file must have.
        made: function from the path of a folder to whether its content is of the kind that this
            command writes; for commands that write a folder, None for a file.
        overwrite: bool. Whether an existing file, or a folder with such content, is replaced.
        own: tuple of paths. What the command itself writes in its run.

    Raises:
        InputError: another ending; a file of a run; something exists there and may not be
            replaced; nothing can be written there.
    """

    def __init__(
        self, path: str, endings: tuple = (), made: Callable | None = None,
        overwrite: bool = False, own: tuple = (),
    ):  # fmt: skip
        self.path, self.made, self.overwrite = os.fspath(path), made, overwrite
        if endings and os.path.splitext(self.path)[1].lower() not in endings:
            raise InputError(
                f"--output must end in {' or '.join(endings)}. Received: --output {path}."
            )
        check_not_of_a_run(self.path, own)
        self._check()

    @contextlib.contextmanager
    def written(self) -> Iterator[str]:
        """Yields a temporary path, whose content is moved to the output at the end of the block.

        Yields:
            string, see `replace_when_complete`.

        Raises:
            InputError: something has appeared at the path meanwhile; nothing can be written.
        """
        folder = self.made is not None
        with replace_when_complete(self.path, folder=folder, replaceable=self.made) as partial:
            try:
                yield partial
            except InputError as error:  # of a writer, which knows the temporary path alone
                raise InputError(str(error).replace(partial, self.path)) from error
            self._check()

    def _check(self):
        check_writable(self.path, folder=self.made is not None, replaceable=self.made)
        empty = os.path.isdir(self.path) and not os.listdir(self.path)
        if os.path.exists(self.path) and not empty and not self.overwrite:
            raise InputError(
                f"{self.path} exists; --overwrite replaces it, --output PATH names another."
            )


def check_not_of_a_run(path: str | os.PathLike, own: tuple = ()) -> None:
    """Checks that a path is not the place of a file of a run, nor below that of a folder of it.

    Args:
        path: path. A symbolic link is followed.
        own: tuple of paths that are allowed all the same, unless they are links.

    Raises:
        InputError: it is, of any run.
    """
    target = os.path.realpath(path)
    if target in map(_place, own):
        return
    folder, within = target, None
    while within != "":
        folder, within = os.path.split(folder)
        if within and within.casefold() in OF_A_RUN and is_run(folder):
            raise InputError(
                "A command never writes over the files of a run. "
                f"Received: {path}, which is the place of {within} of the run {folder}."
            )


def _place(path):
    """A path of which only the folder is followed: where a link lies, and not where it leads."""
    folder, name = os.path.split(path)
    return os.path.join(os.path.realpath(folder), name)


def check_memory(count: int, image_shape: tuple) -> None:
    """Checks that the images of one file fit into the memory of this machine.

    Args:
        count: int. Number of images.
        image_shape: tuple (height, width, channels).

    Raises:
        InputError: they do not.
    """
    needed = 5 * count * math.prod(image_shape)  # as float32, and as bytes
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return
    if needed > memory:
        size = "x".join(map(str, image_shape))
        raise InputError(
            "The images of one file must fit into memory; generating into a folder needs little. "
            f"Received: {count:,} images of {size}, {needed / 2**30:,.0f} GiB of "
            f"{memory / 2**30:,.0f}."
        )
