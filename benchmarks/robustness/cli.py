"""Hostile command lines: values of every option that are wrong, huge, of another type, or unused.

    python benchmarks/robustness/cli.py --seed 0 --count 400

Trains three tiny runs once. Each case is one command in a child process, which must end in time
with 0, or with 2 and a sentence, and must leave all files of the runs as they were. Prints a
table, and exits with 1 if something was not handled.
"""

import itertools
import os
import pathlib
import random
import shutil
import sys
import tempfile

from PIL import Image
from shared import Outcomes, parser_of, problem_of, run_cli

SMALL = ["--batch-size", "4", "--steps-per-epoch", "1", "--epochs", "1"]
RUNS = {
    "gan": ["--set", "networks=mlp"], "conditional_gan": [],
    "vq_vae": ["--set", "num_embeddings=8"],
}  # fmt: skip
NEW = ["--output", "{new}"]
TRAIN = ["train", "gan", "--data", "{images}", *SMALL, *NEW, "--set", "networks=mlp"]
BASE = {
    "train": TRAIN,
    "prior": ["prior", "{vq_vae}", "--epochs", "1", "--set", "filters=4", "--set", "layers=1"],
    "generate": ["generate", "{gan}", "--count", "2"],
    "interpolate": ["interpolate", "{gan}", "--count", "1", "--steps", "2"],
    "invert": ["invert", "{gan}", "--images", "{images}/a/0.png"],
    "evaluate": ["evaluate", "{gan}", "--count", "4"],
    "export": ["export", "{gan}", "--format", "litert"],
}
DIGITS = "12345678901234567890"
NUMBERS = ("-1", "0", DIGITS, f"-{DIGITS}", "1.5", "", "x", "nan", "inf", "1e3", "0x10", "9" * 5000)
INTEGERS = {
    "train": ("--image-size", "--channels", "--batch-size", "--epochs", "--steps-per-epoch",
              "--seed", "--evaluate-every"),
    "prior": ("--epochs", "--batch-size", "--seed"),
    "generate": ("--count", "--seed", "--frames"),
    "interpolate": ("--count", "--steps", "--seed"),
    "invert": ("--count", "--seed"),
    "evaluate": ("--count", "--seed", "--importance-samples"),
}
TEXTS = (
    "", " ", "a" * 300, "a/" * 3000 + "b", "x\0y", "\udcff", "new\nline", ".", "..", "~", "/", "-",
    "/dev/null", "/proc/self/nothing", "/dev/full", "{images}/a/0.png/below", "{fifo}", "{loop}",
    "{notes}", "{images}", "{empty}", "{gan}", "\u202e", "*", "train[:", "gs://bucket/run",
)
PATHS = {
    "train": ("--output", "--data", "--data-dir", "--start-from", "--data-b", "--recipe",
              "--binarize", "--corruption", "--features", "--strategy"),
    "generate": ("--output", "--labels"),
    "interpolate": ("--output", "--labels"),
    "invert": ("--output", "--images", "--data", "--data-dir", "--split", "--labels"),
    "evaluate": ("--data", "--data-dir", "--split", "--features", "--metrics"),
    "export": ("--output",),
}
OF_A_RUN = (
    "run.json", "model.keras", "best.keras", "logs.csv", "losses.png", "samples.png",
    "prior_samples.png", "samples/epoch-0001.png", "samples", "checkpoints", "checkpoints/x.png",
    "saved_model/x.npz", "../{name}/losses.png", "LOSSES.PNG", "checkpoints/epoch-0001.keras",
    "saved_model/variables", "",
)  # fmt: skip
SILLY = (
    "[[1,[2]]]", "{}", "[]", "()", "None", "true", "-1", "0", DIGITS, "1e308", "nan", "inf", "-inf",
    "1+2j", "b'x'", "{1,2}", "{[]:1}", "'", "hinge", "", "[" * 5000, "9" * 5000, "{'a':{'b':[1]}}",
    "(1,2,3)", "0.5", "x" * 300,
)
NAMES = (
    "latent_dim", "networks", "loss", "learning_rate", "image_shape", "seed", "name", "dtype",
    "network_options", "augment", "ema_decay", "beta_1", "optimizer", "steps_per_execution",
    "jit_compile", "generator", "discriminator", "normalization", "no_such_name", "self",
    "n_critic", "gradient_clip", "loss_weights", "run_eagerly", "trainable", "num_classes",
)
LABELS = ("0", "a", "a,b", "-1", "99", DIGITS, "1.5", "", ",", "a,,b", "\u0663", "b" * 300, "a b")


def numbers(rng):
    for command, options in INTEGERS.items():
        for option, value in itertools.product(options, NUMBERS):
            huge = len(value) >= 20 and option != "--seed"
            yield [*BASE[command], f"{option}={value}"], 2 if huge else None


def texts(rng):
    for command, options in PATHS.items():
        for option, value in itertools.product(options, TEXTS):
            yield [*BASE[command], f"{option}={value}"], None
    for command, value in itertools.product(BASE, TEXTS):
        if command != "train" and value not in ("-", "{gan}"):
            yield [command, value, *BASE[command][2:]], 2


def formats(rng):
    endings = ("png", "npz", "gif", "txt", "jpg", "tflite", "onnx", "keras", "json", "PNG", "")
    for format, ending in itertools.product(("png", "npz", "gif"), endings):
        name = f"{{new}}.{ending}" if ending else "{new}"
        wrong = ending.lower() != format and (format != "png" or ending != "")
        yield [*BASE["generate"], "--format", format, "--output", name], 2 if wrong else 0
    for command, right in (("interpolate", ("png", "gif", "npz")), ("invert", ("png", "npz"))):
        for ending in endings:
            ends = 0 if ending.lower() in right else 2
            yield [*BASE[command], "--output", f"{{new}}.{ending}"], ends
    for format, ending in itertools.product(("saved_model", "litert", "onnx"), endings):
        wrong = (ending in ("tflite", "onnx")) if format == "saved_model" else (
            ending != {"litert": "tflite", "onnx": "onnx"}[format])
        name = f"{{new}}.{ending}" if ending else "{new}"
        yield ["export", "{gan}", "--format", format, "--output", name], 2 if wrong else None


def files_of_runs(rng):
    commands = ("generate", "interpolate", "invert", "export")
    for command, file, run in itertools.product(commands, OF_A_RUN, ("gan", "vq_vae")):
        path = os.path.join(f"{{{run}}}", file.replace("{name}", run))
        for more in ([], ["--overwrite"]):
            yield [*BASE[command], "--output", path, *more], 2
    for command in commands:
        yield [*BASE[command], "--output", "{linked}.png", "--overwrite"], 2
        yield [*BASE[command], "--output", "{notes}", "--overwrite"], 2


def settings(rng):
    for name, value in itertools.product(NAMES, SILLY):
        yield [*TRAIN[:-2], "--set", f"{name}={value}"], None
    for value in SILLY:
        name = rng.choice(("layers", "dropout", "heads"))
        yield [*BASE["prior"], "--set", f"{name}={value}"], None
        yield [*TRAIN, "--set", value], 2
    for model in ("vae", "wgan", "vq_vae", "cnn_classifier", "pixel_cnn"):
        for value in rng.sample(SILLY, 5):
            name = rng.choice(("latent_dim", "beta", "n_critic", "num_embeddings", "filters"))
            yield ["train", model, *TRAIN[2:-2], "--set", f"{name}={value}"], None


def unused(rng):
    for more in (
        ["--features", "glyphs"], ["--connect-timeout", "5"], ["--data-b", "glyphs"],
        ["--corruption", "mask"], ["--recipe", "vae_mnist"], ["--set", "num_classes=3"],
        ["--connect-timeout", "nan"], ["--resume", "--overwrite"], ["--resume"],
    ):
        yield [*TRAIN, *more], 2
    for model in ("conditional_gan", "cnn_classifier", "pix2pix", "cyclegan", "sequence_gan"):
        for more in (["--data-b", "{images}"], ["--corruption", "noise"], ["--binarize", "dynamic"],
                     ["--evaluate-every", "1"], ["--features", "mnist"]):
            yield ["train", model, *TRAIN[2:-2], *more], None
    for more in (["--labels", "0"], ["--frames", "3"], ["--precision", "int8"]):
        yield [*BASE["generate"], *more], 2
    yield [*BASE["interpolate"], "--labels", "a"], 2
    for more in (["--labels", "a"], ["--split", "test"], ["--data-dir", "x"], ["--data", "glyphs"]):
        yield [*BASE["invert"], *more], 2
    for more in (["--features", "mnist"], ["--importance-samples", "3"],
                 ["--metrics", "log_likelihood"], ["--metrics", "none"],
                 ["--metrics", "frechet_distance", "--features", "none"],
                 ["--metrics", "log_likelihood", "--features", "mnist"]):
        yield [*BASE["evaluate"], *more], 2
    for format, precision in itertools.product(("saved_model", "onnx"), ("float32", "int8")):
        yield ["export", "{gan}", "--format", format, "--precision", precision, *NEW], 2
    yield ["prior", "{gan}"], 2
    yield ["prior", "{vq_vae}", "--kind", "pixel_cnn", "--set", "heads=2"], 2


def labels(rng):
    for command, text in itertools.product(("generate", "interpolate", "invert"), LABELS):
        yield [command, "{conditional_gan}", *BASE[command][2:], f"--labels={text}"], None


def words(rng):
    """Options that other commands have, options twice, and options without a value."""
    options = [
        ["--count", "2"], ["--seed", "1"], ["--overwrite"], ["--resume"], ["--labels", "a"],
        ["--output", "{new}"], ["--format", "png"], ["--format", "litert"], ["--steps", "3"],
        ["--method", "spherical"], ["--mask", "half"], ["--split", "train[:4]"], ["--policy", "x"],
        ["--metrics"], ["--kind"], ["--by-class"], ["--count"], ["extra"], ["--set"], ["--", "x"],
        ["--help"], ["--version"], ["--holdout", "0.5"], ["--holdout", "1e-9"], ["--holdout=-1"],
    ]  # fmt: skip
    for command in BASE:
        for one, two in itertools.product(options, options):
            yield [*BASE[command], *one, *two], None


def streams(rng):
    """Standard output is a pipe that nobody reads, or a full disk."""
    for command in (*BASE, "list", "--help", "--version", "nothing"):
        given = BASE.get(command, [command])
        yield [*given, "|"], 2 if command == "nothing" else 0
        yield [*given, ">/dev/full"], None
    yield ["generate", "{gan}", "--count", "0", "|"], 2


def odd_names(rng):
    """Names that are not UTF-8, and names that standard output cannot encode."""
    endings = {"train": [""], "generate": ["", ".png", ".npz", ".gif"],
               "interpolate": [".png", ".npz", ".gif"], "invert": [".png", ".npz"]}  # fmt: skip
    for name in ("\udcff", "\xfc", "\udcff\xfc\n"):
        for command, each in endings.items():
            for ending in each:
                yield [*BASE[command], "--output", f"{{new}}{name}{ending}"], 0
        for format, ending in (("saved_model", ""), ("litert", ".tflite")):
            new = ["--output", f"{{new}}{name}{ending}"]
            yield ["export", "{gan}", "--format", format, *new], 0
        yield [*BASE["generate"], "--output", f"{{new}}{name}.txt"], 2
    for command in ("generate", "interpolate", "invert", "evaluate", "export"):
        yield [command, "{odd gan}", *BASE[command][2:]], 0
    yield ["invert", "{gan}", "--images", "{odd images}", "--count", "2"], 0
    yield ["invert", "{gan}", "--images", "{odd images}/a/0.png"], 0
    yield ["evaluate", "{gan}", "--data", "{odd images}", "--count", "4"], 0
    yield ["train", "gan", "--data", "{odd images}", *TRAIN[4:]], 0
    yield [*TRAIN, "--start-from", "{odd gan}"], 0


KINDS = {
    "numbers": numbers, "paths and names": texts, "formats and endings": formats,
    "files of a run": files_of_runs, "--set": settings, "unused options": unused,
    "--labels": labels, "other options": words, "closed pipe, full disk": streams,
    "names in no encoding": odd_names,
}  # fmt: skip


def make_places(folder):
    """What the commands name: placeholder -> path."""
    names = (*RUNS, "images", "fifo", "loop", "notes", "empty", "linked")
    places = {name: str(folder / name) for name in names}
    for name in ("gan", "images"):
        places[f"odd {name}"] = str(folder / f"\udcff\xfc {name}")
        os.symlink(folder / name, places[f"odd {name}"])
    for number in range(8):
        path = folder / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (16, 16), 30 * number).save(path)
    os.mkfifo(folder / "fifo")
    (folder / "loop").symlink_to("loop")
    (folder / "notes").write_text("keep")
    (folder / "empty").mkdir()
    (folder / "linked.png").symlink_to(folder / "gan" / "samples.png")
    for model, options in RUNS.items():
        run = ["--output", places[model]]
        command = ["train", model, "--data", places["images"], *SMALL, *options, *run]
        code, _, errors = run_cli(command, 300)
        assert code == 0, errors
    return places


def content_of(folder):
    """path -> bytes of what no command may touch."""
    return {
        path: path.read_bytes()
        for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")
    }


def put_back(folder, kept):
    """Removes what a command has written; what was changed or removed is written again."""
    changed = []
    for path, content in content_of(folder).items():
        if path not in kept:
            path.unlink()
        elif content != kept[path]:
            changed.append(path)
    changed += [path for path in kept if not path.is_file()]
    for path in changed:
        path.write_bytes(kept[path])
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and path.name != "empty" and not list(path.iterdir()):
            path.rmdir()
    return changed


def one_case(kind, arguments, expected, places, folder, kept, outcomes):
    with tempfile.TemporaryDirectory() as away:
        words = {**places, "new": os.path.join(away, "new")}
        filled = [_filled(argument, words) for argument in arguments]
        stdout = filled.pop().lstrip(">") if filled[-1] in ("|", ">/dev/full") else None
        os.chdir(away)
        ended = run_cli(filled, 150, stdout)
        os.chdir(folder)
    problem = problem_of(*ended)
    if problem is None and expected is not None and ended[0] != expected:
        problem = f"exit code {ended[0]}, not {expected}: {ended[2][-500:]}"
    allowed = {"prior": ("vq_vae",), "evaluate": ("gan",)}.get(arguments[0], ())
    changed = [path for path in put_back(folder, kept)
               if path.relative_to(folder).parts[0] not in allowed]
    if problem is None and changed:
        problem = f"changed or removed: {', '.join(map(str, changed))}"
    shown = [each if len(each) < 80 else f"{each[:60]}... ({len(each)})" for each in arguments]
    outcomes.add(kind, " ".join(map(repr, shown)), problem)
    return ended


def _filled(argument, words):
    for name, path in words.items():
        argument = argument.replace(f"{{{name}}}", path)
    return argument


def main():
    parser = parser_of(__doc__, 400)
    parser.add_argument("--kind", choices=tuple(KINDS))
    options = parser.parse_args()
    rng, outcomes = random.Random(options.seed), Outcomes()
    cases = {}
    for kind in KINDS if options.kind is None else [options.kind]:
        cases[kind] = list(KINDS[kind](rng))
        rng.shuffle(cases[kind])
    with tempfile.TemporaryDirectory() as parent:
        folder = pathlib.Path(parent)
        places = make_places(folder)
        kept = content_of(folder)
        # Each kind in turn, as long as it has cases.
        turns = (case for turn in itertools.zip_longest(*([(kind, *each) for each in found]
                 for kind, found in cases.items())) for case in turn if case)
        for case in itertools.islice(turns, options.count):
            one_case(*case, places, folder, kept, outcomes)
        os.chdir(parent)
        shutil.rmtree(folder / "empty")
    return outcomes.report()


if __name__ == "__main__":
    sys.exit(main())
