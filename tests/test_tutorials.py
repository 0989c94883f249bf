"""Each tutorial runs from top to bottom at reduced size, and its notebook holds the same cells."""

import base64
import functools
import io
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import keras
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import tensorflow as tf
from markdown_it import MarkdownIt
from PIL import Image

TUTORIALS = pathlib.Path(__file__).resolve().parent.parent / "tutorials"
sys.path.insert(0, str(TUTORIALS))
import build  # noqa: E402

import keras_genimg as kg  # noqa: E402

NAMES = sorted(path.stem for path in TUTORIALS.glob("[0-9]*.py"))
CHINESE = sorted(path.stem for path in build.CHINESE.glob("*.md"))
EDITIONS = NAMES + [f"zh/{name}" for name in CHINESE]
SHORT = ("00", "01", "04")  # the others take a minute or two, at reduced size too
MOST_WORDS = 2_200  # of text in a notebook
SHOWN = 1_070  # pixels of an output in JupyterLab, in a window of 1,250: wider images are shrunk
LEAST_CELL = 96  # pixels of an image in a grid, as it is shown
NUMBERS = {w: n for n, w in enumerate("two three four five six seven eight nine ten".split(), 2)}
COLUMNS = re.compile(  # of a grid, in the description of its image
    r"\b(?:rows? of|rows:|columns of|by) (?P<n>{0})\b|^(?P<first>{0}) (?:\w+ )?"
    r"(?:columns|images|digits|maps|plots)\b".format("|".join(NUMBERS)),
    re.IGNORECASE,
)
LINKS = (
    "https://colab.research.google.com/github/keras-genimg/keras-genimg/blob/main/tutorials/",
    "https://nbviewer.org/github/keras-genimg/keras-genimg/blob/main/tutorials/",
)


def notebook_of(name):
    return nbformat.read(TUTORIALS / f"{name}.ipynb", as_version=4)


def script_of(name):
    return build.read_script(TUTORIALS / f"{name}.py")


def test_every_tutorial_is_listed_and_executed():
    assert NAMES == sorted(path.stem for path in TUTORIALS.glob("*.ipynb"))
    index = (TUTORIALS / "README.md").read_text()
    assert all(f"({name}.ipynb)" in index for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_is_the_script_executed(name):
    notebook = notebook_of(name)
    made = build.read_script(TUTORIALS / f"{name}.py")
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        (cell.cell_type, cell.source) for cell in made.cells
    ]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]  # a red box
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3
    assert (TUTORIALS / f"{name}.ipynb").stat().st_size < build.MAX_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_the_time_at_the_top_is_the_measured_one(name):
    notebook = notebook_of(name)
    stated = re.search(r"Measured: ([\d.]+) minutes", notebook.cells[0].source)
    seconds = notebook.metadata["keras_genimg"]["seconds"]
    assert float(stated[1]) == pytest.approx(seconds / 60, abs=0.06)
    assert seconds <= 15 * 60


@pytest.mark.parametrize("name", NAMES)
def test_its_text_is_not_longer_than_allowed(name):
    assert 0 < build.words(notebook_of(name)) <= MOST_WORDS


@pytest.mark.parametrize("name", NAMES)
def test_its_first_cell_links_to_where_it_can_be_run_and_read(name):
    first = script_of(name).cells[0].source
    assert all(f"({link}{name}.ipynb)" in first for link in LINKS)


@pytest.mark.parametrize("name", NAMES)
def test_all_share_the_setup_cell(name):
    cells = [cell for cell in script_of(name).cells if "setup" in build.tags(cell)]
    assert cells[0].source == (TUTORIALS / "setup_cell.py").read_text().strip()
    assert cells[0].metadata["jupyter"]["source_hidden"]
    assert [cell.source for cell in cells[1:]] in ([], ["DATA = or_glyphs(DATA)"])
    sources = [cell.source for cell in script_of(name).cells if cell.cell_type == "code"]
    reads_a_set = any(re.search(r"^DATA = ", source, re.MULTILINE) for source in sources)
    assert len(cells) == 1 + reads_a_set


@pytest.mark.parametrize("name", NAMES)
def test_every_picture_is_described(name):
    cells = notebook_of(name).cells
    outputs = [output for cell in cells for output in build.images(cell)]
    described = [output.metadata.get("image/png", {}).get("alt", "") for output in outputs]
    linked = [text for cell in cells if cell.cell_type == "markdown"
              for text in re.findall(r"!\[(.*?)\]", cell.source)]  # fmt: skip
    assert outputs and all(len(text) > 20 for text in described + linked)


def spans(flags):
    """Where `flags` are true: pairs of first and one past the last."""
    return np.flatnonzero(np.diff(np.r_[False, flags, False])).reshape(-1, 2)


def cells_of(pixels):
    """Widths of the images side by side in a grid: squares with white between them."""
    widths = []
    for top, bottom in spans((pixels < 255).any(axis=1)):
        row = [right - left for left, right in spans((pixels[top:bottom] < 255).any(axis=0))]
        square = all(abs(width - (bottom - top)) <= 2 for width in row)
        widths = row if square and len(row) > max(1, len(widths)) else widths
    return widths


def pixels_of(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"))


@pytest.mark.parametrize("scale", [2, 4])
def test_cells_of_a_grid_are_those_that_were_drawn(scale):
    images = np.random.default_rng(0).uniform(-1, 0.9, (12, 28, 28, 1))
    kg.plotting.show_images(images, "A title", columns=6, scale=scale)
    grid, plot = io.BytesIO(), io.BytesIO()
    plt.savefig(grid, bbox_inches="tight")  # as in a notebook
    plt.figure(figsize=(9, 3))
    plt.plot(range(9))
    plt.savefig(plot)
    plt.close("all")
    assert cells_of(pixels_of(grid.getvalue())) == pytest.approx([28 * scale] * 6, abs=2)
    assert cells_of(pixels_of(plot.getvalue())) == []


@pytest.mark.parametrize("name", EDITIONS)
def test_images_of_its_grids_are_large_enough_to_see(name):
    """Columns are counted in the pixels and read in the English description: both must agree."""
    described = [text for cell in script_of(name.removeprefix("zh/")).cells
                 for text in cell.metadata.get("alt", ())]  # fmt: skip
    outputs = [output for cell in notebook_of(name).cells for output in build.images(cell)]
    measured = 0
    for output, text in zip(outputs, described, strict=True):
        pixels = pixels_of(base64.b64decode(output.data["image/png"]))
        cells, said = cells_of(pixels), COLUMNS.search(text)
        measured += bool(cells)
        if said is None:
            assert not cells, f"a grid of {len(cells)} columns must say so: {text}"
            continue
        columns = NUMBERS[(said["n"] or said["first"]).lower()]
        assert len(cells) in (0, columns), f"{len(cells)} columns in the image of: {text}"
        width = min(cells, default=pixels.shape[1] / columns) * min(1, SHOWN / pixels.shape[1])
        assert width >= LEAST_CELL, f"{width:.0f} pixels per image, in: {text}"
    assert measured >= 3


@pytest.mark.parametrize("name", EDITIONS)
def test_its_texts_are_the_markdown_that_was_meant(name):
    """Lines that begin with "- " or with a number by accident break inline code and lists."""
    parse = MarkdownIt("commonmark").enable("table").parse
    texts = [cell.source for cell in notebook_of(name).cells if cell.cell_type == "markdown"]
    inline = [token for text in texts for token in parse(text) if token.type == "inline"]
    assert inline
    for token in inline:
        assert not [each.content for each in token.children if each.type == "text"
                    and "`" in each.content]  # fmt: skip
        assert not re.search(r"[.:;] \d\. [A-Z`]", token.content), token.content


@pytest.mark.parametrize("name", EDITIONS)
def test_its_contents_are_its_headings(name):
    text = [cell.source for cell in notebook_of(name).cells if cell.cell_type == "markdown"]
    headings = re.findall(r"^## (.*)$", "\n".join(text), re.MULTILINE)
    linked = re.findall(r"\]\(#(.*?)\)", text[0].replace("\n", " "))
    assert linked == [heading.replace(" ", "-") for heading in headings[:-1]]  # "Where to go next"


@pytest.mark.parametrize("name", NAMES)
def test_it_has_three_exercises_with_answers(name):
    cells = build.read_script(TUTORIALS / f"{name}.py").cells
    questions = [cell for cell in cells if cell.source.startswith("### Exercise")]
    answers = [cell for cell in cells if "answer" in build.tags(cell)]
    assert len(questions) == 3 and len(answers) >= 3
    assert all("assert" in cell.source for cell in answers)
    assert all(cell.metadata["jupyter"]["source_hidden"] for cell in answers)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name[:2] in SHORT else pytest.mark.full)
     for name in NAMES],
)  # fmt: skip
def test_it_runs_at_reduced_size(name, tmp_path):
    """As a script, in a new process. It leaves no file behind, and writes nothing to stderr."""
    cells = build.reduce(script_of(name)).cells
    sources = [cell.source for cell in cells if cell.cell_type == "code"]
    script = tmp_path / f"{name}.py"
    script.write_text("\n\n".join(sources * 2))
    folder, temporary = tmp_path / "folder", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    environment = {
        **os.environ,
        "MPLBACKEND": "agg",
        "PYTHONPATH": os.pathsep.join([str(TUTORIALS.parent), *sys.path]),
        "PYTHONWARNINGS": "ignore:FigureCanvasAgg",
        "TMPDIR": str(temporary),
    }
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)  # of the tests: a student has not set it
    done = subprocess.run(
        [sys.executable, script], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr == ""
    assert not list(folder.iterdir()) and not list(temporary.iterdir())


def namespace_of_setup(monkeypatch, tmp_path):
    """What the setup cell defines, run in this process; its folder is left after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    names = {}
    exec((TUTORIALS / "setup_cell.py").read_text(), names)
    return names


def test_glyphs_stand_in_for_a_set_that_is_neither_here_nor_downloadable(
    monkeypatch, tmp_path, capsys
):
    names = namespace_of_setup(monkeypatch, tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "no sets"))
    for proxy in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")  # where nobody answers: no network
    assert names["or_glyphs"]("fashion_mnist") == "glyphs"
    assert "fashion_mnist" in capsys.readouterr().out


def test_a_set_that_is_there_is_used_and_a_wrong_name_is_not_hidden(
    monkeypatch, tmp_path, capsys, real_data
):
    names = namespace_of_setup(monkeypatch, tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", real_data)
    assert names["or_glyphs"]("fashion_mnist") == "fashion_mnist"
    assert names["or_glyphs"]("glyphs") == "glyphs"
    with pytest.raises(ValueError, match="fashion_minst"):
        names["or_glyphs"]("fashion_minst")
    assert capsys.readouterr().out == ""


def test_files_of_a_tutorial_go_to_a_folder_of_its_own(monkeypatch, tmp_path):
    names = namespace_of_setup(monkeypatch, tmp_path)
    pathlib.Path("gan.keras").write_text("weights")
    (own,) = tmp_path.iterdir()
    assert [path.name for path in own.iterdir()] == ["gan.keras"]
    names["scratch"].cleanup()  # as at the end of the kernel
    assert not list(tmp_path.iterdir())


def test_chinese_editions_are_those_of_tutorials_and_are_listed():
    assert CHINESE == sorted(path.stem for path in build.CHINESE.glob("*.ipynb"))
    assert set(CHINESE) <= set(NAMES)
    index = (TUTORIALS / "README.md").read_text()
    for name in CHINESE:
        assert f"(zh/{name}.ipynb)" in index
        assert f"(zh/{name}.ipynb)" in script_of(name).cells[0].source


@pytest.mark.parametrize("name", CHINESE)
def test_a_chinese_edition_has_the_code_and_outputs_of_the_english_one(name):
    def shared(notebook):
        return [
            (
                cell.id,
                cell.cell_type,
                {key: value for key, value in cell.metadata.items() if key != "alt"},
                cell.cell_type == "code" and (cell.source, cell.execution_count),
                [{**output, "metadata": {}} for output in cell.get("outputs", ())],
            )
            for cell in notebook.cells
        ]

    english, chinese = notebook_of(name), notebook_of(f"zh/{name}")
    assert shared(chinese) == shared(english)
    assert chinese.metadata == english.metadata


@pytest.mark.parametrize("name", CHINESE)
def test_a_chinese_edition_has_the_texts_of_its_file(name):
    chinese = notebook_of(f"zh/{name}")
    made = build.translate(script_of(name), build.CHINESE / f"{name}.md")
    assert build.texts(chinese) == build.texts(made)
    outputs = [output for cell in chinese.cells for output in build.images(cell)]
    described = [text for cell in chinese.cells for text in cell.metadata.get("alt", ())]
    assert [output.metadata["image/png"]["alt"] for output in outputs] == described
    assert (build.CHINESE / f"{name}.ipynb").stat().st_size < build.MAX_BYTES


@pytest.mark.parametrize("name", CHINESE)
def test_a_chinese_text_says_what_the_english_one_says(name):
    """As far as that can be compared: headings, numbers with decimals, code blocks, addresses."""
    english, chinese = (build.texts(notebook_of(each)) for each in (name, f"zh/{name}"))
    assert len(chinese) == len(english)
    for ours, theirs in zip(chinese, english):
        assert re.search(r"[\u4e00-\u9fff]", ours)
        for pattern in (
            r"(?m)^(#+) ",
            r"(?<![\w.])\d+\.\d+",
            r"(?s)```.*?```",
            r"https://arxiv[^)]*",
        ):
            assert sorted(re.findall(pattern, ours)) == sorted(re.findall(pattern, theirs)), ours


@pytest.mark.parametrize("name", CHINESE)
def test_a_chinese_edition_links_to_files_that_are_there(name):
    text = "\n".join(build.texts(notebook_of(f"zh/{name}")))
    links = re.findall(r"\]\(([^)#:]+)[^):]*\)", text)
    assert f"../{name}.ipynb" in links
    assert not [link for link in links if not (build.CHINESE / link).exists()]
    for link in links:  # in English only what is not there in Chinese
        tutorial = re.fullmatch(r"\.\./(\w+)\.ipynb", link)
        assert not tutorial or tutorial[1] == name or tutorial[1] not in CHINESE
    assert all(f"({link}zh/{name}.ipynb)" in text for link in LINKS)


def test_all_notebooks_together_are_not_too_large():
    paths = [*TUTORIALS.glob("*.ipynb"), *build.CHINESE.glob("*.ipynb")]
    assert sum(path.stat().st_size for path in paths) < build.MAX_TOTAL_BYTES


@pytest.mark.parametrize(
    "sections, told",
    [
        (["# One", "A grey"], "2 sections, of which number 3 is marked None, .* has '## Two'"),
        (["# One", "## Two"], "number 2 is marked '## Two', where the script has 'A grey square.'"),
        (["# One", "A grey", "## Two", "More"], "4 sections, .* 'More', where the script has None"),
    ],
)  # fmt: skip
def test_texts_that_do_not_match_the_script_are_refused(sections, told, tmp_path):
    path = tmp_path / "a.md"
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        nbformat.v4.new_markdown_cell("# One\nmore words"),
        nbformat.v4.new_code_cell("draw()", metadata={"alt": ["A grey square."]}),
        nbformat.v4.new_markdown_cell("## Two"),
    ]
    path.write_text("".join(f"<!-- {words} -->\n\n{words}!\n\n" for words in sections))
    with pytest.raises(ValueError, match=f"3 Markdown cells and desc.*Received: .*{told}"):
        build.translate(notebook, path)


def test_a_translation_replaces_texts_alone_and_links_to_what_is_there(tmp_path, monkeypatch):
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        nbformat.v4.new_markdown_cell("# One, see [two](02_b.ipynb) and [three](03_c.ipynb)"),
        nbformat.v4.new_code_cell("draw()", metadata={"alt": ["A grey square."]}),
    ]
    sections = [f"{build.marker(text)}\n\n{text}\n" for text in build.texts(notebook)]
    text = "\n".join(sections).replace("\nA grey square.", "\n灰色方块")
    (tmp_path / "01_a.md").write_text(text)
    (tmp_path / "03_c.md").write_text("")
    monkeypatch.setattr(build, "CHINESE", tmp_path)
    made = build.translate(notebook, tmp_path / "01_a.md")
    linked = "# One, see [two](../02_b.ipynb) and [three](03_c.ipynb)"
    assert build.texts(made) == [linked, "灰色方块"]
    assert made.cells[1].source == "draw()"
    assert notebook.cells[1].metadata["alt"] == ["A grey square."]


def nothing(*_):  # as the cell is before a student writes in it
    return ...


def minimax(logits):
    return -tf.reduce_mean(tf.nn.softplus(logits))


def right_mean(features, batch):
    total = kg.distribution.sum_over_replicas(tf.reduce_sum(features, axis=0))
    return total / tf.cast(batch.global_size, total.dtype)


def eight_bits(kernel):
    scales = np.abs(kernel).max(axis=(0, 1, 2)) / 127
    return np.round(kernel / scales), scales


def classifier_step(network, optimizer, images, labels, sign=1):
    with tf.GradientTape() as tape:
        logits = network(images)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        descended = sign * loss
    weights = network.trainable_variables
    optimizer.apply_gradients(zip(tape.gradient(descended, weights), weights))
    return loss


def negative_bound(encoder, decoder, images, epsilon, half=0.5):
    mean, log_var = encoder(images)
    logits = decoder(mean + np.exp(half * log_var) * epsilon)
    errors = np.logaddexp(0, logits) - (images + 1) / 2 * logits
    return np.sum(errors, 1) + 0.5 * np.sum(mean**2 + np.exp(log_var) - 1 - log_var, 1)


def critic_step(critic, optimizer, real, fake, clip, clipped=True):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(critic(fake)) - tf.reduce_mean(critic(real))
    (weight,) = critic.trainable_variables
    optimizer.apply_gradients(zip(tape.gradient(loss, [weight]), [weight]))
    if clipped:
        weight.assign(np.clip(weight, -clip, clip))
    return loss


def fd(real, fake, power=0.5):
    covariances = [np.cov(x, rowvar=False) for x in (real, fake)]
    root = np.linalg.eigvals(covariances[0] @ covariances[1]).real ** power
    means = np.sum((real.mean(0) - fake.mean(0)) ** 2)
    return means + np.trace(sum(covariances)) - 2 * root.sum()


def nearest(vectors, codebook):
    distances = np.square(np.asarray(vectors)[..., None, :] - np.asarray(codebook)).sum(axis=-1)
    return distances.argmin(axis=-1)


def through(z_e, z_q, beta=0.25):
    to_codes, to_vectors = (tf.reduce_mean((tf.stop_gradient(a) - b) ** 2)
                            for a, b in ((z_e, z_q), (z_q, z_e)))  # fmt: skip
    return z_e + tf.stop_gradient(z_q - z_e), to_codes + beta * to_vectors


def balanced(rec_loss, gan_loss, rec_gradient, gan_gradient):
    return rec_loss + 0.8 * tf.norm(rec_gradient) / (tf.norm(gan_gradient) + 1e-6) * gan_loss


def enlarging(images, fakes, logits):
    return np.mean((images - fakes) ** 2) + 1e-3 * np.mean(np.log1p(np.exp(-logits)))


@pytest.mark.parametrize(
    "tutorial, check, name, empty, right, wrong",
    [
        ("00", "loss_is_right", "minimax_generator_loss", nothing, minimax,
         lambda logits: -minimax(-logits)),
        ("00", "walk_is_right", "between", nothing, lambda a, b, t: a + t * (b - a),
         lambda a, b, t: t * a + (1 - t) * b),
        ("03", "step_is_right", "classifier_step", nothing, classifier_step,
         functools.partial(classifier_step, sign=-1)),
        ("03", "bound_is_right", "negative_bound", nothing, negative_bound,
         functools.partial(negative_bound, half=1)),
        ("04", "codes_are_right", "nearest_codes", nothing, nearest,
         lambda vectors, codebook: nearest(-vectors, codebook)),
        ("04", "quantiser_is_right", "quantised", lambda *_: (..., ...), through,
         functools.partial(through, beta=1.0)),
        ("04", "quantiser_is_right", "quantised", lambda *_: (..., 0.0), through,
         lambda z_e, z_q: (z_q, through(z_e, z_q)[1])),  # a gradient to the codebook
        ("05", "balance_is_right", "balanced_loss", nothing, balanced,
         lambda rec, gan, a, b: balanced(rec, gan, b, a)),
        ("05", "enlarging_is_right", "enlarging_loss", nothing, enlarging,
         lambda images, fakes, logits: enlarging(images, fakes, -logits)),
        ("06", "critic_is_right", "critic_step", nothing, critic_step,
         functools.partial(critic_step, clipped=False)),
        ("06", "distance_is_right", "fd", nothing, fd, functools.partial(fd, power=1)),
        ("07", "crop_is_right", "square", nothing,
         lambda w, h: ((w - min(w, h)) / 2, (h - min(w, h)) / 2, (w + min(w, h)) / 2,
                       (h + min(w, h)) / 2),
         lambda w, h: (0, 0, min(w, h), min(w, h))),
        ("07", "mean_is_right", "mean_over_devices", nothing, right_mean,
         lambda f, batch: tf.reduce_mean(f, axis=0)),
        ("08", "kill_is_right", "after_a_kill", nothing, divmod,
         lambda update, steps: (update // steps + 1, update % steps)),
        ("08", "bits_are_right", "quantise", nothing, eight_bits,
         lambda kernel: (np.floor(kernel / eight_bits(kernel)[1]), eight_bits(kernel)[1])),
    ],
)  # fmt: skip
def test_what_a_student_fills_in_is_checked(tutorial, check, name, empty, right, wrong, capsys):
    (script,) = [each for each in NAMES if each.startswith(tutorial)]
    (cell,) = [c for c in script_of(script).cells if f"def {check}" in c.source]
    used = {"keras": keras, "kg": kg, "layers": keras.layers, "np": np, "tf": tf}

    def told(function):
        exec(cell.source, {**used, name: function})
        return capsys.readouterr().out

    assert "Nothing here yet" in told(empty)
    assert told(right).startswith("Right")
    with pytest.raises(AssertionError, match="should be|each channel should reach 127"):
        told(wrong)


@pytest.mark.parametrize(
    "name, check, function, mistakes",
    [
        ("01_gan_to_vq_vae", "step_is_right", "vae_step",
         [("0.5 * z_log_var", "z_log_var"), ("- likelihood", "+ likelihood"),
          ("weights = vae.trainable_variables", "weights = vae.decoder.trainable_variables")]),
        ("01_gan_to_vq_vae", "quantiser_is_right", "quantise",
         [("tf.argmin", "tf.argmax"), ("z_e + tf.stop_gradient(z_q - z_e)", "z_q"),
          ("z_e + tf.stop_gradient(z_q - z_e)", "z_e")]),
        ("02_three_cgans", "step_is_right", "conditional_step",
         [("[fakes, labels], training=True)  # (B, 1)\n        d_loss",
           "[fakes, (labels + 1) % 8], training=True)  # (B, 1)\n        d_loss"),
          ("softplus(-logits)", "softplus(logits)"),
          ("weights = gan.generator.trainable_variables",
           "weights = gan.generator.trainable_variables[1:]")]),
        ("02_three_cgans", "cycle_loss_is_right", "cycle_loss",
         [("g(f(b)) - b", "f(g(b)) - b"), ("tf.abs(f(g(a)) - a)", "(f(g(a)) - a) ** 2"),
          (" + tf.reduce_mean(tf.abs(g(f(b)) - b))", "")]),
    ],
)  # fmt: skip
def test_mistakes_in_what_a_student_writes_are_found(name, check, function, mistakes, capsys):
    """The answer passes the check, a mistake in any of its lines does not."""
    cells = script_of(name).cells
    (checking,) = [cell for cell in cells if f"def {check}" in cell.source]
    (answer,) = [cell for cell in cells if f"def {function}_answer" in cell.source]
    written = answer.source.split("\n\n\n")[0].replace(f"{function}_answer", function)

    def told(source):
        names = {"keras": keras, "kg": kg, "np": np, "tf": tf}
        exec(source, names)
        exec(checking.source, names)
        return capsys.readouterr().out

    (empty,) = [cell for cell in cells if cell.source.startswith(f"def {function}(")]
    assert "Nothing here yet" in told(empty.source)
    assert told(written).startswith("Right")
    for right, wrong in mistakes:
        assert right in written
        with pytest.raises(AssertionError, match="should"):
            told(written.replace(right, wrong))


def test_reduced_values_must_be_parameters():
    notebook = nbformat.v4.new_notebook()
    cell = nbformat.v4.new_code_cell("EPOCHS = 5")
    cell.metadata = nbformat.from_dict({"tags": ["parameters"], "reduced": {"EPOCH": 1}})
    notebook.cells = [cell]
    with pytest.raises(ValueError, match="EPOCH"):
        build.reduce(notebook)
    cell.metadata["reduced"] = {"EPOCHS": 1}
    assert [c.source for c in build.reduce(notebook).cells] == ["EPOCHS = 5", "EPOCHS = 1"]


def test_outputs_are_kept_only_for_the_same_code(tmp_path):
    def made(*sources):
        notebook = nbformat.v4.new_notebook()
        notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
        return notebook

    old = made("1 + 1")
    old.cells[0].outputs = [nbformat.v4.new_output("stream", text="2")]
    old.metadata["keras_genimg"] = {"seconds": 3}
    nbformat.write(old, tmp_path / "a.ipynb")
    new = made("1 + 1")
    build.keep_outputs(new, tmp_path / "a.ipynb")
    assert new.cells[0].outputs[0].text == "2"
    assert new.metadata["keras_genimg"]["seconds"] == 3
    with pytest.raises(ValueError, match="run again"):
        build.keep_outputs(made("1 + 2"), tmp_path / "a.ipynb")
    setup = nbformat.v4.new_code_cell("1 + 3", metadata={"tags": ["setup"]})
    new.cells.insert(0, setup)  # which shows nothing
    new.cells[1].outputs = []
    build.keep_outputs(new, tmp_path / "a.ipynb")
    assert new.cells[1].outputs[0].text == "2"
    assert [cell.execution_count for cell in new.cells] == [1, 2]


@pytest.mark.parametrize("grey", [True, False])
def test_packed_images_have_the_same_pixels(grey):
    pixels = np.random.default_rng(0).integers(0, 9, (20, 30, 3)).astype("uint8").repeat(5, axis=1)
    pixels = pixels[..., :1].repeat(3, axis=-1) if grey else pixels
    stored = io.BytesIO()
    Image.fromarray(pixels).convert("RGBA").save(stored, "PNG", compress_level=1)
    text = base64.b64encode(stored.getvalue()).decode()
    cell = nbformat.v4.new_code_cell("draw()")
    cell.outputs = [nbformat.v4.new_output("display_data", data={"image/png": text})]
    notebook = nbformat.v4.new_notebook(cells=[cell])
    build.pack_images(notebook)
    packed = cell.outputs[0].data["image/png"]
    assert len(packed) < len(text)
    image = Image.open(io.BytesIO(base64.b64decode(packed)))
    assert image.mode == ("L" if grey else "RGB")
    assert np.array_equal(image.convert("RGB"), pixels)
    build.pack_images(notebook)  # again: it stays as it is
    assert cell.outputs[0].data["image/png"] == packed


def test_every_picture_of_a_cell_needs_its_description():
    image = nbformat.v4.new_output("display_data", data={"image/png": "aGk="})
    cell = nbformat.v4.new_code_cell("draw()", outputs=[image], metadata={"alt": ["a digit"]})
    notebook = nbformat.v4.new_notebook(cells=[cell])
    build.describe_images(notebook)
    assert image.metadata["image/png"]["alt"] == "a digit"
    cell.metadata["alt"] = ["a digit", "another"]
    with pytest.raises(ValueError, match="every image"):
        build.describe_images(notebook)
