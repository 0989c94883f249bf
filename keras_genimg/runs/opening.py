"""The lines with which a training begins."""

from keras_genimg.core import Clips, ImageModel
from keras_genimg.data import DataInfo
from keras_genimg.runs.pairs import paired_by_name

__all__ = ["opening"]

SHOWN = 10  # names of classes


def opening(
    folder: str, model: ImageModel, settings: dict, split: str, info: DataInfo, skipped: dict,
    batch_size: int, steps: int,
) -> str:  # fmt: skip
    """Three lines: the data, the training, and where it writes.

    Args:
        folder: path of the run folder.
        model: the model to train.
        settings: dict, of the run.
        split: str. The split, or the slice of it, that the model is trained on.
        info: `DataInfo` of the split.
        skipped: dict from a reason to the number of files that are not used for it.
        batch_size: int. Images of one update, which may be fewer than in the settings.
        steps: int. Steps per epoch.

    Returns:
        string.
    """
    shape = "x".join(map(str, info.image_shape))
    what = f"clips of {model.num_frames} frames" if model.data.part(Clips) else "images"
    data = f"{settings['data']}, {split}: {info.num_images:,} {what} of {shape}"
    if settings["data_b"]:
        by_name = paired_by_name(model.data, settings)
        data += f", {'paired with' if by_name else 'and'} {settings['data_b']}"
    if info.class_names:
        names = [name if name.isprintable() else ascii(name) for name in info.class_names]
        more = ", ..." if len(names) > SHOWN else ""
        data += f" in {len(names)} classes ({', '.join(names[:SHOWN])}{more})"
    if skipped:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in skipped.items())
        data += f"; {sum(skipped.values()):,} files skipped ({reasons})"
    batches = f"batches of {batch_size}"
    if batch_size < settings["batch_size"]:
        batches += f" (not {settings['batch_size']}: there are no more images)"
    training = f"{type(model).__name__} with {model.count_params():,} parameters; {batches}, "
    training += f"{steps:,} {'step' if steps == 1 else 'steps'} per epoch, "
    training += f"{settings['epochs']:,} {'epoch' if settings['epochs'] == 1 else 'epochs'}"
    return f"data      {data}\ntraining  {training}\noutput    {folder}"
