"""Grids, PNGs, GIFs and loss curves, against hand-computed values."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from keras_genimg import plotting
from keras_genimg.errors import InputError
from keras_genimg.plotting import (
    image_grid,
    plot_losses,
    save_animation,
    save_png,
    show_images,
    to_uint8,
)


def test_to_uint8_rounds_and_clips():
    values = np.array([-1.0, -0.999, 0.0, 0.5, 1.0, 1.7, -3.0], "float32")
    # (x + 1) * 127.5: 0, 0.1275, 127.5 (to even: 128), 191.25, 255, and two clipped values.
    assert to_uint8(values).tolist() == [0, 0, 128, 191, 255, 255, 0]


def test_to_uint8_inverts_scaling_of_every_byte():
    every_byte = np.arange(256, dtype="uint8")
    assert (to_uint8(every_byte.astype("float32") / 127.5 - 1) == every_byte).all()
    assert to_uint8(every_byte) is every_byte


@pytest.mark.parametrize("images", [np.array([3]), np.array([True]), np.array([0.0, np.nan])])
def test_to_uint8_refuses_other_values(images):
    with pytest.raises(InputError, match="Received"):
        to_uint8(images)


def test_grid_places_images_row_by_row():
    images = np.arange(5, dtype="uint8").reshape(5, 1, 1, 1) + 10
    grid = image_grid(images, columns=3, padding=1)[..., 0]
    expected = [
        [255, 255, 255, 255, 255, 255, 255],
        [255, 10, 255, 11, 255, 12, 255],
        [255, 255, 255, 255, 255, 255, 255],
        [255, 13, 255, 14, 255, 255, 255],
        [255, 255, 255, 255, 255, 255, 255],
    ]
    assert grid.tolist() == expected


def test_grid_keeps_colour_and_height_apart_from_width():
    images = np.zeros((2, 3, 5, 3), "float32")
    images[1, ..., 0] = 1.0
    grid = image_grid(images, columns=1, padding=0)
    assert grid.shape == (6, 5, 3)
    assert (grid[:3] == 128).all()
    assert (grid[3:] == [255, 128, 128]).all()


@pytest.mark.parametrize(
    "number, columns",
    [(1, 1), (2, 2), (3, 2), (4, 2), (7, 3), (8, 4), (10, 5), (12, 4), (64, 8), (100, 10)],
)
def test_default_grid_is_near_square(number, columns):
    grid = image_grid(np.zeros((number, 4, 4, 1), "float32"), padding=0)
    rows = -(-number // columns)
    assert grid.shape == (4 * rows, 4 * columns, 1)


def test_a_sequence_is_a_row():
    sequences = np.arange(6, dtype="uint8").reshape(2, 3, 1, 1, 1)
    assert image_grid(sequences, padding=0)[..., 0].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    "shape, options",
    [
        ((4, 4, 1), {}),
        ((0, 4, 4, 1), {}),
        ((4, 4, 4, 2), {}),
        ((4, 4, 4, 1), {"columns": 0}),
        ((4, 4, 4, 1), {"padding": -1}),
    ],
)
def test_grid_refuses(shape, options):
    with pytest.raises(InputError, match="Received"):
        image_grid(np.zeros(shape, "float32"), **options)


def test_png_is_greyscale_enlarged_and_has_its_metadata(tmp_path):
    pixels = np.array([[0, 50], [100, 150]], "uint8")[..., None]
    notes = {"model": "GAN", "seed": 3, "generated": "yes", "title": "Größe 日本"}
    assert save_png(tmp_path / "a.png", pixels, notes, scale=2) == tmp_path / "a.png"
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "L"
        assert image.text == {name: str(value) for name, value in notes.items()}
        found = np.asarray(image)
    assert found.tolist() == [[0, 0, 50, 50]] * 2 + [[100, 100, 150, 150]] * 2


def test_png_of_a_batch_is_its_grid(tmp_path):
    images = np.random.default_rng(0).uniform(-1, 1, (6, 5, 4, 3)).astype("float32")
    save_png(tmp_path / "a.png", images)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "RGB"
        assert (np.asarray(image) == image_grid(images)).all()


@pytest.mark.parametrize("shape, scale", [((4,), 1), ((4, 4, 2), 1), ((4, 4, 1), 0)])
def test_png_refuses(tmp_path, shape, scale):
    with pytest.raises(InputError, match="Received"):
        save_png(tmp_path / "a.png", np.zeros(shape, "float32"), scale=scale)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", [".gif", ".webp"])
def test_an_animation_stores_its_frames(ending, tmp_path):
    frames = np.array([0, 85, 255], "uint8")[:, None, None, None] * np.ones((3, 4, 6, 1), "uint8")
    path = save_animation(tmp_path / f"a{ending}", frames, duration_ms=80)
    with Image.open(path) as image:
        assert (image.n_frames, image.size, image.info["loop"]) == (3, (6, 4), 0)
        assert image.format == ending[1:].upper()
        for i, value in enumerate((0, 85, 255)):
            image.seek(i)
            image.load()
            assert image.info["duration"] == 80
            assert (np.asarray(image.convert("L")) == value).all()


def test_an_mp4_stores_its_frames(tmp_path):
    """Sides of odd length get a white row and column; colours survive up to the codec."""
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    frames = np.zeros((5, 31, 47, 3), "uint8")
    frames[..., 0], frames[3:, ..., 2] = 200, 100
    path = save_animation(tmp_path / "a.mp4", frames, duration_ms=40)
    found = ffmpeg.read_frames(str(path))
    facts = next(found)
    assert facts["size"] == (48, 32) and facts["fps"] == 25 and facts["codec"] == "h264"
    found = [np.frombuffer(frame, "uint8").reshape(32, 48, 3) for frame in found]
    assert len(found) == 5
    for mine, theirs in zip(frames, found):
        assert np.abs(mine[2:-2, 2:-2].astype(int) - theirs[2:-3, 2:-3]).max() < 12


def test_an_mp4_without_its_extra_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'keras-genimg\[video\]'. Received: .*a.mp4"):
        save_animation(tmp_path / "a.mp4", np.zeros((2, 4, 4, 1), "uint8"))
    assert not list(tmp_path.iterdir())


def test_an_animation_of_another_ending_is_refused(tmp_path):
    with pytest.raises(InputError, match="ends in .gif, .webp, .mp4. Received: .*a.avi"):
        save_animation(tmp_path / "a.avi", np.zeros((2, 4, 4, 1), "uint8"))


def test_gif_plays_sequences_side_by_side(tmp_path):
    sequences = np.zeros((4, 3, 8, 8, 1), "float32")
    sequences[:, 1] = -1.0
    sequences[:, 2] = 0.9
    save_animation(tmp_path / "a.gif", sequences, scale=2)
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 3
        assert image.size == (2 * 22, 2 * 22)  # 2 x 2 images of 8 pixels with 3 gaps of 2


@pytest.mark.parametrize(
    "frames, duration_ms",
    [([], 100), ([np.zeros((2, 2, 1)), np.zeros((3, 2, 1))], 100), (np.zeros((2, 2, 2, 1)), 5)],
)
def test_gif_refuses(tmp_path, frames, duration_ms):
    with pytest.raises(InputError, match="Received"):
        save_animation(tmp_path / "a.gif", frames, duration_ms=duration_ms)


@pytest.fixture
def drawn(monkeypatch):
    """The arguments of `plotting._draw`: (panels, curves)."""
    calls = []
    draw = plotting._draw
    monkeypatch.setattr(
        plotting, "_draw", lambda path, *rest: (calls.append(rest), draw(path, *rest))[1]
    )
    return calls


def test_losses_scores_and_others_have_separate_panels(tmp_path, drawn):
    logs = {
        "d_loss": [1.0, 0.9],
        "real_score": [0.5, 0.6],
        "perplexity": [10.0, 300.0],
        "g_loss": [1.0, 2.0],
        "val_d_loss": [1.1, float("nan")],
        "fake_score": [0.5, 0.4],
        "val_elbo": [-90.0, None],
        "empty": [float("nan"), None],
    }
    assert plot_losses(logs, tmp_path / "a.png") == tmp_path / "a.png"
    panels, curves = drawn[0]
    assert panels == [
        ("losses", ["d_loss", "g_loss"]),
        ("scores", ["real_score", "fake_score"]),
        ("perplexity", ["perplexity"]),
        ("elbo", ["elbo"]),
    ]
    assert set(curves) == set(logs) - {"empty"}
    with Image.open(tmp_path / "a.png") as image:
        assert np.asarray(image.convert("L")).std() > 5  # something is drawn


def test_csv_with_gaps_and_a_repeated_epoch(tmp_path, drawn):
    (tmp_path / "logs.csv").write_text(
        "epoch,loss,val_loss,frechet_distance\n"
        "1,3.0,3.5,\n"
        "2,9.9,9.9,NA\n"
        "2,2.0,2.5,40\n"  # the run was killed here, and resumed
        "3,1.0,,\n"
        "4,0.5\n"  # an incomplete row of a killed run
    )
    plot_losses(str(tmp_path / "logs.csv"), tmp_path / "a.png")
    panels, curves = drawn[0]
    assert panels == [("loss", ["loss"]), ("frechet_distance", ["frechet_distance"])]
    epochs, values = curves["loss"]
    assert epochs.tolist() == [1, 2, 3, 4]
    assert values.tolist() == [3.0, 2.0, 1.0, 0.5]
    np.testing.assert_array_equal(curves["frechet_distance"][1], [np.nan, 40, np.nan, np.nan])


def test_val_curve_is_dashed_in_the_colour_of_its_training_curve(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    lines = {}
    plot = Axes.plot

    def record(self, *args, **options):
        lines[options["label"]] = options
        return plot(self, *args, **options)

    monkeypatch.setattr(Axes, "plot", record)
    plot_losses({"val_loss": [3, 2], "kl_loss": [1, 2], "loss": [2, 1]}, tmp_path / "a.png")
    assert (lines["loss"]["linestyle"], lines["val_loss"]["linestyle"]) == ("-", "--")
    assert lines["loss"]["color"] == lines["val_loss"]["color"] != lines["kl_loss"]["color"]


@pytest.mark.parametrize("logs", [{}, {"loss": []}, {"loss": [float("nan")]}])
def test_plot_of_nothing_is_refused(tmp_path, logs):
    with pytest.raises(InputError, match="Received"):
        plot_losses(logs, tmp_path / "a.png")


def test_csv_without_epochs_is_refused(tmp_path):
    (tmp_path / "logs.csv").write_text("step,loss\n1,2\n")
    with pytest.raises(InputError, match="column named epoch"):
        plot_losses(tmp_path / "logs.csv", tmp_path / "a.png")


def test_no_heavy_import_and_no_global_matplotlib_state(tmp_path):
    # The package around it imports TensorFlow, which imports pyplot: an empty one stands in.
    code = (
        "import sys, types\n"
        "package = types.ModuleType('keras_genimg')\n"
        f"package.__path__ = [{os.path.dirname(plotting.__file__)!r}]\n"
        "sys.modules['keras_genimg'] = package\n"
        "from keras_genimg.plotting import plot_losses\n"
        "assert 'matplotlib' not in sys.modules\n"
        f"plot_losses({{'loss': [1, 2]}}, {str(tmp_path / 'a.png')!r})\n"
        "assert not {'tensorflow', 'keras', 'matplotlib.pyplot'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.fixture
def pyplot():
    """`pyplot` without a screen; figures are closed afterwards."""
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    plt.close("all")
    yield plt
    plt.close("all")


def test_show_images_draws_the_grid_on_a_new_figure(pyplot):
    images = np.linspace(-1, 1, 6 * 4 * 4, dtype="float32").reshape(6, 4, 4, 1)
    show_images(images, "six", columns=3)
    (axes,) = pyplot.gcf().axes
    np.testing.assert_array_equal(
        axes.images[0].get_array(), image_grid(images, columns=3)[..., 0]
    )
    assert axes.get_title(loc="left") == "six"


def test_show_images_draws_on_given_axes(pyplot):
    figure, (left, right) = pyplot.subplots(1, 2)
    show_images(np.zeros((2, 4, 4, 3), "float32"), axes=right)
    assert pyplot.get_fignums() == [figure.number]
    assert len(right.images) == 1 and not left.images


def test_plot_losses_without_a_path_shows_a_figure(pyplot):
    assert plot_losses({"loss": [3.0, 2.0, 1.0]}) is None
    (axes,) = pyplot.gcf().axes
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [3, 2, 1])
