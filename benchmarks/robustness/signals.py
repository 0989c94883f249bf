"""SIGINT and SIGTERM at random moments of a command, and what is left.

    python benchmarks/robustness/signals.py --seed 0 --count 30

Each command must end with 130 or 143 and a sentence. Then `--resume` (or a new run, where nothing
was left) must end with the weights, optimizers and logs of an uninterrupted run, to the bit, and
leave no partial files.
"""

import contextlib
import io
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

os.environ["TF_DETERMINISTIC_OPS"] = "1"

from shared import Outcomes, parser_of, problem_of, run_in_child

TRAIN = ["train", "vae", "--image-size", "16", "--batch-size", "8", "--steps-per-epoch", "40",
         "--epochs", "4", "--set", "networks=mlp"]  # fmt: skip
PHASES = {  # functions during which signals come
    "loading and building": ("keras_genimg.runs.training", "_train"),
    "training": ("keras_genimg.core.image_model", "ImageModel.fit"),
    "writing the results": ("keras_genimg.runs.training", "_write_results"),
    "exporting": ("keras_genimg.runs", "export"),
    "generating": ("keras_genimg.runs", "generate"),
}
SHARES = [*["training"] * 4, *["loading and building", "writing the results"] * 2, "importing",
          "exporting", "generating"]  # fmt: skip


@contextlib.contextmanager
def phase(name, entered, left=lambda: None):
    """Calls functions where a phase begins and ends."""
    import importlib

    module, path = PHASES[name]
    *owners, last = path.split(".")
    owner = importlib.import_module(module)
    for each in owners:
        owner = getattr(owner, each)
    function = getattr(owner, last)

    def called(*args, **kwargs):
        entered()
        try:
            return function(*args, **kwargs)
        finally:
            left()

    setattr(owner, last, called)
    yield
    setattr(owner, last, function)


def seconds_of_phases(arguments, names):
    """{name: seconds} of a command that nobody disturbs, which must end with 0."""
    from keras_genimg.cli import main

    with tempfile.TemporaryDirectory() as folder:
        def measured():
            with contextlib.ExitStack() as stack:
                for name in names:
                    file = pathlib.Path(folder, name)
                    times = []
                    stack.enter_context(phase(
                        name, lambda times=times: times.append(time.monotonic()),
                        lambda times=times, file=file: file.write_text(
                            str(time.monotonic() - times[0])
                        ),
                    ))
                return main(arguments)

        code, _, errors = run_in_child(measured, 300)
        if code != 0:
            raise SystemExit(f"an undisturbed command ended with {code}: {errors}")
        return {name: float(pathlib.Path(folder, name).read_text()) for name in names}


def disturbed(arguments, name, delays, numbers):
    """A command to which signals come, so many seconds after a phase begins."""
    from keras_genimg.cli import main

    def command():
        def send():
            for delay, number in zip(delays, numbers):
                time.sleep(delay)
                os.kill(os.getpid(), number)

        with phase(name, threading.Thread(target=send, daemon=True).start):
            return main(arguments)

    return run_in_child(command, 120)


def disturbed_import(arguments, delay, number):
    """A command to which a signal comes so many seconds after its process has started."""
    process = subprocess.Popen(
        [sys.executable, "-m", "keras_genimg", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(delay)
    process.send_signal(number)
    out, errors = process.communicate(timeout=120)
    return process.returncode, out, errors


def content(run):
    """The arrays in the weights of a run, its optimizers included, and its logs."""
    import h5py

    arrays = {"logs": (run / "logs.csv").read_text()}
    with zipfile.ZipFile(run / "model.keras") as archive:
        file = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(file) as tree:
        tree.visititems(
            lambda name, item: arrays.update({name: item[()].tobytes()})
            if isinstance(item, h5py.Dataset) else None
        )
    return arrays


def problem_of_end(ended, numbers):
    code, _, errors = ended
    said = [line for line in errors.splitlines() if line.startswith("keras-genimg")]
    if "Exception ignored" in errors:
        return f"a lost exception: {errors[-1500:]}"
    if code not in (0, *(128 + number for number in numbers)):
        return f"exit code {code}: {errors[-1500:]}"
    if code and not said:
        return f"exit code {code} without a sentence: {errors[-1500:]}"
    return problem_of(*ended)


def problem_of_rest(place, run, expected):
    """What is wrong with the run once it has been trained to its end."""
    again = ["--resume"] if run.exists() else []
    from keras_genimg.cli import main

    arguments = [*TRAIN, "--output", str(run), *again]
    code, _, errors = run_in_child(lambda: main(arguments), 300)
    if code != 0:
        return f"{'resumed' if again else 'trained anew'}, it ends with {code}: {errors[-1500:]}"
    found = content(run)
    different = [name for name in expected if found.get(name) != expected[name]]
    if different or len(found) != len(expected):
        return f"{len(different)} of {len(expected)} arrays are others, such as {different[:3]}"
    return partial_files(place)


def partial_files(place):
    names = [path.name for path in place.rglob(".*")]
    return f"files are left: {names}" if names else None


def one_case(rng, place, reference, seconds, expected):
    """A command that is disturbed: `(kind, description, problem)`."""
    run, name = place / "run", rng.choice(SHARES)
    numbers = [rng.choice([signal.SIGINT, signal.SIGTERM])]
    if name == "importing":
        arguments, delay = [*TRAIN, "--output", str(run)], rng.uniform(0.1, seconds[name])
        what = f"{signal.Signals(numbers[0]).name} after {delay:.3f} s"
        ended = disturbed_import(arguments, delay, numbers[0])
        problem = problem_of_end(ended, numbers)
        return name, what, problem or problem_of_rest(place, run, expected)
    delays = [rng.uniform(0, seconds[name])]
    if rng.random() < 0.3:
        numbers.append(rng.choice([signal.SIGINT, signal.SIGTERM]))
        delays.append(rng.uniform(0, 0.5))
    what = ", ".join(
        f"{number.name} after {delay:.3f} s" for number, delay in zip(numbers, delays)
    )
    if name in ("exporting", "generating"):
        shutil.copytree(reference, run)
        output = place / ("saved" if name == "exporting" else "images")
        command = "export" if name == "exporting" else "generate"
        arguments = [command, str(run), "--output", str(output)]
        problem = problem_of_end(disturbed(arguments, name, delays, numbers), numbers)
        if problem is None and not output.exists():
            problem = problem_of_end(disturbed(arguments, name, [], []), [])
        return name, what, problem or partial_files(place)
    ended = disturbed([*TRAIN, "--output", str(run)], name, delays, numbers)
    problem = problem_of_end(ended, numbers)
    return name, what, problem or problem_of_rest(place, run, expected)


def main():
    options = parser_of(__doc__, 30).parse_args()
    rng, outcomes, began = random.Random(options.seed), Outcomes(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        reference = pathlib.Path(folder, "reference")
        names = ["loading and building", "training", "writing the results"]
        seconds = seconds_of_phases([*TRAIN, "--output", str(reference)], names)
        seconds["loading and building"] -= sum(seconds[name] for name in names[1:])
        for name, command in (("exporting", "export"), ("generating", "generate")):
            output = ["--output", str(pathlib.Path(folder, command))]
            seconds |= seconds_of_phases([command, str(reference), *output], [name])
        start = time.monotonic()
        subprocess.run([sys.executable, "-c", "import keras_genimg.runs"], check=True)
        seconds["importing"] = time.monotonic() - start
        expected = content(reference)
        for number in range(options.count):
            place = pathlib.Path(folder, str(number))
            place.mkdir()
            outcomes.add(*one_case(rng, place, reference, seconds, expected))
            shutil.rmtree(place)
    code = outcomes.report()
    print(f"\n{time.monotonic() - began:.0f} s, seed {options.seed}")
    return code


if __name__ == "__main__":
    sys.exit(main())
