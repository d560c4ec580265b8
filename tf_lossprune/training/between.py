"""Widths between uniform and learned ones, and the order in which channels go."""

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from keras import tree

from tf_lossprune.advice import FEW_STEPS
from tf_lossprune.gates.importance import Automatic
from tf_lossprune.training.dense_moments import DenseMoments
from tf_lossprune.training.evaluation import Evaluation, Labelled, first_labelled
from tf_lossprune.training.prediction import prediction_orders

#: How far the networks that are compared are from uniform widths to learned ones.
HALFWAY = 0.5
PARTS = (HALFWAY, 0.0, 1.0)
#: They are compared on about so many samples, in no more than so many batches.
SAMPLES, MOST_BATCHES = 1024, 16


@dataclasses.dataclass
class Choice:
    """What `PrunedModel.decide` and `PrunedModel.snapshot` are told.

    Attributes:
        ratios, importance: as `PrunedModel.decide` takes them.
    """

    ratios: np.ndarray | None = None
    importance: np.ndarray | None = None


class BestCut:
    """The best of some networks, cut and repaired.

    A search on frozen weights asks what is lost by each channel alone, and exaggerates:
    what others can take over after the repair costs less. Uniform widths know nothing.
    Which is nearer to the truth depends on network and budget, so both are tried, and
    the widths halfway; each with channels first which the others can predict, and the
    best of them with the method's own order.

    Args:
        model: `PrunedModel`, compiled, at the end of its search or with fixed widths.
        batches: function without arguments that returns batches to repair with.
        labelled: data, batch size and class weights, as `Evaluation` takes them; None:
            nothing is compared.

    Attributes:
        moments: `DenseMoments` of the network before the cut; None where it will not be
            repaired.
    """

    def __init__(
        self,
        model: Any,
        batches: Callable[[], Iterable],
        labelled: Labelled | None = None,
    ) -> None:
        self._model, self._labelled = model, labelled
        self.moments: DenseMoments | None = None
        if model.repairs:
            self.moments = DenseMoments(model.channel_graph, batches())

    def choice(
        self,
        learned: np.ndarray | None = None,
        shares: Mapping[str, float] | None = None,
    ) -> Choice:
        """What to cut.

        Args:
            learned: float `[groups]`, the ratios that were learned for these shares;
                None: those of the search as it is now.
            shares: dict, resource -> share of the dense cost that is allowed; None: the
                budget's.

        Returns:
            `Choice`, an empty one unless the search was on frozen weights. Where
            nothing can be compared, after too few steps, or without targets, a loss, or
            data that can be read once more: the widths halfway and the first order.
        """
        model = self._model
        if not model.search.frozen.on_host:
            return Choice()
        shares = model.shares if shares is None else shares
        learned = model.learned_ratios(shares) if learned is None else learned
        networks = dict(zip(PARTS, model.choice.between(learned, shares, PARTS)))
        if model.search.read("search_steps") < FEW_STEPS:
            return Choice(networks[HALFWAY], *self._orders[:1])
        return self._best(networks)

    def order(self) -> np.ndarray | None:
        """The importance by which widths that are fixed already keep their channels.

        Returns:
            float `[num_units + 1]`; None: that by which they were chosen.
        """
        counts = self._model.kept_channels().values()
        ratios = np.array([kept / size for kept, size in counts])
        return self._best({1.0: ratios}).importance if self._orders else None

    def _best(self, networks: dict[float, np.ndarray]) -> Choice:
        """The best network, by the share of the way from uniform to learned widths."""
        evaluate = self._evaluate
        if evaluate is None:
            return Choice([*networks.values()][0], *self._orders[:1])

        def score(part: float, order: np.ndarray | None) -> float:
            found = evaluate(networks[part], order)
            own = " in the method's order" if order is None else ""
            logging.getLogger(__name__).info(
                "Cut and repaired, %.0f %% as learned%s: %.4f", 100 * part, own, found
            )
            return found

        # Of equal ones the first, halfway.
        given: list[np.ndarray | None] = [*self._orders] if self._orders else [None]
        tried = [(part, order) for order in given for part in networks]
        scores = [score(*one) for one in tried]
        best = int(np.argmax(scores))
        part, order = tried[best]
        if order is not None and score(part, None) > scores[best]:
            order = None
        return Choice(networks[part], order)

    @functools.cached_property
    def _orders(self) -> list[np.ndarray]:
        """Importances of the channels by how well the others predict them."""
        model = self._model
        automatic = isinstance(model.options.importance, Automatic)
        follows = automatic and model.search.follows_importance
        if not follows or self.moments is None:
            return []
        return prediction_orders(model.channel_graph, self.moments)

    @functools.cached_property
    def _evaluate(self) -> Evaluation | None:
        model = self._model
        if self._labelled is None or model.loss is None:
            return None
        first = first_labelled(*self._labelled[:2])
        if first is None:
            return None
        wanted = -(-SAMPLES // len(tree.flatten(first[0])[0]))
        return Evaluation(
            model,
            *self._labelled,
            batches=min(wanted, MOST_BATCHES),
            statistics=min(wanted, MOST_BATCHES),
            repairs=model.options.repair is not None,
            moments=self.moments,
        )
