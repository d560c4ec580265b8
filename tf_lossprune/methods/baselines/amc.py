"""AMC: a reinforcement-learning agent walks through the groups."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tf_lossprune.config import check_count
from tf_lossprune.methods.base import Method, register_method
from tf_lossprune.methods.baselines.ddpg import Ddpg
from tf_lossprune.methods.search import Search

#: Spread of the exploration, and its factor after each episode past the warm-up.
NOISE, DECAY = 0.5, 0.97


@keras.saving.register_keras_serializable(package="tf_lossprune")
class Amc(Method):
    """An agent proposes each group's ratio; its reward is the accuracy after the cut.

    He et al., ECCV 2018, arXiv 1802.03494. One group a step, in the network's order;
    the action is bounded so that the rest, at its fewest channels, can still meet
    the budget; the reward comes at the end of an episode, from training batches, and
    is given to all of its steps against a moving average. Before it is evaluated, a
    network's weights are reconstructed by least squares (`training.repair`).
    Simplified: the order in a group is the importance's.

    Args:
        episodes: int >= 1, networks to evaluate.
        warmup: int >= 1, episodes with random actions before learning.
        seed: int.
    """

    name = "amc"
    plans = True

    def __init__(self, episodes: int = 120, warmup: int = 30, seed: int = 0) -> None:
        self.episodes = check_count("episodes", episodes, 1)
        self.warmup = check_count("warmup", warmup, 1)
        self.seed = seed

    def plan(self, model: Any, evaluate: Any) -> np.ndarray:
        walk = _Walk(model.search)
        agent = Ddpg(walk.state_size, seed=self.seed)
        rng = np.random.default_rng(self.seed)
        best, best_score, average = np.empty(0), -np.inf, None
        for episode in range(self.episodes):
            exploring = episode < self.warmup
            noise = NOISE * DECAY ** max(0, episode - self.warmup)
            policy = functools.partial(agent.act, noise=noise)
            ratios, states, actions = walk.run(
                (lambda _: rng.random()) if exploring else policy
            )
            score = evaluate(ratios)
            if score > best_score:
                best, best_score = ratios, score
            average = score if average is None else 0.95 * average + 0.05 * score
            agent.remember(
                (state, action, score - average, after, index == len(actions) - 1)
                for index, (state, action, after) in enumerate(
                    zip(states, actions, [*states[1:], states[-1]])
                )
            )
            if not exploring:
                for _ in actions:
                    agent.learn()
        return best

    def get_config(self) -> dict[str, Any]:
        return {"episodes": self.episodes, "warmup": self.warmup, "seed": self.seed}


class _Walk:
    """The way through the groups: what the agent sees, and how far it may go."""

    state_size = 7

    def __init__(self, search: Search) -> None:
        self._search = search
        self._sizes = search.layout.sizes
        # The share of the cost that goes with each group alone.
        self._spent = np.array([self._saved(k) for k in range(len(self._sizes))])

    def _saved(self, group: int) -> float:
        widths = self._sizes.copy()
        widths[group] = self._search.min_widths[group]
        return max(1.0 - c.total(widths) / c.dense for c in self._search.costs)

    def run(
        self, policy: Callable[[np.ndarray], float]
    ) -> tuple[np.ndarray, list, list]:
        """One episode.

        Args:
            policy: function from a state to an action in [0, 1].

        Returns:
            Ratios `[groups]`, and lists of the states and actions.
        """
        widths = self._sizes.copy()
        states, actions, action = [], [], 1.0
        for group in range(len(widths)):
            state = self._state(group, widths, action)
            action = self._bounded(group, widths, policy(state))
            widths[group] = max(
                self._search.min_widths[group], round(action * self._sizes[group])
            )
            states.append(state)
            actions.append(action)
        return widths / self._sizes, states, actions

    def _state(self, group: int, widths: np.ndarray, action: float) -> np.ndarray:
        groups = len(self._sizes)
        done = self._spent[:group] * (1.0 - widths[:group] / self._sizes[:group])
        return np.array(
            [
                group / groups,
                np.log2(self._sizes[group]) / 12.0,
                self._spent[group],
                done.sum(),
                self._spent[group + 1 :].sum(),
                self._search.min_widths[group] / self._sizes[group],
                action,
            ],
            "float32",
        )

    def _bounded(self, group: int, widths: np.ndarray, action: float) -> float:
        """The action, or the largest one with which the budget can still be met."""
        widths = widths.copy()
        widths[group + 1 :] = self._search.min_widths[group + 1 :]
        low, high = self._search.min_widths[group], self._sizes[group]
        while low < high:  # the most channels that leave enough for the rest
            widths[group] = middle = (low + high + 1) // 2
            shares = [c.total(widths) / c.dense for c in self._search.costs]
            if (np.array(shares) > self._search.targets + 1e-9).any():
                high = middle - 1
            else:
                low = middle
        return float(np.clip(action, 0.0, low / self._sizes[group]))


register_method(Amc)
