"""What a model takes is said once, and checked by it."""

import numpy as np
import pytest
import tensorflow as tf
from cases import SHAPE

from keras_genimg import InputError
from keras_genimg.core import Clips, Codes, DataSpec, Images, Labels, Pairs

IMAGES = np.zeros((4, *SHAPE), "float32")


class Model:
    """The attributes that a spec asks a model for."""

    image_shape, source_shape = SHAPE, (8, 8, 3)
    num_classes, num_frames = 3, 5
    code_shape, num_embeddings = (2, 3), 7
    condition_shape, condition_embeddings = (1, 2), 4
    dtype_policy = "float32"


@pytest.fixture
def model():
    return Model()


def refused(model, spec, x, y=None):
    model.data = spec
    with pytest.raises(InputError) as caught:
        spec.check_values(model, x, y)
    message = str(caught.value)
    assert message.startswith(("Model ", "labels ", "There ")) and "\n" not in message
    return message


def test_a_spec_reads_like_what_fit_takes():
    condition = Codes("condition", "condition_shape", "condition_embeddings")
    assert str(Images()) == "images"
    assert str(Images() + Labels()) == "(images, labels)"
    assert str(Codes() + Labels() + condition) == "(codes, (labels, condition))"
    pairs = Pairs("inputs", "targets", "source_shape", "image_shape", aligned=True)
    assert str(pairs) == "(inputs, targets)" and pairs.aligned
    spec = Codes() + Labels()
    assert isinstance(spec.part(Labels), Labels) and spec.part(Clips) is None
    assert [type(part) for part in spec.parts] == [Codes, Labels]


def test_shapes_come_from_the_model(model):
    assert Images().shape(model) == SHAPE and Clips().shape(model) == (5, *SHAPE)
    assert Codes().shape(model) == (2, 3) and Labels().shape(model) == ()


@pytest.mark.parametrize(
    "x, y, words",
    [
        (
            IMAGES,
            None,
            "is trained on (images, labels), labels being integers of shape (batch,). "
            "Received: images alone.",
        ),
        (
            IMAGES,
            np.zeros((4, 1), int),
            "takes labels of shape (batch,), one integer per image. Received: (4, 1).",
        ),
        (
            IMAGES,
            [0, 1, 2, 3],
            "labels must be integers from 0 to 2, of shape (n,). Received: 0 to 3.",
        ),
        (IMAGES, [0, 1], "There must be one label per image. Received: 2 labels for 4 images."),
        (IMAGES[..., 0], [0] * 4, "Received: ('batch', 16, 16)."),
        (IMAGES + 2, [0] * 4, "takes images in [-1, 1]. Received: values from 2 to 2."),
    ],
)
def test_images_and_labels(model, x, y, words):
    assert words in refused(model, Images() + Labels(), x, y)


def test_codes_with_labels_and_a_condition(model):
    condition = Codes("condition", "condition_shape", "condition_embeddings")
    spec = Codes() + Labels() + condition
    codes, labels = np.zeros((4, 2, 3), int), np.zeros(4, int)
    given = np.zeros((4, 1, 2), int)
    spec.check_values(model, codes, (labels, given))
    assert "condition being codes of shape ('batch', 1, 2)" in refused(
        model, spec, codes, (labels, None)
    )
    assert "labels being integers" in refused(model, spec, codes, (None, given))
    assert "Received: codes and a ndarray." in refused(model, spec, codes, labels)
    assert "integers from 0 to 3. Received: 0 to 4" in refused(
        model, spec, codes, (labels, given + np.array([0, 4]))
    )
    assert "as many condition as codes" in refused(model, spec, codes, (labels, given[:2]))


def test_both_sides_of_a_pair(model):
    spec = Pairs("inputs", "targets", "source_shape", "image_shape", aligned=True)
    sources = np.zeros((4, 8, 8, 3), "float32")
    spec.check_values(model, sources, IMAGES)
    assert "(inputs, targets). Received: inputs alone" in refused(model, spec, sources)
    assert "of shape ('batch', 16, 16, 1)" in refused(model, spec, sources, sources)
    assert "as many targets as inputs. Received: 4 inputs and 2 targets" in refused(
        model, spec, sources, IMAGES[:2]
    )


def test_a_step_gets_images_in_its_precision_and_integers_in_32_bits(model):
    spec = Images() + Labels()
    x, y = spec.cast(model, IMAGES.astype("float64"), np.zeros(4, "int64"))
    assert (x.dtype, y.dtype) == (tf.float32, tf.int32)
    model.dtype_policy = "float64"
    assert spec.cast(model, IMAGES, np.zeros(4, "int64"))[0].dtype == tf.float64
    # What a model does not ask for passes through.
    assert Images().cast(model, IMAGES, "anything")[1] == "anything"


def test_specs_add_up_without_changing():
    first = Images()
    both = first + Labels()
    assert isinstance(both, DataSpec) and len(both.parts) == 2 and len(first.parts) == 1


def test_ragged_images_are_refused(model):
    rows = tf.ragged.stack([tf.zeros(SHAPE), tf.zeros((1, *SHAPE[1:]))])
    assert "floating-point images" in refused(model, Images(), rows)
