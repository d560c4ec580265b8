"""The number formats of a LiteRT file."""

PRECISIONS = ("fp32", "fp16", "int8", "int8_fp32_io")


def check_precision(precision: str) -> str:
    """Returns the precision, or raises a ValueError."""
    if precision not in PRECISIONS:
        raise ValueError(
            f"Expected precision as one of {PRECISIONS}. Received: {precision!r}"
        )
    return precision
