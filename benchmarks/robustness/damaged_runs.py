"""Damaged run folders: every command on runs of which one entry is not what it was.

    python benchmarks/robustness/damaged_runs.py --seed 0 --count 240

Trains two tiny runs once, and adds a checkpoint within an epoch. Each case damages one entry of a
copy and runs one command on it, which must end with 0, or with 2 and a sentence; every other file
must be as it was, or newer for what the command writes. Prints a table, and exits with 1 if
something was not handled.
"""

import functools
import itertools
import json
import os
import pathlib
import random
import shutil
import sys
import tempfile
import zipfile

from PIL import Image
from shared import Outcomes, parser_of, problem_of, run_cli, run_in_child

SMALL = ["--batch-size", "4", "--steps-per-epoch", "2", "--data", "DATA", "--epochs", "2"]
RUNS = {
    "gan": ["--set", "networks=mlp"],
    "vq_vae": ["--set", "num_embeddings=8", "--set", "embedding_dim=4"],
}
ENTRIES = (
    "run.json", "model.keras", "best.keras", "logs.csv", "checkpoints/epoch-0001.keras",
    "checkpoints/epoch-0002.keras", "checkpoints/epoch-0002-step-000001.keras", "checkpoints",
    "samples", "saved_model", "samples.png", "losses.png", "metrics.json",
)  # fmt: skip
COMMANDS = {
    "generate": ["generate", "RUN", "--count", "2"],
    "interpolate": ["interpolate", "RUN", "--count", "1", "--steps", "2"],
    "invert": ["invert", "RUN", "--data", "DATA", "--count", "1"],
    "evaluate": ["evaluate", "RUN", "--count", "8"],
    "export": ["export", "RUN", "--format", "litert"],
    "prior": ["prior", "RUN", "--epochs", "1", "--set", "filters=4", "--set", "layers=1"],
    "resume": ["train", "MODEL", "--output", "RUN", "--resume", "--epochs", "3"],
    "resume, complete": ["train", "MODEL", "--output", "RUN", "--resume"],
    "overwrite": ["train", "MODEL", "--output", "RUN", "--overwrite", *SMALL[:-1], "1", "ALSO"],
    "start from": ["train", "MODEL", "--start-from", "RUN", "--output", "NEW", *SMALL, "ALSO"],
}


# The commands that read run.json, and so refuse what is wrong in it.
READ_RECORD = ("evaluate", "prior", "resume", "resume, complete")
OF_PROGRESS = {
    "seconds": (-1, -0.5, float("nan"), float("inf")), "epochs_done": (-1, 10**30, True),
    "model_epochs": (-3, 10**30, False),
}  # fmt: skip
OF_SETTINGS = {
    "batch_size": (0, -1, 10**30, None, True), "seed": (-1, 2**32, 10**30, None),
    "epochs": (0, -1, 10**30, None), "steps_per_epoch": (0, -1, 10**30),
    "evaluate_every": (0, -1, 10**30), "image_size": (0, -16, 10**6), "channels": (0, 2, 4, -1),
    "holdout": (float("nan"), float("inf"), 0.0, 1.0, -0.5, 1), "strategy": ("foo", "", None),
    "policy": ("foo", "", "mixed_float16"), "binarize": ("foo", ""), "corruption": ("foo", ""),
    "set": (None, {"importance_samples": 0}, {"importance_samples": "x"}),
}  # fmt: skip


def out_of_range(path, rng):
    """Of the right type or null, but nothing that `train` writes."""
    record = json.loads(path.read_text())
    name = rng.choice((*OF_PROGRESS, *OF_SETTINGS))
    where = record if name in OF_PROGRESS else record["settings"]
    where[name] = rng.choice({**OF_PROGRESS, **OF_SETTINGS}[name])
    path.write_text(json.dumps(record))


def note(path, rng):
    """Another note of a checkpoint; a ZIP archive has no checksum of it."""
    with zipfile.ZipFile(path, "a") as archive:
        comment = bytearray(archive.comment)
        content = json.loads(comment)
        change = rng.choice(("bit", "digit", "seeds", "place", "none", "cut"))
        if change == "bit":
            comment[rng.randrange(len(comment))] ^= 1 << rng.randrange(8)
        elif change == "digit":
            places = [place for place, byte in enumerate(comment) if byte in b"123456789"]
            comment[rng.choice(places)] ^= 1
        elif change == "cut":
            comment = comment[: rng.randrange(len(comment))]
        elif change == "none":
            comment = b""
        else:
            del content["checksum"]  # as an earlier version wrote it
            if change == "seeds":
                seeds = content["seed_generators"]
                other = rng.choice((7, "x", None, [], [1], [[1, 2]], [1.5, 2], [2**70, 1], {}))
                content["seed_generators"] = rng.choice((other, [other] * len(seeds), seeds[1:]))
            else:
                content[rng.choice(("epoch", "step"))] = rng.choice((-1, 0, 1, 2, 3, "x", None, []))
            comment = json.dumps(content).encode()
        archive.comment = bytes(comment)


def other_name(path, rng):
    """A checkpoint under the name of another epoch or step."""
    epoch, step = rng.choice((1, 2, 3, 9999)), rng.choice(("", "-step-000001", "-step-999999"))
    path.rename(path.with_name(f"epoch-{epoch:04d}{step}.keras"))


def without_metrics(path, rng):
    """An archive whose checksums are right, without the metrics or with others."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
        comment = archive.comment
    members.pop("metrics.npz", None)
    if rng.random() < 0.5:
        members["metrics.npz"] = rng.choice((b"", b"x", members["config.json"]))
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = comment


def flip(path, rng):
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 8))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def truncate(path, rng):
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def empty(path, rng):
    path.write_bytes(b"")


def other_bytes(path, rng):
    path.write_bytes(rng.choice((rng.randbytes(500), b"no such thing\n", "é".encode("latin-1"))))


def folder(path, rng):
    path.unlink()
    path.mkdir()
    if rng.random() < 0.5:
        (path / "mine.txt").write_text("keep")


def fifo(path, rng):
    path.unlink()
    os.mkfifo(path)


def broken_link(path, rng):
    path.unlink()
    path.symlink_to("nowhere")


def missing(path, rng):
    path.unlink()


def other_content(path, rng):
    """Well-formed, but of another version, or of somebody else."""
    if path.suffix == ".json":
        record = json.loads(path.read_text())
        settings = record.get("settings", {})
        change = rng.choice(("list", "keys", "types", "unknown", "nested"))
        if change == "list":
            record = rng.choice(([], None, 5, "run"))
        elif change == "keys":
            for name in rng.sample(sorted(record), (len(record) + 1) // 2):
                del record[name]
        elif change == "types":
            where = rng.choice((record, settings)) or record or {"model": None}
            where[rng.choice(sorted(where))] = rng.choice(([], {}, "x", -1, 1e300, None, True))
        elif change == "unknown":
            settings["of_the_future"], record["model"] = 1, rng.choice(("gan", "new_model"))
        text = "[" * 10**5 if change == "nested" else json.dumps(record)
        path.write_text(text)
    elif path.suffix == ".keras":
        _other_archive(path, rng)
    elif path.suffix == ".csv":
        path.write_text(rng.choice((
            "a,b\n1,2\n", "epoch\n0\n1\n", "epoch,loss\n0,x\n1,y\n", "epoch,loss\n0\n1,2,3\n",
            "epoch,loss\n5,1\n1,1\n", "\0\0\0", ",,,\n,,,\n", "epoch,loss\n0,nan\n1,inf\n",
        )))  # fmt: skip
    else:
        other_bytes(path, rng)


def _other_archive(path, rng):
    """An archive whose checksums are right: another class, another argument, other members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
        comment = archive.comment
    change = rng.choice(("class", "argument", "version", "weights", "json", "keras", "comment"))
    config = json.loads(members["config.json"])
    if change == "class":
        config["class_name"] = config["registered_name"] = "keras_genimg>FromTheFuture"
    elif change == "argument":
        config["config"]["of_the_future"] = 1
    elif change == "version":
        config["config"] = {}
    elif change == "keras":
        config = {"module": "keras", "class_name": "Sequential", "config": {"layers": []},
                  "registered_name": None}
    members["config.json"] = b"[]" if change == "json" else json.dumps(config).encode()
    if change == "weights":
        del members["model.weights.h5"]
    elif change == "comment":
        comment = rng.choice((b"[]", b"5", b'{"epoch": "x", "seed_generators": 7}', b"\xff"))
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = comment


def file_in_place_of_folder(path, rng):
    shutil.rmtree(path)
    path.write_text("keep")


def foreign_files(path, rng):
    """Entries in a folder that nobody expects there."""
    (path / "zzz").mkdir()
    (path / "epoch-9999.png").mkdir()
    os.mkfifo(path / "epoch-9999.keras")
    (path / "mine.txt").write_text("keep")


def emptied(path, rng):
    shutil.rmtree(path)
    path.mkdir()


OF_FILES = {
    "bits flipped": flip, "truncated": truncate, "empty": empty, "other bytes": other_bytes,
    "other content, other version": other_content, "a folder": folder, "a FIFO": fifo,
    "a broken link": broken_link, "missing": missing,
}  # fmt: skip
OF_RECORDS = {"values out of range": out_of_range}
OF_CHECKPOINTS = {
    "another note": note, "another name": other_name, "without metrics": without_metrics,
}  # fmt: skip
OF_FOLDERS = {
    "a file in place of a folder": file_in_place_of_folder, "foreign files": foreign_files,
    "emptied": emptied,
}  # fmt: skip


def make_runs(parent):
    """The runs, and the images that they are trained on."""
    (parent / "images").mkdir()
    for number in range(8):
        level = Image.new("L", (16, 16), 30 * number)
        level.save(parent / "images" / f"{number}.png")
    for model, options in RUNS.items():
        command = ["train", model, *SMALL, *options, "--output", str(parent / model)]
        code, _, errors = run_cli(_filled(command, DATA=[str(parent / "images")]), 300)
        assert code == 0, errors
        shutil.copy(parent / model / "model.keras", parent / model / "best.keras")
        (parent / model / "metrics.json").write_text("{}")
        code, _, errors = run_in_child(functools.partial(add_step, parent / model), 100)
        assert code == 0, errors


def add_step(run):
    """Adds a checkpoint of the first step of the next epoch."""
    import keras

    from keras_genimg.callbacks.resume import save_step

    save_step(keras.saving.load_model(run / "model.keras"), run / "checkpoints", 2, 1)
    return 0


def _filled(command, **words):
    """A command with words replaced by several others."""
    return [each for word in command for each in words.get(word, [word])]


def files_of(folder):
    """path -> content of all regular files below a folder, by their place in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*") if path.is_file() and not path.is_symlink()
    }


# The beginnings of the names that a command may change; a refused one changes nothing.
CHANGES = {
    "resume": ("",), "overwrite": ("",), "evaluate": ("metrics.json",),
    "prior": ("model.keras", "saved_model", "prior"),
}  # fmt: skip


def lost(before, after, command, code, damaged):
    """What a command has removed or changed that it may not, or None."""
    if command == "resume, complete" and damaged == "model.keras":
        command = "resume"  # which writes the results of a complete run again
    for name, content in before.items():
        changes = any(name.startswith(each) for each in CHANGES.get(command, ()))
        if code == 0 and changes and ("mine.txt" not in name or command == "overwrite"):
            continue
        if after.get(name) != content:
            return f"{name} was {'changed' if name in after else 'removed'}"
    return None


def all_cases(rng):
    """Every kind of damage to every entry under every command: each kind in turn."""
    kinds = []
    for group, entries in (
        (OF_FILES, [name for name in ENTRIES if "." in name]),
        (OF_FOLDERS, [name for name in ENTRIES if "." not in name]),
        (OF_RECORDS, ["run.json"]),
        (OF_CHECKPOINTS, [name for name in ENTRIES if name.startswith("checkpoints/")]),
    ):
        for kind, damage in group.items():
            kinds.append([(kind, damage, *case) for case in itertools.product(entries, COMMANDS)])
            rng.shuffle(kinds[-1])
    return [case for turn in itertools.zip_longest(*kinds) for case in turn if case]


def one_case(rng, number, case, originals, outcomes):
    kind, damage, name, command = case
    model = "vq_vae" if command == "prior" else "gan"
    with tempfile.TemporaryDirectory() as parent:
        run = pathlib.Path(parent) / "run"
        shutil.copytree(originals / model, run)
        damage(run / name, rng)
        before = files_of(run)
        arguments = _filled(
            COMMANDS[command], RUN=[str(run)], MODEL=[model], NEW=[str(run.parent / "new")],
            ALSO=RUNS[model], DATA=[str(originals / "images")],
        )
        ended = run_cli(arguments, 200)
        problem = problem_of(*ended) or lost(
            before, files_of(run), command, ended[0], name
        )
        if problem is None and ended[0] and str(run) not in ended[2]:
            problem = f"the file is not named: {ended[2]}"
        if problem is None and kind in OF_RECORDS and command in READ_RECORD and not ended[0]:
            problem = f"it was accepted: {(run / 'run.json').read_text()[:300]}"
    outcomes.add(kind, f"case {number}: {name}, {command}", problem)
    return ended


def main():
    parser = parser_of(__doc__, 240)
    parser.add_argument("--only", type=int, help="one case, by its number; prints how it ended")
    options = parser.parse_args()
    outcomes = Outcomes()
    with tempfile.TemporaryDirectory() as originals:
        make_runs(pathlib.Path(originals))
        cases = all_cases(random.Random(options.seed))
        for number in range(options.count) if options.only is None else [options.only]:
            rng = random.Random(f"{options.seed} {number}")
            case = cases[number % len(cases)]
            ended = one_case(rng, number, case, pathlib.Path(originals), outcomes)
            if options.only is not None:
                print(*ended, sep="\n")
    return outcomes.report()


if __name__ == "__main__":
    sys.exit(main())
