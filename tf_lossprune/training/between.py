"""Widths between uniform ones and those that a search on frozen weights has found."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import tree

from tf_lossprune.training.dense_moments import DenseMoments
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
    moments: DenseMoments | None = None,
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
        moments: as `Evaluation` takes them.

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
        moments=moments,
    )
    learned = model.options.method.ratios(
        model.search, model.current_importance(), model.search.targets
    )
    networks = dict(zip(PARTS, model.choice.between(learned, model.shares, PARTS)))
    log = logging.getLogger(__name__)

    def score(part: float, order: np.ndarray | None) -> float:
        found = evaluate(networks[part], order)
        own = " in the method's order" if order is None else ""
        log.info("Cut and repaired, %.0f %% as learned%s: %.4f", 100 * part, own, found)
        return found

    # Of equal ones the first, halfway.
    given: list[np.ndarray | None] = [*orders] if orders else [None]
    tried = [(part, order) for order in given for part in PARTS]
    scores = [score(*one) for one in tried]
    best = int(np.argmax(scores))
    part, order = tried[best]
    if order is not None and score(part, None) > scores[best]:
        order = None
    return Choice(networks[part], order)
