"""Keras plumbing of models that turn pictures into pictures against an opponent."""

import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.models.two_players import TwoPlayerModel

__all__ = ["TranslationModel", "scores"]


def scores(d_loss, real_logits, fake_logits):
    """The logs of the discriminator."""
    return {
        "d_loss": d_loss,
        "real_score": tf.reduce_mean(tf.sigmoid(real_logits)),
        "fake_score": tf.reduce_mean(tf.sigmoid(fake_logits)),
    }


class TranslationModel(TwoPlayerModel):
    """A generator that is given a picture, its opponent, an optimizer for each.

    Subclasses `adopt` their networks, call `self.built = True`, and write
    `train_step` and `test_step`.

    Args:
        image_shape: tuple (height, width, channels) of the pictures that are made.
        source_shape: tuple (height, width, channels) of those that are given.
        seed: int, optional. Makes the noise of training repeatable.
    """

    def __init__(self, image_shape, source_shape, seed=None, **kwargs):
        super().__init__(image_shape, seed=seed, **kwargs)
        self.source_shape = tuple(source_shape)

    @property
    def element_shape(self):
        return self.source_shape

    def call(self, images, training=False):
        """What the generator makes of pictures.

        Args:
            images: float tensor `(n, *source_shape)` in [-1, 1].
            training: bool. Whether batch normalisation and dropout are as in training.

        Returns:
            float32 tensor `(n, *image_shape)` in [-1, 1].
        """
        return self.generator(images, training=training)

    def translate(self, images, *, batch_size=256):
        """Translates pictures, in batches.

        Args:
            images: float array `(n, *source_shape)` in [-1, 1].
            batch_size: int. Pictures translated at once.

        Returns:
            NumPy float32 array `(n, *image_shape)` in [-1, 1].

        Raises:
            InputError: pictures of another shape, type or range.
        """
        checked = self.checked_images(images, self.source_shape)
        return self._run_in_batches("call", checked, batch_size)

    def draw_latents(self, num_images, seed):
        """Refuses: pictures are made of pictures here.

        Args:
            num_images, seed: as `ImageModel.draw_latents` has them.

        Raises:
            InputError: always, and names `translate`.
        """
        raise InputError(
            f"{type(self).__name__} makes pictures of pictures: translate(images) takes the place "
            "of generate."
        )

    def source_spec(self):
        """What a signature takes as pictures to translate.

        Returns:
            `tf.TensorSpec` `(None, *source_shape)`, float32, named `images`.
        """
        return tf.TensorSpec((None, *self.source_shape), tf.float32, name="images")

    def signatures(self):
        translate = (lambda images: {"images": self.call(images)}, [self.source_spec()])
        return {"serving_default": translate, "translate": translate}

    def deterministic_signature(self):
        # In one ONNX graph an output may not be called as an input is.
        return (lambda images: {"translations": self.call(images)}), [self.source_spec()]
