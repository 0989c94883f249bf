"""Writer of the page that runs a model in a browser.

The page is a folder of static files: those of `page/`, an ONNX file for each function, and
`model.json`, which describes the model to them.
"""

import json
import os
import pathlib
import shutil

from keras_genimg.checks import check_path
from keras_genimg.errors import InputError
from keras_genimg.export import write_onnx
from keras_genimg.files import replace_when_complete

__all__ = ["RUNTIME_VERSION", "is_page", "write_page"]

RUNTIME_VERSION = "1.30.0"  # of onnxruntime-web
RUNTIME_URL = f"https://cdn.jsdelivr.net/npm/onnxruntime-web@{RUNTIME_VERSION}/dist"
# The script that the page imports, and the WebAssembly that the script loads from beside it.
RUNTIME_FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
PAGE = pathlib.Path(__file__).parent / "page"
FUNCTIONS = ("decode", "encode", "translate")


def write_page(
    folder: str | os.PathLike, functions: dict, description: dict, *,
    runtime: str | os.PathLike | None = None,
) -> str:
    """Writes a page that runs a model's functions in a browser.

    Any web server can serve the folder. Nothing is computed outside the browser.

    Args:
        folder: string or path. A new or empty folder, or that of an earlier page.
        functions: dict from `"decode"`, `"encode"` or `"translate"` to
            `(fn, input_signature)`, see `write_onnx`. Each becomes one ONNX file.
        description: dict that JSON can hold, see `keras_genimg.core.page.page_of`.
        runtime: string or path, optional. The folder `dist` of the npm package onnxruntime-web,
            whose files are copied into the page. By default the page loads them from a public
            content delivery network.

    Returns:
        String. The path of the folder.

    Raises:
        InputError: `runtime` is another folder, `folder` has other content or could not be
            written, or see `write_onnx`; earlier content is then untouched.
    """
    if runtime is not None:
        runtime = _checked_runtime(runtime)
    with replace_when_complete(folder, folder=True, replaceable=is_page) as temporary:
        shutil.copytree(PAGE, temporary, dirs_exist_ok=True)
        for name, (fn, input_signature) in functions.items():
            write_onnx(os.path.join(temporary, f"{name}.onnx"), fn, input_signature)
        place = RUNTIME_URL
        if runtime is not None:
            place = "runtime"
            os.mkdir(os.path.join(temporary, place))
            for name in RUNTIME_FILES:
                shutil.copyfile(runtime / name, os.path.join(temporary, place, name))
        description = {**description, "runtime": f"{place}/{RUNTIME_FILES[0]}"}
        path = pathlib.Path(temporary, "model.json")
        path.write_text(json.dumps(description, allow_nan=False), encoding="utf-8")
    return os.fspath(folder)


def is_page(folder: str | os.PathLike) -> bool:
    """Whether a folder is a page that `write_page` wrote, and holds nothing else."""
    folder = pathlib.Path(folder)
    entries, runtime = set(os.listdir(folder)), folder / "runtime"
    written = {*os.listdir(PAGE), *(f"{name}.onnx" for name in FUNCTIONS), "model.json", "runtime"}
    if runtime.exists() and not (runtime.is_dir() and set(os.listdir(runtime)) <= {*RUNTIME_FILES}):
        return False
    return {"index.html", "model.json"} <= entries <= written


def _checked_runtime(runtime):
    folder = pathlib.Path(check_path("runtime", runtime))
    for name in RUNTIME_FILES:
        if not (folder / name).is_file():
            raise InputError(
                "runtime must be the folder dist of the npm package onnxruntime-web, "
                f"version {RUNTIME_VERSION}. Received: {folder}, which has no {name}."
            )
    return folder
