"""Codes as bits: against strings of 0 and 1, there and back, and what is refused."""

import pathlib
import runpy
from types import SimpleNamespace

import numpy as np
import pytest
from cases import MODELS, smooth_pictures

from keras_genimg.data import pack_codes, unpack_codes
from keras_genimg.errors import InputError
from keras_genimg.metrics import as_stored, peak_signal_to_noise_ratio

BENCHMARKS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"


def as_text(codes, num_bits):
    """The stream by hand: each code in binary, zeros up to a whole byte."""
    text = "".join(format(code, f"0{num_bits}b") for code in np.ravel(codes))
    text += "0" * (-len(text) % 8)
    return bytes(int(text[start : start + 8], 2) for start in range(0, len(text), 8))


def test_three_bits_by_hand():
    # 5, 0, 7 are 101 000 111, and seven zeros fill the second byte.
    assert pack_codes([[5, 0, 7]], 8) == bytes([0b10100011, 0b10000000])
    np.testing.assert_array_equal(unpack_codes(bytes([0b10100011, 0b10000000]), (3,), 8), [5, 0, 7])


@pytest.mark.parametrize(
    "num_embeddings, num_bits", [(2, 1), (5, 3), (128, 7), (129, 8), (512, 9), (70_000, 17)]
)
def test_there_and_back(num_embeddings, num_bits):
    rng = np.random.default_rng(num_embeddings)
    codes = rng.integers(0, num_embeddings, (3, 5, 7), "int32")
    codes[0, 0, :2] = 0, num_embeddings - 1
    stream = pack_codes(codes, num_embeddings)
    assert stream == as_text(codes, num_bits)
    found = unpack_codes(stream, (3, 5, 7), num_embeddings)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, codes)


def test_unsigned_codes_and_none_at_all():
    codes = np.array([200, 3, 255], "uint8")
    np.testing.assert_array_equal(unpack_codes(pack_codes(codes, 256), [3], 256), codes)
    assert pack_codes(np.zeros((0, 7, 7), "int32"), 128) == b""
    assert unpack_codes(b"", (0, 7, 7), 128).shape == (0, 7, 7)
    # One code alone says nothing: no bits.
    assert pack_codes(np.zeros((2, 3), "int32"), 1) == b""
    np.testing.assert_array_equal(unpack_codes(b"", (2, 3), 1), np.zeros((2, 3)))


def test_the_benchmark_counts_bytes(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    script = runpy.run_path(str(BENCHMARKS / "codec.py"))
    rng = np.random.default_rng(0)
    grids = [rng.integers(0, 8, (5, 2, 2)), rng.integers(0, 128, (5, 3, 3))]
    read, alone, together = script["packed_and_read"](grids, [8, 128])
    for found, grid in zip(read, grids):
        np.testing.assert_array_equal(found, grid)
    # 12 and 63 bits per image are 2 and 8 bytes; 60 and 315 bits of all are 8 and 40 bytes.
    assert alone == 8 * (2 + 8) and together == 8 * (8 + 40) / 5
    images = rng.integers(0, 256, (3, 16, 16, 3)) / 127.5 - 1.0
    bits, opened = script["stored_in"](images, format="PNG", optimize=True)
    np.testing.assert_allclose(opened, images, atol=1e-6)
    assert 8 * 16 * 16 * 3 < bits < 1.3 * 8 * 16 * 16 * 3  # noise cannot be made smaller


def test_the_benchmark_of_two_grids(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    rows_of = runpy.run_path(str(BENCHMARKS / "codec.py"))["rows_of"]
    model, images = MODELS["vq_vae2"](), smooth_pictures(5)
    rows = {row[0]: row[1:] for row in rows_of(model, images)}
    codes = model.encode(images)
    bits, psnr, _ = rows["log2 K per code"]
    assert bits == sum(4 * grid[0].size for grid in codes)  # of 16 codes each
    expected = peak_signal_to_noise_ratio(images, as_stored(model.reconstruct(images))).mean()
    np.testing.assert_allclose(psnr, expected, rtol=1e-5)
    assert "-log2 p of the prior" not in rows


class Prior:
    """log p = -(sum of the codes) - (sum of the condition) - label, to tell what it is given."""

    def __init__(self, generates_by_label):
        self.generates_by_label = generates_by_label

    def log_likelihood(self, codes, labels=None, condition=None):
        assert (labels is not None) == self.generates_by_label
        parts = [
            codes.sum(axis=(1, 2)),
            0 if condition is None else condition.sum(axis=(1, 2)),
            0 if labels is None else labels,
        ]
        return -sum(parts).astype("float32")


def test_the_benchmark_of_priors(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    prior_bits = runpy.run_path(str(BENCHMARKS / "codec.py"))["prior_bits"]
    rng = np.random.default_rng(0)
    top, bottom = rng.integers(0, 8, (5, 2, 2)), rng.integers(0, 8, (5, 3, 3))
    labels, log_2 = np.arange(5), np.log(2)
    holder = {"num_classes": 8, "generates_by_label": False}
    assert prior_bits(SimpleNamespace(**holder, prior=None), [top], None) is None
    model = SimpleNamespace(**holder, prior=Prior(False))
    assert prior_bits(model, [top], None) == pytest.approx(top.sum() / 5 / log_2)
    holder["generates_by_label"] = True
    model = SimpleNamespace(**holder, prior=Prior(True))
    expected = 3 + (top.sum() / 5 + 2) / log_2  # of 8 classes, the mean label is 2
    assert prior_bits(model, [top], labels) == pytest.approx(expected)
    model = SimpleNamespace(**holder, top_prior=Prior(True), bottom_prior=Prior(False))
    expected += (bottom.sum() + top.sum()) / 5 / log_2
    assert prior_bits(model, [top, bottom], labels) == pytest.approx(expected)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: pack_codes([0.5], 8), "codes must be integers. Received: dtype=float64."),
        (lambda: pack_codes([0, 8], 8), "codes must be integers from 0 to 7. Received: 0 to 8."),
        (lambda: pack_codes([-1, 2], 8), "Received: -1 to 2."),
        (lambda: pack_codes([0], 0),
         "num_embeddings must be a positive integer. Received: num_embeddings=0."),
        (lambda: pack_codes([0], 2.5), "Received: num_embeddings=2.5."),
        (lambda: unpack_codes(b"abc", (4, 3), 8),
         "A stream of codes of shape (4, 3) from a codebook of 8 has 5 bytes. Received: 3"),
        (lambda: unpack_codes(bytes([0b11000000]), (1,), 6), "from 0 to 5, padded with zeros"),
        (lambda: unpack_codes(bytes([0b10100001]), (1,), 6), "from 0 to 5, padded with zeros"),
        (lambda: unpack_codes("abc", (1,), 8), "takes bytes and the shape of the codes"),
        (lambda: unpack_codes(b"a", 1, 8), "Received: bytes and 1."),
        (lambda: unpack_codes(b"a", (-1,), 8), "each size in shape must be an"),
    ],
    ids=range(11),
)  # fmt: skip
def test_what_is_refused(make, words):
    with pytest.raises(InputError) as caught:
        make()
    assert words in str(caught.value) and "\n" not in str(caught.value)
