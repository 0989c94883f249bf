"""Pages in Chromium: what they draw is what Keras computes. CONTRIBUTING says what this needs."""

import functools
import http.server
import io
import os
import pathlib
import shutil
import threading

import numpy as np
import pytest
from cases import MODELS, Case, smooth_pictures
from PIL import Image
from test_web import lively

from keras_genimg.core.page import directions_of_most_change
from keras_genimg.data.images import fit_image
from keras_genimg.latents import interpolate
from keras_genimg.layers import GaussianMixture
from keras_genimg.web import RUNTIME_FILES, RUNTIME_URL, RUNTIME_VERSION

pytestmark = pytest.mark.browser

PATIENCE = 120_000  # milliseconds that a page may take: on a busy machine it is slow, not wrong
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
COLOUR = (16, 16, 3)


def in_colour(name):
    case = MODELS[name]
    return Case(case.model_class, COLOUR, **case.arguments)


CASES = {
    "gan": MODELS["gan"],
    "uniform": MODELS["gan"].with_arguments(noise="uniform"),
    "truncated": MODELS["gan"].with_arguments(noise="truncated_normal"),
    "conditional_gan": in_colour("conditional_gan"),
    "vae": MODELS["vae"],
    "conditional_vae": MODELS["conditional_vae"],
    "vae_mixture": MODELS["vae"],
    "vq_vae": in_colour("vq_vae"),
    "vq_vae2": MODELS["vq_vae2"],
    "pix2pix": MODELS["pix2pix"],
    "super_resolution_gan": MODELS["super_resolution_gan"],
}
CLASSES = ["Strand", "Stadt", "Hündin", "犬"]


# ---------------------------------------------------------------- models, a server, a browser


@functools.cache
def model_of(name):
    model = lively(CASES[name]())
    if model.num_classes:
        model.class_names = CLASSES
    if hasattr(model, "start_codebook"):  # an untrained one has one code for all
        model.start_codebook(smooth_pictures(64, 16, model.image_shape[2]))
    if name == "vae_mixture":
        rng = np.random.default_rng(1)
        centres = rng.normal(size=(2, 4)) * 2
        model.prior = GaussianMixture(2, 4)
        model.prior.fit(np.repeat(centres, 50, axis=0) + rng.normal(size=(100, 4)) / 4)
    return model


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def runtime():
    folder = os.environ.get("ONNXRUNTIME_WEB")
    if not folder:
        pytest.skip(
            f"no onnxruntime-web: npm install onnxruntime-web@{RUNTIME_VERSION}, and set "
            "ONNXRUNTIME_WEB to its folder dist"
        )
    return pathlib.Path(folder)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="no Playwright: pip install 'keras-genimg[browser]'"
    )
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory, runtime):
    """(address of the page of a model, exported once): one server for all."""
    root = tmp_path_factory.mktemp("pages")
    handler = functools.partial(Quiet, directory=root)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def address(name, runtime=runtime, folder=None):
        folder = folder or name
        if not (root / folder).exists():
            model_of(name).export(root / folder, "web", runtime=runtime)
        return f"http://127.0.0.1:{server.server_port}/{folder}/"

    yield address
    server.shutdown()


@pytest.fixture
def visit(browser, server):
    """Opens the page of a model; at the end, there were no errors and no requests elsewhere."""
    pages, problems = [], []

    def visit(name, **options):
        page = browser.new_page(**options)
        page.set_default_timeout(PATIENCE)
        pages.append(page)
        page.on("pageerror", lambda error: problems.append(error))
        page.on("console", lambda message: message.type == "error" and problems.append(message))
        own = server(name)
        page.on("request", lambda request: request.url.startswith((own, "blob:", "data:"))
                or problems.append(request.url))  # fmt: skip
        page.goto(own)
        settled(page)
        return page

    yield visit
    for page in pages:
        page.close()
    assert not problems


def settled(page):
    """Waits until the page has drawn all that it was asked for."""
    page.wait_for_selector("main[aria-busy=false]", state="attached")
    return page


def values(page, selector):
    """The values that canvases hold, `(n, h, w, c)`, and that their pixels show."""
    drawn = page.eval_on_selector_all(selector, """all => all.map((canvas) => ({
        height: canvas.height, values: [...canvas.values],
        pixels: [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data],
    }))""")  # fmt: skip
    height = drawn[0]["height"]
    found = np.array([each["values"] for each in drawn])
    pixels = np.array([each["pixels"] for each in drawn]).reshape(len(drawn), height, -1, 4)
    found = found.reshape(*pixels.shape[:3], -1)
    shown = np.clip((found + 1) * 127.5, 0, 255)
    assert np.abs(pixels[..., :3] - shown).max() <= 0.5 + 1e-3 and (pixels[..., 3] == 255).all()
    return found


def assert_drawn(page, selector, expected):
    expected = np.asarray(expected)
    assert expected.std() > 0.1
    np.testing.assert_allclose(values(page, selector), expected, atol=1e-3)


def noise_of(seed, count, dim, noise="normal"):
    """The noise of a seed, as docs/web.md describes it."""

    def uniforms():
        counter, mask = seed, 2**32 - 1
        while True:
            counter = (counter + 0x6D2B79F5) & mask
            bits = ((counter ^ (counter >> 15)) * (counter | 1)) & mask
            bits ^= (bits + (bits ^ (bits >> 7)) * (bits | 61)) & mask
            yield ((bits ^ (bits >> 14)) + 0.5) / 2**32

    numbers = uniforms()

    def one():
        if noise == "uniform":
            return 2 * next(numbers) - 1
        value = np.sqrt(-2 * np.log(next(numbers))) * np.cos(2 * np.pi * next(numbers))
        return value if noise == "normal" or abs(value) <= 2 else one()

    return np.array([[one() for _ in range(dim)] for _ in range(count)], "float32")


def png_of(image):
    """A file of an image `(h, w, c)` in [-1, 1], and its exact values."""
    pixels = np.rint((image + 1) * 127.5).astype("uint8")
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if image.shape[-1] == 1 else pixels).save(file, "PNG")
    given = {"name": "image.png", "mimeType": "image/png", "buffer": file.getvalue()}
    return given, pixels.astype("float32") / 127.5 - 1


def image_for(shape, seed=0):
    height, _, channels = shape
    image = smooth_pictures(1, height, channels, seed)[0].copy()
    return image * np.linspace(1, 0.3, channels, dtype="float32")


def press(page, name, key, times=1):
    """Moves a slider as the keyboard does."""
    page.get_by_role("slider", name=name, exact=True).focus()
    for _ in range(times):
        page.keyboard.press(key)
    settled(page)


# --------------------------------------------------------------------------------- generators


def test_samples_of_a_seed_are_those_of_keras(visit):
    page, model = visit("gan"), model_of("gan")
    assert page.get_by_role("heading", level=1).inner_text() == "GAN"
    for seed in (0, 4294967295):
        page.get_by_label("Seed").fill(str(seed))
        settled(page)
        assert_drawn(page, "#grid canvas", model.decode(noise_of(seed, 16, 8)))
    page.get_by_role("button", name="Next seed").click()
    settled(page)
    assert page.get_by_label("Seed").input_value() == "0"
    assert_drawn(page, "#grid canvas", model.decode(noise_of(0, 16, 8)))


@pytest.mark.parametrize("noise", ["uniform", "truncated_normal"])
def test_other_noise(noise, visit):
    name = noise.split("_")[0]
    page, model = visit(name), model_of(name)
    z = noise_of(0, 16, 8, noise)
    assert_drawn(page, "#grid canvas", model.decode(z))
    press(page, "Position", "End")
    assert_drawn(page, "#walk-image", model.decode(z[1:2]))
    press(page, "Position", "PageDown")
    t = float(page.get_by_role("slider", name="Position").input_value())
    between = {"uniform": "linear"}.get(noise, "spherical")
    walk = interpolate(model, z[0], z[1], 101, between)
    assert_drawn(page, "#walk-image", model.decode(walk[[round(100 * t)]]))


def test_a_seed_that_is_none_changes_nothing(visit):
    page = visit("gan")
    before = values(page, "#grid canvas")
    for text in ("", "-1", "1.5", "4294967296"):
        page.get_by_label("Seed").fill(text)
        settled(page)
        np.testing.assert_array_equal(values(page, "#grid canvas"), before)


def test_the_noise_scale_multiplies_the_latents(visit):
    page, model = visit("gan"), model_of("gan")
    press(page, "Noise scale", "ArrowLeft", 8)
    assert_drawn(page, "#grid canvas", model.decode(0.6 * noise_of(0, 16, 8)))
    press(page, "Noise scale", "Home")
    assert_drawn(page, "#grid canvas", np.repeat(model.decode(np.zeros((1, 8))), 16, axis=0))


def test_classes_by_name(visit):
    page, model = visit("conditional_gan"), model_of("conditional_gan")
    z = noise_of(0, 16, 8)
    assert_drawn(page, "#grid canvas", model.decode(z, np.arange(16) % 4))
    assert page.get_by_role("button", name="8 犬").is_visible()
    page.locator("#samples").get_by_label("Class").select_option("Hündin")
    settled(page)
    assert_drawn(page, "#grid canvas", model.decode(z, "Hündin"))
    assert_drawn(page, "#one-image", model.decode(z[:1], "Hündin"))


def test_a_sample_moves_along_the_directions(visit):
    page, model = visit("conditional_gan"), model_of("conditional_gan")
    directions = directions_of_most_change(model)
    page.get_by_role("button", name="3 Hündin").click()
    settled(page)
    z = noise_of(0, 3, 8)[2:]
    assert page.get_by_role("button", pressed=True).inner_text() == "3 Hündin"
    press(page, "Direction 1", "ArrowRight", 15)
    press(page, "Direction 8", "Home")
    moved = z + 1.5 * directions[0] - 4.0 * directions[7]
    assert_drawn(page, "#one-image", model.decode(moved, "Hündin"))
    page.get_by_role("button", name="Reset").click()
    settled(page)
    assert_drawn(page, "#one-image", model.decode(z, "Hündin"))


def test_a_walk_along_the_great_circle(visit):
    page, model = visit("conditional_gan"), model_of("conditional_gan")
    page.get_by_label("From", exact=True).select_option("Sample 2")
    page.get_by_label("To", exact=True).select_option("Sample 7")
    settled(page)
    z = noise_of(0, 16, 8)
    walk = interpolate(model, z[1], z[6], 8, "spherical")
    assert_drawn(page, "#walk-strip canvas", model.decode(walk, "Stadt"))
    middle = interpolate(model, z[1], z[6], 3, "spherical")[1:2]
    assert_drawn(page, "#walk-image", model.decode(middle, "Stadt"))
    page.get_by_label("To", exact=True).select_option("Sample 2")  # no circle: the same sample
    settled(page)
    assert_drawn(page, "#walk-strip canvas", model.decode(np.repeat(z[1:2], 8, axis=0), "Stadt"))


def test_samples_of_a_mixture_lie_in_its_clusters(visit):
    page, model = visit("vae_mixture"), model_of("vae_mixture")
    prior = model.prior
    shares, means, factors = (np.array(each) for each in (prior.shares, prior.means, prior.factors))
    assert 0.4 < shares[0] < 0.6
    # Each sample takes 8 numbers for its noise and one for its component.
    expected, counts = [], [0, 0]
    uniforms = (noise_of(0, 16 * 9, 1, "uniform")[:, 0] + 1) / 2
    for numbers in uniforms.reshape(16, 9):
        noise = np.sqrt(-2 * np.log(numbers[:8:2])) * np.cos(2 * np.pi * numbers[1:8:2])
        k = int(numbers[8] > shares[0])
        counts[k] += 1
        expected.append(means[k] + factors[k] @ noise)
    assert min(counts) > 3
    assert_drawn(page, "#grid canvas", model.decode(np.array(expected, "float32")))


# ------------------------------------------------------------------ autoencoders, translators


def test_an_image_is_reconstructed_and_its_latents_move(visit):
    page, model = visit("vae"), model_of("vae")
    assert_drawn(page, "#image-output", model.decode(np.zeros((1, 4))))
    file, image = png_of(image_for(model.image_shape))
    page.get_by_label("Drop an image here").set_input_files(file)
    page.get_by_text("Reconstruction of image.png").wait_for()
    settled(page)
    assert_drawn(page, "#image-input", image[None])
    assert_drawn(page, "#image-output", model.reconstruct(image[None]))
    z = model.encode(image[None])
    for i, shown in enumerate(z[0]):
        slider = page.get_by_role("slider", name=f"z {i + 1}", exact=True)
        assert abs(float(slider.input_value()) - shown) <= 0.05 + 1e-3
    press(page, "z 2", "End")
    z[0, 1] = float(page.get_by_role("slider", name="z 2").get_attribute("max"))
    assert_drawn(page, "#image-output", model.decode(z))


def test_an_image_is_reconstructed_as_one_of_a_class(visit):
    page, model = visit("conditional_vae"), model_of("conditional_vae")
    file, image = png_of(image_for(model.image_shape))
    page.get_by_label("Drop an image here").set_input_files(file)
    page.get_by_text("Reconstruction of image.png").wait_for()
    for name in ("Stadt", "犬"):
        page.locator("#image").get_by_label("Class").select_option(name)
        settled(page)
        assert_drawn(page, "#image-output", model.reconstruct(image[None], name))


@pytest.mark.parametrize("name", ["vq_vae", "vq_vae2"])
def test_codes_and_reconstruction(name, visit):
    page, model = visit(name), model_of(name)
    file, image = png_of(image_for(model.image_shape))
    page.get_by_label("Drop an image here").set_input_files(file)
    page.get_by_text("Reconstruction of image.png").wait_for()
    settled(page)
    codes = model.encode(image[None])
    for i, grid in enumerate(codes if isinstance(codes, tuple) else [codes]):
        canvas = page.get_by_role("img", name=f"Codes, grid {i + 1}")
        found = canvas.evaluate("canvas => [...canvas.values]")
        np.testing.assert_array_equal(np.reshape(found, grid.shape), grid)
        assert canvas.evaluate("canvas => [canvas.height, canvas.width]") == [*grid.shape[1:]]
        assert len(np.unique(grid)) > 1
    assert_drawn(page, "#image-output", model.reconstruct(image[None]))


@pytest.mark.parametrize("name", ["pix2pix", "super_resolution_gan"])
def test_an_image_is_translated(name, visit):
    page, model = visit(name), model_of(name)
    file, image = png_of(image_for(model.source_shape))
    page.get_by_label("Drop an image here").set_input_files(file)
    page.get_by_text("Translation of image.png").wait_for()
    settled(page)
    assert_drawn(page, "#image-output", model.translate(image[None]))
    assert not page.get_by_role("heading", name="Samples").is_visible()


def test_an_image_is_cropped_and_resized(visit):
    page, model = visit("vq_vae"), model_of("vq_vae")
    small = image_for(model.image_shape)[::4, ::4]  # 4 x 4, each to become 4 x 4 pixels
    large = np.repeat(np.repeat(small, 32, axis=0), 32, axis=1)  # 128 x 128
    wide = np.pad(large, ((0, 0), (40, 40), (0, 0)), constant_values=-1.0)
    file, _ = png_of(wide)
    page.get_by_label("Drop an image here").set_input_files(file)
    page.get_by_text("Reconstruction of image.png").wait_for()
    settled(page)
    found = values(page, "#image-input")[0]
    # Inside of each square of one colour, away from its edges.
    inside = found.reshape(4, 4, 4, 4, 3)[:, 1:3, :, 1:3].mean(axis=(1, 3))
    np.testing.assert_allclose(inside, small, atol=0.03)


def test_colours_become_grey_and_transparency_white(visit):
    page = visit("vae")
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (16, 16, 4), "uint8")
    pixels[..., 3] = 255 * rng.integers(0, 2, (16, 16))
    image, file = Image.fromarray(pixels, "RGBA"), io.BytesIO()
    image.save(file, "PNG")
    page.get_by_label("Drop an image here").set_input_files(
        {"name": "image.png", "mimeType": "image/png", "buffer": file.getvalue()}
    )
    page.get_by_text("Reconstruction of image.png").wait_for()
    settled(page)
    levels = fit_image(image, None, 1).astype("float32")
    found = (values(page, "#image-input")[0] + 1) * 127.5
    np.testing.assert_allclose(found, levels, atol=1 + 1e-3)


def test_an_image_is_dropped(visit):
    page, model = visit("vae"), model_of("vae")
    file, image = png_of(image_for(model.image_shape, seed=5))
    data = page.evaluate_handle("""(bytes) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "image.png", {type: "image/png"}));
        return data;
    }""", list(file["buffer"]))  # fmt: skip
    page.dispatch_event("#drop", "dragover", {"dataTransfer": data})
    page.dispatch_event("#drop", "drop", {"dataTransfer": data})
    page.get_by_text("Reconstruction of image.png").wait_for()
    settled(page)
    assert_drawn(page, "#image-output", model.reconstruct(image[None]))


def test_a_file_that_is_no_image_is_told(visit):
    page = visit("vae")
    before = values(page, "#image-output")
    file = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"words"}
    page.get_by_label("Drop an image here").set_input_files(file)
    page.get_by_text("notes.txt is not an image that this browser can read.").wait_for()
    settled(page)
    np.testing.assert_array_equal(values(page, "#image-output"), before)


# ---------------------------------------------------------------------- every page, everywhere


@pytest.mark.parametrize("name", ["conditional_gan", "conditional_vae", "vq_vae2", "pix2pix"])
def test_every_control_has_a_name_and_the_keyboard_reaches_it(name, visit):
    page = visit(name)
    controls = page.locator("main :is(input, select, button):visible")
    missing = set(range(controls.count()))
    assert missing
    for _ in range(2 * len(missing)):
        page.keyboard.press("Tab")
        index = controls.evaluate_all("all => all.indexOf(document.activeElement)")
        missing.discard(index)
    assert not missing
    for control in controls.all():
        name = control.evaluate("""control => control.ariaLabel
            || control.labels?.[0]?.textContent.trim() || control.textContent.trim()""")
        assert name


@pytest.mark.parametrize("name", ["conditional_gan", "conditional_vae", "vq_vae2", "pix2pix"])
def test_a_phone_shows_all_of_its_width(name, visit):
    page = visit(name, viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    right = page.locator("main *").evaluate_all(
        "all => Math.max(...all.map((each) => each.getBoundingClientRect().right))"
    )
    assert 300 < right <= 360


def test_it_is_dark_where_the_system_is(visit):
    def brightness(scheme, part):
        page = visit("gan", color_scheme=scheme)
        style = page.evaluate(
            f"getComputedStyle(document.querySelector('{part[0]}')).{part[1]}"
        )
        return sum(map(int, style[style.index("(") + 1 : -1].split(",")[:3])) / 765

    text, card = ("h2", "color"), ("section", "backgroundColor")
    assert brightness("light", card) - brightness("light", text) > 0.7
    assert brightness("dark", text) - brightness("dark", card) > 0.7


def test_the_runtime_comes_from_its_network_by_default(browser, server, runtime):
    """The network is the folder of the npm package; the page is of another origin."""
    asked = []

    def answer(route):
        name = route.request.url.removeprefix(f"{RUNTIME_URL}/")
        asked.append(name)
        route.fulfill(path=runtime / name, headers={"Access-Control-Allow-Origin": "*"},
                      content_type="application/wasm" if name.endswith("wasm")
                      else "text/javascript")  # fmt: skip

    with browser.new_context() as context:
        context.route(f"{RUNTIME_URL}/**", answer)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(server("gan", None, "gan_default"))
        page.get_by_text("Ready.").wait_for()
        settled(page)
        assert_drawn(page, "#grid canvas", model_of("gan").decode(noise_of(0, 16, 8)))
    # From another origin, the script loads its worker's part as a file too.
    assert asked == [RUNTIME_FILES[0], "ort-wasm-simd-threaded.mjs", RUNTIME_FILES[1]]


def test_what_cannot_be_loaded_is_told(browser, server):
    with browser.new_context() as context:
        context.route("**/decode.onnx", lambda route: route.fulfill(status=404))
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(server("gan"))
        page.get_by_text("The model could not be loaded").wait_for()
        settled(page)
