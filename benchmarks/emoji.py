"""Lays two drawings of the same emoji out as folders of images, one in ten held out.

The archives come from the npm packages emoji-datasource-google and emoji-datasource-twitter
16.0.0: DRAWING/CLASS/UNICODE.png, 64x64 with transparency. The folder has

    OUTPUT/train/CLASS/DRAWING-UNICODE.png
    OUTPUT/test/CLASS/DRAWING-UNICODE.png     every tenth UNICODE by sorted name

and is what `kg.load(OUTPUT)` and `keras-genimg train MODEL --data OUTPUT` take.

    python benchmarks/emoji.py noto.zip twemoji.zip --output emoji
"""

import argparse
import io
import pathlib
import zipfile

from PIL import Image

HELD_OUT = 10  # every tenth


def on_white(data):
    """A PNG without transparency."""
    image = Image.open(io.BytesIO(data)).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def lay_out(archives, output):
    """Writes the folder; returns the number of images of each split."""
    output = pathlib.Path(output)
    counts = {"train": 0, "test": 0}
    for archive in archives:
        with zipfile.ZipFile(archive) as file:
            members = [name for name in file.namelist() if name.endswith(".png")]
            for rank, name in enumerate(sorted(members, key=lambda name: name.split("/")[2])):
                drawing, group, code = name.split("/")
                split = "test" if rank % HELD_OUT == HELD_OUT - 1 else "train"
                path = output / split / group / f"{drawing}-{code}"
                path.parent.mkdir(parents=True, exist_ok=True)
                on_white(file.read(name)).save(path)
                counts[split] += 1
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archives", nargs="+", type=pathlib.Path)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    counts = lay_out(arguments.archives, arguments.output)
    print(f"{arguments.output}: {counts['train']} images to train on, {counts['test']} held out")


if __name__ == "__main__":
    main()
