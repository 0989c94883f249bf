"""docs/fid.md: the field's own programs read what the package writes.

They run in a process of their own, where no TensorFlow is, with a small network in place of
Inception, whose weights are a download.
"""

import importlib.util
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import keras_genimg as kg

pytestmark = pytest.mark.full
GUIDE = (pathlib.Path(__file__).parents[1] / "docs" / "fid.md").read_text(encoding="utf-8")

STAND_IN = """
import sys
import numpy as np
import torch

seen = []

def stand_in(images):
    '''48 features of images (n, 3, h, w) in [0, 255]: means of 4x4 parts, bent.'''
    means = torch.nn.functional.adaptive_avg_pool2d(images.float() / 255, 4)
    seen.append(torch.sin(3 * means.flatten(1)).double())
    return seen[-1]

def finish(value):
    np.savez("found.npz", features=torch.cat(seen).numpy(), value=value)
"""

TORCH_FIDELITY = """
import torch_fidelity

class StandIn(torch_fidelity.FeatureExtractorBase):
    def __init__(self, name, features_list, **ignored):
        super().__init__(name, features_list)

    @staticmethod
    def get_provided_features_list():
        return ("means",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return "means"

    @staticmethod
    def can_be_compiled():
        return False

    def forward(self, images):
        assert images.dtype == torch.uint8 and images.shape[1:] == (3, 32, 32)
        return (stand_in(images),)

torch_fidelity.register_feature_extractor("stand-in", StandIn)
from torch_fidelity import fidelity

calculate_metrics = fidelity.calculate_metrics

def with_stand_in(**given):
    assert given["cuda"] is False and given["fid"] is True
    given |= {"feature_extractor": "stand-in", "cache": False, "verbose": False}
    found = calculate_metrics(**given)
    finish(found["frechet_inception_distance"])
    return found

fidelity.calculate_metrics = with_stand_in
sys.argv = COMMAND
fidelity.main()
"""

CLEAN_FID = """
from cleanfid import fid

compute_fid = fid.compute_fid
fid.compute_fid = lambda *folders, **given: compute_fid(
    *folders, **given, custom_feat_extractor=stand_in, num_workers=0, verbose=False,
)
print = finish
"""

READY = """
import cleanfid.features

def download(local_folder, url):
    name = url.rsplit("/", 1)[1]
    assert name == "cifar10_clean_train_32.npz", name
    np.savez(name, mu=np.zeros(48), sigma=np.eye(48))
    return name

cleanfid.features.check_download_url = download
device = torch.device("cpu")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Samples as `generate` writes them; references by the code of the guide, of another set."""
    folder = tmp_path_factory.mktemp("fid")
    gan = kg.GAN(image_shape=(32, 32, 3), seed=0)
    for index, image in enumerate(gan.generate(100, seed=0, verbose=0)):
        kg.plotting.save_png(folder / "samples" / f"{index:06d}.png", image)
    code = python_of_the_guide("import pathlib")
    of_papers = 'kg.load("cifar10", batch_size=1000)'
    assert of_papers in code
    small = 'kg.load("glyphs", batch_size=40, num_images=120, image_size=32, channels=3)'
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(code.replace(of_papers, small), {})
    assert len(list((folder / "reference").iterdir())) == 120
    return folder


def run(package, folder, script):
    """What a program found, and the features that it saw."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    (folder / "found.npz").unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", STAND_IN + script], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = np.load(folder / "found.npz")
    return found["value"], found["features"]


def assert_is_the_distance(value, features):
    assert len(features) == 220
    expected = kg.metrics.frechet_distance(features[100:], features[:100])
    assert expected > 0.1
    assert value == pytest.approx(expected, rel=1e-6)


def python_of_the_guide(beginning):
    return re.search(rf"```python\n({beginning}.*?)```", GUIDE, re.DOTALL).group(1)


def test_torch_fidelity(folder):
    (command,) = re.findall(r"^    (fidelity .*)$", GUIDE, re.MULTILINE)
    script = TORCH_FIDELITY.replace("COMMAND", repr(command.split()))
    assert_is_the_distance(*run("torch_fidelity", folder, script))


def test_clean_fid(folder):
    code = python_of_the_guide("import torch").replace("from cleanfid import fid\n", "")
    assert_is_the_distance(*run("cleanfid", folder, CLEAN_FID + code))


def test_the_statistics_that_clean_fid_has_ready(folder):
    """The guide's call asks for a file that is there: cifar10_clean_train_32.npz."""
    script = CLEAN_FID + READY + python_of_the_guide("cifar10 = ")
    value, features = run("cleanfid", folder, script)
    assert value > 0 and len(features) == 100
