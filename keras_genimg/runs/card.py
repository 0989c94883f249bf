"""The model card of a run: its `README.md`, with the front matter of the Hugging Face Hub."""

import json
import os

from keras_genimg.files import replace_when_complete
from keras_genimg.runs.folder import read_record
from keras_genimg.runs.records import read_json
from keras_genimg.runs.registry import model_class

__all__ = ["NAME", "write_card"]

NAME = "README.md"
MARK = "<!-- keras-genimg keeps this card up to date. Delete this line to edit it yourself. -->"
SHOWN = 20  # names of classes
# What a model makes -> the task's name on the Hub, and a line of Python.
USES = {
    "images": ("unconditional-image-generation", "images = model.generate(16, seed=0)"),
    "reconstructions": ("image-to-image", "images = model.reconstruct(images)"),
    "translations": ("image-to-image", "images = model.translate(images)"),
    "labels": ("image-classification", "labels = model.classify(images)"),
}
# Data set -> its name on the Hub, and the licence that its authors state, if they do.
SETS = {
    "mnist": ("ylecun/mnist", "CC BY-SA 3.0"),
    "fashion_mnist": ("zalando-datasets/fashion_mnist", "MIT"),
    "cifar10": ("uoft-cs/cifar10", None),
}
BUILT_IN = ("glyphs", "moving_glyphs")


def write_card(folder: str | os.PathLike) -> None:
    """Writes `README.md` of a run from `run.json`, `metrics.json` and `prior.json`.

    A card without its line of origin has been edited, and is left as it is.

    Args:
        folder: path of a run folder.

    Raises:
        InputError: `run.json` could not be read, or the card not be written.
    """
    path = os.path.join(folder, NAME)
    if os.path.lexists(path) and MARK not in _text(path):
        return
    record = read_record(folder)
    metrics, prior = (read_json(os.path.join(folder, f"{n}.json")) for n in ("metrics", "prior"))
    name = os.path.basename(os.path.realpath(folder))
    makes = "images" if prior else model_class(record["model"]).makes
    text = "\n".join([
        *_front_matter(name, record, metrics, makes), MARK, "",
        f"# {_plain(name)}", "",
        *_pictures(folder, prior),
        *_description(record), "",
        *_results(metrics),
        *_use(record, makes),
    ])  # fmt: skip
    with replace_when_complete(path) as partial, open(partial, "w", encoding="utf-8") as file:
        file.write(text + "\n")


def _text(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, ValueError):
        return ""


def _front_matter(name, record, metrics, makes):
    """Metadata in YAML, of which JSON is a part: https://huggingface.co/docs/hub/model-cards."""
    task, _ = USES[makes]
    sets = [_set_of(record["settings"][key]) for key in ("data", "data_b")
            if record["settings"].get(key)]  # fmt: skip
    known = [SETS[each][0] for each in sets if each in SETS]
    matter = {
        "library_name": "keras-genimg",
        "pipeline_tag": task,
        "tags": ["keras-genimg", "keras", record["model"].replace("_", "-")],
    }
    if known:
        matter["datasets"] = known
    if metrics.get("metrics"):
        data = _set_of(metrics["data"])
        of_set = {"type": SETS.get(data, (data,))[0], "name": data, "split": metrics["split"]}
        values = [{"type": key, "value": value} for key, value in metrics["metrics"].items()]
        results = [{"task": {"type": task}, "dataset": of_set, "metrics": values}]
        matter["model-index"] = [{"name": name, "results": results}]
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in matter.items()]
    return ["---", *lines, "---"]


def _set_of(name):
    """The name of a data set; of a folder, its last part: where it lies is nobody's business."""
    return os.path.basename(os.path.normpath(name))


def _plain(text):
    """Text in which Markdown has nothing to interpret."""
    text = text if text.isprintable() else ascii(text)
    return "".join(f"\\{each}" if each in "\\`*_[]<>|#" else each for each in text)


def _pictures(folder, prior):
    shown = [("prior_samples.png" if prior else "samples.png", "Samples"),
             ("progress.gif", "Images of the same noise or inputs, over the epochs")]  # fmt: skip
    for file, what in shown:
        if os.path.isfile(os.path.join(folder, file)):
            yield f"![{what}]({file})"
            yield ""


def _description(record):
    settings, arguments = record["settings"], record.get("arguments", {})
    model = model_class(record["model"])
    yield f"`{model.__name__}`, {model.about} ({model.paper})."
    yield ""
    shape = "x".join(map(str, arguments.get("image_shape", ())))
    rows = [("data", _data(settings))]
    if "num_images" in record:
        rows.append(("training images", f"{record['num_images']:,} of {shape}"))
    names = arguments.get("class_names")
    if names:
        more = ", ..." if len(names) > SHOWN else ""
        rows.append((f"{len(names)} classes", ", ".join(map(_plain, names[:SHOWN])) + more))
    if "parameters" in record:
        rows.append(("parameters", f"{record['parameters']:,}"))
    known = {
        "{:,} epochs": record.get("epochs_done"), "batches of {}": settings.get("batch_size"),
        "seed {}": settings.get("seed"), "{:,.0f} seconds": record.get("seconds"),
    }  # fmt: skip
    said = [form.format(value) for form, value in known.items() if value is not None]
    rows.append(("training", ", ".join(said)))
    versions = record.get("versions", {})
    rows.append(("versions", ", ".join(f"{_plain(key)} {versions[key]}" for key in versions)))
    yield "| | |"
    yield "|---|---|"
    for name, value in rows:
        if value:
            yield f"| {name} | {value} |"


def _data(settings):
    """The data and their licence."""
    said = []
    for name in (settings["data"], settings.get("data_b")):
        if name in BUILT_IN:
            said.append(f"{name}, drawn by keras\\_genimg with the fonts of Matplotlib")
        elif name is not None:
            licence = SETS.get(name, (None, None))[1]
            known = f"licence {licence}" if licence else "licence not known: add it here"
            said.append(f"{_plain(_set_of(name))} ({known})")
    return ", and ".join(said)


def _results(metrics):
    if not metrics.get("metrics"):
        return
    what = "samples" if "real_count" in metrics else "images"  # of a loss or a likelihood
    count = f", {metrics['count']:,} {what}" if metrics.get("count") else ""
    yield "## Results"
    yield ""
    yield f"On {_plain(_set_of(metrics['data']))}, {_plain(metrics['split'])}{count}:"
    yield ""
    yield "| metric | value |"
    yield "|---|---|"
    for name, value in metrics["metrics"].items():
        yield f"| {_plain(name)} | {value:.4f} |"
    yield ""


def _use(record, makes):
    yield "## Use"
    yield ""
    yield "```python"
    yield "import keras"
    yield "import keras_genimg"
    yield ""
    yield 'model = keras.saving.load_model("model.keras")'
    yield USES[makes][1]
    yield "```"
    yield ""
    yield "`saved_model/` runs with TensorFlow alone, also in TensorFlow Serving."
