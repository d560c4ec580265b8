"""Files of labelled colour images."""

import io
import pathlib

import numpy as np

PLAIN = ("x_train", "y_train", "x_test", "y_test")
JPEG = ("train_bytes", "train_ends", "train_labels")
JPEG += ("test_bytes", "test_ends", "test_labels")


def read_npz(path):
    """Reads the training and the test images of an `.npz` file.

    Args:
        path: Its path. The file has the arrays of Keras' data sets, `x_train`,
            `y_train`, `x_test` and `y_test`; or JPEG images: `train_bytes` (all of
            them one after the other), `train_ends` (where each ends) and
            `train_labels`, and the same of `test`.

    Returns:
        List `[images, labels, test images, test labels]`; images as uint8 arrays
        `(n, height, width, 3)`.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If the images are JPEG and Pillow is missing.
        ValueError: If the file has other arrays, or of another shape or type.
    """
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"Expected an .npz file. Received: {str(path)!r}")
    with np.load(path) as file:
        if set(PLAIN) <= set(file):
            found = [file[name] for name in PLAIN]
        elif set(JPEG) <= set(file):
            data, ends, labels, test, test_ends, test_labels = (file[n] for n in JPEG)
            found = [
                decode_jpeg(data, ends),
                labels,
                decode_jpeg(test, test_ends),
                test_labels,
            ]
        else:
            raise ValueError(
                f"Expected an .npz file with the arrays {PLAIN} or, of JPEG images, "
                f"{JPEG}. Received: {str(path)!r} with {sorted(file)}"
            )
    for x, y in (found[:2], found[2:]):
        if x.dtype != np.uint8 or x.ndim != 4 or x.shape[3] != 3 or y.size != len(x):
            raise ValueError(
                "Expected images of bytes (n, height, width, 3) and n labels. "
                f"Received: {x.dtype} {x.shape} and {y.shape} in {str(path)!r}"
            )
    return found


def decode_jpeg(data, ends):
    """Decodes JPEG images that lie one after the other.

    Args:
        data: Array of bytes, all images.
        ends: Where in `data` each image ends.

    Returns:
        Array of uint8 `(n, height, width, 3)`.

    Raises:
        ImportError: If Pillow is missing.
    """
    try:
        import PIL.Image
    except ImportError as error:
        raise ImportError("JPEG images need Pillow: pip install pillow") from error
    data = data.tobytes()
    starts = [0, *ends[:-1]]
    return np.stack(
        [
            np.asarray(PIL.Image.open(io.BytesIO(data[start:end])).convert("RGB"))
            for start, end in zip(starts, ends)
        ]
    )
