"""Hostile files in folders of images: each is used, or named with its reason; nothing waits.

    python benchmarks/robustness/images.py --seed 0 --count 40

Each case puts one such file beside three good images and loads the folder twice, in memory and as
a set larger than memory, in a child process. It is handled if every file is used or counted, the
good images have their pixels, and both ways agree. Prints a table, and exits with 1 if something
was not handled.
"""

import functools
import io
import os
import pathlib
import random
import shutil
import socket
import struct
import sys
import tempfile
import warnings
import zlib

import numpy as np
from PIL import Image
from shared import Outcomes, parser_of, run_in_child

import keras_genimg as kg
from keras_genimg.data import images as sets
from keras_genimg.data.pipeline import open_set

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000", "TGA", "PPM", "ICO", "PCX")
TIMEOUT = 60


def pixels(rng, *shape, kind="uint8"):
    return np.random.default_rng(rng.randrange(2**30)).integers(0, 256, shape).astype(kind)


def encoded(rng, name=None, **options):
    buffer = io.BytesIO()
    image = Image.fromarray(pixels(rng, 24, 20, 3))
    image.save(buffer, name or rng.choice(FORMATS), **options)
    return bytearray(buffer.getvalue())


def truncated(rng, folder):
    content = encoded(rng)
    (folder / "x.png").write_bytes(content[: rng.randrange(len(content))])


def flipped(rng, folder):
    content = encoded(rng)
    for _ in range(rng.choice((1, 8, 100))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    (folder / "x").write_bytes(content)


def bomb(rng, folder):
    """A PNG that says it is huge, and one of many equal pixels."""
    side = rng.choice((30_000, 100_000, 2**31 - 1))
    (folder / "x.png").write_bytes(png(side, side, zlib.compress(bytes(10**6))))


def zero_size(rng, folder):
    name = rng.choice(("PNG", "GIF", "BMP", "PPM"))
    if name == "PPM":
        content = b"P6 0 0 255\n"
    elif name == "PNG":
        content = png(0, rng.choice((0, 5)), zlib.compress(b""))
    else:
        content = encoded(rng, name)
        content[6 if name == "GIF" else 18 :][:4] = b"\0" * 4
        content[6 if name == "GIF" else 18 : 10 if name == "GIF" else 22] = b"\0" * 4
    (folder / "x.png").write_bytes(content)


def png(width, height, data):
    def chunk(name, content):
        return (struct.pack(">I", len(content)) + name + content
                + struct.pack(">I", zlib.crc32(name + content)))  # fmt: skip

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def deep(rng, folder):
    values = pixels(rng, 24, 20, kind="uint16") * rng.choice((1, 16, 257))
    Image.fromarray(values).save(folder / rng.choice(("x.png", "x.tif")))


def float_tiff(rng, folder):
    Image.fromarray(pixels(rng, 24, 20, kind="float32") / 255).save(folder / "x.tif")


def inks(rng, folder):
    image = Image.fromarray(pixels(rng, 24, 20, 4), "CMYK")
    image.save(folder / "x.jpg", rng.choice(("JPEG", "TIFF")))


def transparent(rng, folder):
    image = Image.fromarray(pixels(rng, 24, 20, 3)).quantize(17)
    image.save(folder / "x.png", transparency=rng.choice((0, 5, bytes(range(17)))))


def animated(rng, folder):
    frames = [Image.fromarray(pixels(rng, 24, 20, 3)) for _ in range(3)]
    name = rng.choice(("GIF", "PNG", "WEBP", "TIFF"))
    frames[0].save(folder / "x.gif", name, save_all=True, append_images=frames[1:])


def rotated(rng, folder):
    exif = Image.Exif()
    exif[0x0112] = rng.choice((0, 1, 3, 6, 8, 9, 65535, "left"))
    name, length = rng.choice(("JPEG", "PNG")), rng.choice((None, 20))
    content = encoded(rng, name, exif=exif.tobytes()[:length])
    (folder / "x.jpg").write_bytes(content)


def wrong_suffix(rng, folder):
    (folder / ("x" + rng.choice(("", ".txt", ".eps", ".heic", ".PNG", ".svg")))).write_bytes(
        rng.choice((encoded(rng), b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg/>", b"\0" * 100, b"")))


def fifo(rng, folder):
    os.mkfifo(folder / "x.png")


def served(rng, folder):
    os.chdir(folder)  # the path of a socket is short
    socket.socket(socket.AF_UNIX).bind("x.png")


def links(rng, folder):
    target = rng.choice((".", "..", "x.png", "nowhere", "/proc/self/fd/0", "/dev/zero", "a.png"))
    (folder / "x.png").symlink_to(target)


def unreadable(rng, folder):
    (folder / "x.png").write_bytes(encoded(rng))
    (folder / "x.png").chmod(0)  # the superuser reads it all the same


def odd_names(rng, folder):
    name = rng.choice((b"\xff\xfe.png", b"new\nline.png", b"\x1b[31m.png", b"a" * 251 + b".png",
                       "\u202e.png".encode(), b" ", b"*?[.png", b"-rf"))  # fmt: skip
    pathlib.Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_bytes(encoded(rng))


def changing(rng, folder):
    """Files that are replaced, cut or removed between two batches; see `read_changing`."""
    for number in range(40):
        (folder / f"x{number}.jpg").write_bytes(encoded(rng, "JPEG"))


KINDS = {
    "truncated": truncated, "bits flipped": flipped, "bomb": bomb, "size of zero": zero_size,
    "16 bits": deep, "floats": float_tiff, "inks": inks, "palette, transparent": transparent,
    "animated": animated, "orientation": rotated, "wrong suffix": wrong_suffix, "FIFO": fifo,
    "socket": served, "links": links, "unreadable": unreadable, "odd names": odd_names,
    "changing": changing,
}  # fmt: skip


def read(folder):
    """What is read in memory and as a stream: images, and the number of files told of."""
    ways = []
    for limit in (2**30, 0):
        sets.MEMORY_LIMIT = limit
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            _, open_reader = open_set(folder, "train", (16, 16), None, 3, None, None)
            reader = open_reader()
            found = [image for batch in reader.order(None).batch(2).map(reader.read)
                     for image in batch[0].numpy()]  # fmt: skip
        for warning in caught:
            if "Skipped" in str(warning.message) and len(str(warning.message)) > 1000:
                raise AssertionError(f"a warning of {len(str(warning.message))} characters")
        ways.append((found, reader.num_images + sum(reader.skipped.values())))
    return ways


def check(folder, good):
    """Raises where a folder is not read as it must be."""
    entries = len(os.listdir(folder))
    ways = read(folder)
    for found, told in ways:
        assert told == entries, f"{told} of {entries} files are used or told of"
        for image in good:
            assert any(np.array_equal(image, other) for other in found), "a good image is missing"
    (memory, _), (stream, _) = ways
    if len(memory) == len(stream):
        np.testing.assert_array_equal(memory, stream)
    for image in stream:  # a file that turns out to be damaged is replaced by another
        assert any(np.array_equal(image, other) for other in memory), "pixels of no file"


def read_changing(rng, folder):
    sets.MEMORY_LIMIT = 0
    dataset = kg.load(folder, batch_size=2, image_size=16, channels=3, epochs=3)
    for number, batch in enumerate(dataset):
        assert np.isfinite(batch).all() and abs(batch.numpy()).max() <= 1
        path = rng.choice(sorted(folder.glob("x*")) or [folder / "a.png"])
        change = rng.choice(("remove", "cut", "other", "folder", "fifo"))
        if path.name == "a.png" or number > 30:
            continue
        content = path.read_bytes() if path.is_file() else b""
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        if change == "fifo":
            os.mkfifo(path)
        elif change == "folder":
            path.mkdir()
        elif change != "remove":
            path.write_bytes(content[:50] if change == "cut" else encoded(rng))


def main():
    options = parser_of(__doc__, 40).parse_args()
    outcomes = Outcomes()
    for number in range(options.count):
        rng = random.Random(f"{options.seed} {number}")
        kind = list(KINDS)[number % len(KINDS)]
        with tempfile.TemporaryDirectory() as parent:
            folder = pathlib.Path(parent, "set")
            folder.mkdir()
            good = [pixels(rng, 16, 16, 3) for _ in range(3)]
            for name, image in zip("abc", good):
                Image.fromarray(image).save(folder / f"{name}.png")
            KINDS[kind](rng, folder)
            if kind == "changing":
                function = functools.partial(read_changing, rng, folder)
            else:
                function = functools.partial(check, folder, good)
            code, _, errors = run_in_child(function, TIMEOUT)
        problem = "it did not end in time" if code is None else errors[-800:] if code else None
        outcomes.add(kind, f"{number}", problem)
    sys.exit(outcomes.report())


if __name__ == "__main__":
    main()
