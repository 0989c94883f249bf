"""Lays two drawings of the same emoji out as folders of images, one in ten held out.

The archives come from the npm packages emoji-datasource-google and emoji-datasource-twitter
16.0.0: DRAWING/CLASS/UNICODE.png, 64x64 with transparency. The folder has

    OUTPUT/train/CLASS/DRAWING-UNICODE.png
    OUTPUT/test/CLASS/DRAWING-UNICODE.png     every tenth UNICODE by sorted name

and is what `keras-genimg train MODEL --data OUTPUT` takes. With `--separate` each drawing has a
folder, in which an emoji has the same name, for `--data OUTPUT/noto --data-b OUTPUT/twemoji`:

    OUTPUT/DRAWING/train/CLASS/UNICODE.png

With `--validation` the test images are left out, and test/ has another tenth, to choose settings
on. With `--emoji N` train/ has the images of N emoji only, spread over all names.

    python benchmarks/emoji.py noto.zip twemoji.zip --output emoji
    python benchmarks/emoji.py noto.zip twemoji.zip --output . --separate
    python benchmarks/emoji.py noto.zip twemoji.zip --emoji 500 --output emoji_500
"""

import argparse
import contextlib
import io
import pathlib
import zipfile

from PIL import Image


def on_white(data):
    """A PNG without transparency."""
    image = Image.open(io.BytesIO(data)).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def lay_out(archives, output, test_rank, left_out=None, most=None, separate=False):
    """Writes the folder; returns the number of images of each split.

    Args:
        archives: list of paths.
        output: path.
        test_rank, left_out: ints, ranks modulo ten: of the test split, and of what is in neither.
        most: int, or None for all. Emoji of the training split.
        separate: bool. Whether each drawing has a folder.
    """
    counts = {"train": 0, "test": 0}
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(zipfile.ZipFile(archive)) for archive in archives]
        members = [(file, name) for file in files for name in file.namelist() if is_image(name)]
        codes = sorted({code_of(name) for _, name in members})
        splits = {code: "test" for rank, code in enumerate(codes) if rank % 10 == test_rank}
        of_train = [
            code for rank, code in enumerate(codes) if rank % 10 not in (test_rank, left_out)
        ]
        number = min(most or len(of_train), len(of_train))
        splits |= {of_train[i * len(of_train) // number]: "train" for i in range(number)}
        for file, name in members:
            split = splits.get(code_of(name))
            if split is None:
                continue
            drawing, group, code = name.split("/")
            path = output / split / group / f"{drawing}-{code}"
            if separate:
                path = output / drawing / split / group / code
            path.parent.mkdir(parents=True, exist_ok=True)
            on_white(file.read(name)).save(path)
            counts[split] += 1
    return counts


def is_image(name):
    return name.endswith(".png")


def code_of(name):
    return name.split("/")[2]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archives", nargs="+", type=pathlib.Path)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--validation", action="store_true")
    parser.add_argument("--emoji", type=int, help="emoji to train on, by default all")
    parser.add_argument("--separate", action="store_true", help="one folder for each drawing")
    arguments = parser.parse_args()
    ranks = (8, 9) if arguments.validation else (9, None)
    counts = lay_out(
        arguments.archives, arguments.output, *ranks, arguments.emoji, arguments.separate
    )
    print(f"{arguments.output}: {counts['train']} images to train on, {counts['test']} held out")


if __name__ == "__main__":
    main()
