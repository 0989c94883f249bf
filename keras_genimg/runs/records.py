"""JSON files of a run folder, and `run.json`, by which a run is known."""

import json
import os

from keras_genimg.files import replace_when_complete

__all__ = ["ASIDE", "RECORD", "is_run", "read_json", "write_json"]

RECORD = "run.json"
# In a folder that was set aside: its name, and the id of the run that replaces it.
ASIDE = "replaced_by.json"


def is_run(folder: str | os.PathLike) -> bool:
    """Whether a folder is a run folder, which has a `run.json`."""
    return os.path.isfile(os.path.join(folder, RECORD))


def write_json(path: str | os.PathLike, content: dict) -> None:
    """Writes a JSON file, completely or not at all.

    Args:
        path: path.
        content: dict. Values of other types than JSON's are written as strings.

    Raises:
        InputError: it could not be written.
    """
    with replace_when_complete(path) as partial, open(partial, "w") as file:
        json.dump(content, file, indent=2, default=str)


def read_json(path: str | os.PathLike) -> dict:
    """The dict in a JSON file, empty where it cannot be read.

    Args:
        path: path.

    Returns:
        dict.
    """
    try:
        with open(path) as file:
            content = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
