"""Deep deterministic policy gradient, small, in Keras."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

#: Share of the online networks in the target networks after each update.
BLEND = 0.01


class Ddpg:
    """An agent with one action in (0, 1).

    Lillicrap et al., ICLR 2016, arXiv 1509.02971. The actor learns through a model
    made of the actor and the critic, so that nothing but `train_on_batch` is needed,
    on any backend.

    Args:
        state_size: int.
        hidden: int, width of the two hidden layers.
        seed: int.
        discount: float in [0, 1].
        capacity: int, transitions that are remembered.
    """

    def __init__(
        self,
        state_size: int,
        hidden: int = 64,
        seed: int = 0,
        discount: float = 1.0,
        capacity: int = 2000,
    ) -> None:
        self._rng = np.random.default_rng(seed)
        seeds = iter(range(seed * 100, seed * 100 + 100))

        def perceptron(inputs: Any, name: str, activation: str | None) -> keras.Model:
            x = inputs
            for _ in range(2):
                init = keras.initializers.GlorotUniform(seed=next(seeds))
                x = keras.layers.Dense(
                    hidden, activation="relu", kernel_initializer=init
                )(x)
            init = keras.initializers.RandomUniform(-3e-3, 3e-3, seed=next(seeds))
            x = keras.layers.Dense(1, activation=activation, kernel_initializer=init)(x)
            return keras.Model(inputs, x, name=name)

        def actor() -> keras.Model:
            return perceptron(keras.Input((state_size,)), "actor", "sigmoid")

        def critic() -> keras.Model:
            given = [keras.Input((state_size,)), keras.Input((1,))]
            joined = keras.layers.Concatenate()(given)
            body = perceptron(keras.Input((state_size + 1,)), "value", None)
            return keras.Model(given, body(joined), name="critic")

        self.actor, self._target_actor = actor(), actor()
        self.critic, self._target_critic = critic(), critic()
        self._target_actor.set_weights(self.actor.get_weights())
        self._target_critic.set_weights(self.critic.get_weights())
        self.critic.compile(keras.optimizers.Adam(1e-3), "mse")
        # The critic, with its weights but untrainable, on top of the actor.
        judge = keras.models.clone_model(self.critic)
        judge.trainable = False
        state = keras.Input((state_size,))
        self._judge = judge
        self._chain = keras.Model(state, judge([state, self.actor(state)]))
        self._chain.compile(
            keras.optimizers.Adam(1e-4), loss=lambda _, value: -ops.mean(value)
        )
        self._discount, self._capacity = discount, capacity
        self._memory = []

    def act(self, state: np.ndarray, noise: float = 0.0) -> float:
        """The action for a state `[state_size]`: a float in [0, 1].

        Args:
            state: float array.
            noise: float, spread of the exploration, from a truncated normal law.
        """
        mean = self.actor(ops.convert_to_tensor(state[None], "float32"))
        mean = float(ops.convert_to_numpy(mean)[0, 0])
        if not noise:
            return mean
        while True:
            action = self._rng.normal(mean, noise)
            if 0.0 <= action <= 1.0:
                return float(action)

    def remember(self, transitions: Iterable[tuple]) -> None:
        """Adds `(state, action, reward, next state, done)` tuples to the memory."""
        self._memory = (self._memory + list(transitions))[-self._capacity :]

    def learn(self, batch_size: int = 64) -> None:
        """One update of both networks and of their targets."""
        rows = self._rng.integers(len(self._memory), size=batch_size)
        columns = zip(*[self._memory[row] for row in rows])
        state, action, reward, after, done = (
            np.array(column, "float32") for column in columns
        )
        action, reward, done = (a[:, None] for a in (action, reward, done))
        after = ops.convert_to_tensor(after)
        ahead = self._target_critic([after, self._target_actor(after)])
        ahead = ops.convert_to_numpy(ahead)
        wanted = reward + self._discount * (1.0 - done) * ahead
        self.critic.train_on_batch([state, action], wanted)
        self._judge.set_weights(self.critic.get_weights())
        self._chain.train_on_batch(state, np.zeros((batch_size, 1), "float32"))
        for target, online in (
            (self._target_actor, self.actor),
            (self._target_critic, self.critic),
        ):
            target.set_weights(
                [
                    (1.0 - BLEND) * old + BLEND * new
                    for old, new in zip(target.get_weights(), online.get_weights())
                ]
            )
