"""What a pruned model adds to Keras' saving of weights."""

import json
from typing import Any

import keras
import numpy as np

from tf_lossprune.types import Path
from tf_lossprune.values import numpy_of

#: How far the shares of two budgets may lie apart to count as the same.
SHARE_TOLERANCE = 1e-3


class SavedState:
    """Mix-in for `PrunedModel`: all of its state, and no half-loaded file.

    Keras leaves the random states of layers (dropout, augmentation) out of its
    files. With them, a resumed run draws what the uninterrupted one would have.
    """

    def _random_states(self) -> list[keras.Variable]:
        stored = {id(v) for v in self.network.weights}
        return [v for v in self.network.variables if id(v) not in stored]

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        for index, variable in enumerate(self._random_states()):
            store[f"random_state_{index}"] = numpy_of(variable)
        text = json.dumps({name: float(s) for name, s in self.shares.items()})
        store["budget"] = np.frombuffer(text.encode(), "uint8")
        if self.teacher is not None:
            store["teacher"] = np.ones((), "uint8")
        if self.is_compact:
            store["compact"] = self.kept_units().astype("uint8")

    def load_own_variables(self, store: Any) -> None:
        own = {name: store[name] for name in store.keys()}
        budget = own.pop("budget", None)
        if budget is not None:
            self._check_budget(json.loads(bytes(np.array(budget)).decode()))
        # Before Keras comes to the network: its weights have to find their places.
        self._match_teacher(own.pop("teacher", None) is not None)
        self._match(own.pop("compact", None))
        for index, variable in enumerate(self._random_states()):
            value = own.pop(f"random_state_{index}", None)
            if value is not None:  # files of earlier versions have none
                variable.assign(value)
        super().load_own_variables(own)

    def _check_budget(self, saved: Any) -> None:
        same = saved.keys() == self.shares.keys() and all(
            abs(share - self.shares[name]) <= SHARE_TOLERANCE * self.shares[name]
            for name, share in saved.items()
        )
        if not same:
            raise ValueError(
                "Expected weights that were learned for the same budget, since the "
                "kept channels are among them; call `prune_model` with that budget. "
                f"Received: shares {saved}, not {self.shares}"
            )

    def load_weights(self, filepath: Path, *args: Any, **kwargs: Any) -> None:
        """As `keras.Model.load_weights`; if it fails, nothing has changed.

        Raises:
            OSError: for a file that cannot be read, or only in part.
            ValueError: for the weights of another model.
        """
        network, compact, optimizer = (
            self.network,
            self.is_compact,
            getattr(self, "optimizer", None),
        )
        before = [(v, numpy_of(v)) for v in self._all_variables()]
        try:
            super().load_weights(filepath, *args, **kwargs)
        except FileNotFoundError:
            raise
        except Exception as error:
            if self.network is not network:
                self._put(network, compact)
                self.optimizer = optimizer
                self.forget_programs()
            for variable, value in before:
                variable.assign(value)
            if isinstance(error, (OSError, RuntimeError)):
                raise OSError(
                    "The file with the weights is damaged or truncated, perhaps "
                    "because the process was killed while writing it: continue from "
                    "an earlier one (see "
                    "`tf_lossprune.callbacks.SafeBackupAndRestore`). Received: "
                    f"{filepath} ({error})"
                ) from error
            raise ValueError(
                "Expected the weights of exactly this model: made by `prune_model` "
                "from the same network with the same options, and compiled with the "
                f"same optimizer. {error}\nReceived: {filepath}"
            ) from error

    def _all_variables(self) -> list[keras.Variable]:
        found = [*self.variables, *self.ratio_optimizer.variables]
        optimizer = getattr(self, "optimizer", None)
        if optimizer is not None:
            found += optimizer.variables
        return found
