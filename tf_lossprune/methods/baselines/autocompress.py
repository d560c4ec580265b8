"""AutoCompress: simulated annealing over the ratios."""

from typing import Any

import keras
import numpy as np
from keras import ops

from tf_lossprune.allocation import Projection
from tf_lossprune.config import check_count, check_positive, check_share
from tf_lossprune.methods.base import Method, register_method


@keras.saving.register_keras_serializable(package="tf_lossprune")
class AutoCompress(Method):
    """Tries random changes of the ratios, and keeps worse ones ever less often.

    Liu et al., AAAI 2020, arXiv 1907.03141: simulated annealing around a pruning by
    magnitudes. Every proposal lies on the budget, and is evaluated after a repair of
    its weights (`training.repair`). Simplified: one round instead of several with
    ADMM between them.

    Args:
        trials: int >= 1, networks to evaluate.
        temperature: float > 0, at the start, in units of the score.
        cooling: float in (0, 1), the temperature's factor after each trial.
        scale: float > 0, spread of a change of a log-ratio at the start.
        seed: int.
    """

    name = "autocompress"
    plans = True

    def __init__(
        self,
        trials: int = 100,
        temperature: float = 0.05,
        cooling: float = 0.96,
        scale: float = 0.5,
        seed: int = 0,
    ) -> None:
        self.trials = check_count("trials", trials, 1)
        self.temperature = check_positive("temperature", temperature)
        self.cooling = check_share("cooling", cooling)
        self.scale = check_positive("scale", scale)
        self.seed = seed

    def plan(self, model: Any, evaluate: Any) -> np.ndarray:
        search, rng = model.search, np.random.default_rng(self.seed)

        def on_budget(logs: Any) -> np.ndarray:
            ratios = Projection().ratios(
                ops.convert_to_tensor(logs, "float32"),
                search.costs,
                search.targets,
                search.min_ratios,
            )
            return ops.convert_to_numpy(ratios)

        logs = np.zeros(search.layout.num_groups)
        score = evaluate(on_budget(logs))
        best, best_score = on_budget(logs), score
        heat = 1.0
        for _ in range(self.trials - 1):
            chosen = rng.random(len(logs)) < max(0.25, 1.0 / len(logs))
            change = rng.normal(scale=self.scale * max(heat, 0.1), size=len(logs))
            proposal = logs + np.where(chosen, change, 0.0)
            ratios = on_budget(proposal)
            found = evaluate(ratios)
            gain = (found - score) / (self.temperature * heat)
            if gain >= 0 or rng.random() < np.exp(gain):
                logs, score = proposal, found
            if found > best_score:
                best, best_score = ratios, found
            heat *= self.cooling
        return best

    def get_config(self) -> dict[str, Any]:
        return {
            "trials": self.trials,
            "temperature": self.temperature,
            "cooling": self.cooling,
            "scale": self.scale,
            "seed": self.seed,
        }


register_method(AutoCompress)
