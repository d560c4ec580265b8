"""Widths between uniform ones and those that a search on frozen weights has found."""

import dataclasses
import logging
from typing import Any

import numpy as np
from keras import tree

from tf_lossprune.training.evaluation import Evaluation, first_labelled
from tf_lossprune.types import Data

#: How far the networks that are compared are from uniform widths to learned ones.
PARTS = (0.5, 0.0, 1.0)
#: They are compared on about so many samples, in no more than so many batches.
SAMPLES, MOST_BATCHES = 1024, 16


@dataclasses.dataclass
class Choice:
    """What `PrunedModel.decide` is told.

    Attributes:
        ratios: float `[groups]`, or None: what the method has found.
        importance: float `[num_units + 1]`, or None: the method's order.
    """

    ratios: np.ndarray | None = None
    importance: np.ndarray | None = None


def best_between(
    model: Any,
    data: Data,
    batch_size: int | None = None,
    importance: np.ndarray | None = None,
) -> Choice:
    """The best of some networks, cut and repaired.

    A search on frozen weights asks what is lost by each channel alone, and exaggerates:
    what others can take over after the repair costs less. Uniform widths know nothing.
    Which is nearer to the truth depends on network and budget, so both are tried, and
    the widths halfway; and with the best of them both orders of the channels.

    Args:
        model: `PrunedModel`, compiled, at the end of its search.
        data: training data in a form which `fit` takes.
        batch_size: int or None, for arrays.
        importance: float `[num_units + 1]`, an order of the channels; None: only the
            method's.

    Returns:
        `Choice`; what is given, where nothing can be compared: without targets, a
        loss, or data that can be read once more.
    """
    first = None if model.loss is None else first_labelled(data, batch_size)
    if first is None:
        return Choice(importance=importance)
    batches = -(-SAMPLES // len(tree.flatten(first[0])[0]))
    evaluate = Evaluation(
        model,
        data,
        batch_size,
        batches=min(batches, MOST_BATCHES),
        statistics=min(batches, MOST_BATCHES),
        repairs=model.options.repair is not None,
    )
    learned = model.options.method.ratios(
        model.search, model.current_importance(), model.search.targets
    )
    found = model.choice.between(learned, model.shares, PARTS)
    scores = [evaluate(ratios, importance) for ratios in found]
    log = logging.getLogger(__name__)
    for part, score in zip(PARTS, scores):
        log.info("Cut and repaired, %.0f %% as learned: %.4f", 100 * part, score)
    # Of equal ones the first, halfway.
    best = int(np.argmax(scores))
    if importance is not None:
        score = evaluate(found[best])
        log.info("The best of them with the search's order: %.4f", score)
        if score > scores[best]:
            importance = None
    return Choice(found[best], importance)
