"""Widths between uniform ones and those that a search on frozen weights has found."""

import dataclasses
import logging
from collections.abc import Sequence
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
        ratios, importance: as `PrunedModel.decide` takes them.
    """

    ratios: np.ndarray | None = None
    importance: np.ndarray | None = None


def best_between(
    model: Any,
    data: Data,
    batch_size: int | None = None,
    orders: Sequence[np.ndarray] = (),
) -> Choice:
    """The best of some networks, cut and repaired.

    A search on frozen weights asks what is lost by each channel alone, and exaggerates:
    what others can take over after the repair costs less. Uniform widths know nothing.
    Which is nearer to the truth depends on network and budget, so both are tried, and
    the widths halfway; each with the given orders of the channels, and the best of them
    with the method's own.

    Args:
        model: `PrunedModel`, compiled, at the end of its search.
        data: training data in a form which `fit` takes.
        batch_size: int or None, for arrays.
        orders: list of importances as `PrunedModel.decide` takes them.

    Returns:
        `Choice`. Where nothing can be compared, without targets, a loss, or data that
        can be read once more: the method's ratios and the first order.
    """
    first = None if model.loss is None else first_labelled(data, batch_size)
    if first is None:
        return Choice(None, *orders[:1])
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
    log = logging.getLogger(__name__)

    def scored(part, number):
        ratios = found[PARTS.index(part)]
        order = orders[number] if number < len(orders) else None
        score = evaluate(ratios, order)
        log.info(
            "Cut and repaired, %.0f %% as learned, order %d: %.4f",
            *(100 * part, number, score),
        )
        return score, Choice(ratios, order), part

    # Of equal ones the first, halfway.
    tried = [scored(p, n) for n in range(max(1, len(orders))) for p in PARTS]
    best = max(tried, key=_score)
    if orders:
        best = max(best, scored(best[2], len(orders)), key=_score)
    return best[1]


def _score(tried):
    return tried[0]
