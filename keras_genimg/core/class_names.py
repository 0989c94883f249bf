"""The names of a model's classes, and labels given as numbers or as names."""

import unicodedata

import numpy as np

from keras_genimg.checks import check_class_names, check_labels, is_integer
from keras_genimg.errors import InputError

__all__ = ["NamesClasses"]


class NamesClasses:
    """Mixin of an `ImageModel`, whose `num_classes` is None without classes: names and labels."""

    @property
    def class_names(self) -> tuple | None:
        """Names of the classes in the order of their numbers; None if they are unknown.

        They are saved with the model, and its SavedModel returns them.
        """
        names = self.arguments.get("class_names")
        return None if names is None else tuple(names)

    @class_names.setter
    def class_names(self, names) -> None:
        if names is None:
            self.arguments.pop("class_names", None)
            return
        self._check_has_classes("class_names")
        self.arguments["class_names"] = check_class_names(names, self.num_classes)

    def _check_has_classes(self, received):
        if self.num_classes is None:
            raise InputError(f"{type(self).__name__} has no classes. Received: {received}.")

    def class_numbers(self, labels, count: int | None = None) -> np.ndarray:
        """Labels as integers, one per image.

        Args:
            labels: integers from 0 to num_classes - 1 or names of classes, `(count,)`; or one of
                these for all images. A string of digits that is no name is a number.
            count: int, or None for the number of labels.

        Returns:
            int32 array `(count,)`.

        Raises:
            InputError: invalid labels, or a model without classes.
        """
        if self.num_classes is None:  # a large array takes long to print
            self._check_has_classes("labels=" + " ".join(str(labels).split())[:60])
        one = isinstance(labels, str) or is_integer(labels) or getattr(labels, "shape", None) == ()
        given = [labels] if one else labels
        if isinstance(given, np.ndarray) and given.dtype.kind in "UO":
            given = given.tolist()
        if isinstance(given, (list, tuple)):
            given = [self._number_of(each) if isinstance(each, str) else each for each in given]
        numbers = check_labels(given, self.num_classes, None if one else count)
        return np.repeat(numbers, count or 1) if one else numbers

    def _number_of(self, name):
        names = self.class_names or ()
        if name in names:
            return names.index(name)  # also "2", where folders are named by numbers
        alike = [each for each in names if _folded(each) == _folded(name)]
        if len(alike) == 1:  # "sneaker" for "Sneaker"
            return names.index(alike[0])
        if name.isdecimal():
            return int(name)
        known = ", ".join(names) or "class_names is not set"
        raise InputError(
            f"labels must be integers from 0 to {self.num_classes - 1} or names of the model's "
            f"classes ({known}). Received: {name!r}."
        )

    def labels_in_turn(self, count: int, labels=None) -> np.ndarray:
        """Labels that are repeated up to a number of images.

        Args:
            count: int. Number of images.
            labels: see `class_numbers`; by default all classes, 0, 1, ...

        Returns:
            int32 array `(count,)`.

        Raises:
            InputError: see `class_numbers`.
        """
        self._check_has_classes("labels")
        labels = np.arange(self.num_classes) if labels is None else self.class_numbers(labels)
        return np.resize(labels, count).astype("int32")


def _folded(name):
    """A name without letter case; some systems name a folder by an e and an accent for an é."""
    return unicodedata.normalize("NFC", name).casefold()
