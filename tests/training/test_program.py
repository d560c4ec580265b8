"""Functions run as one program, and in full precision."""

import keras
import numpy as np
from absl.testing import absltest

from tf_lossprune.training.program import as_program, full_precision


def digits_are_dropped():
    """Whether the backend may compute float32 with fewer digits."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.config.jax_default_matmul_precision != "float32"
    from tensorflow import config

    return config.experimental.tensor_float_32_execution_enabled()


class ProgramTest(absltest.TestCase):
    def test_reads_and_assigns_variables(self):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        bias = model.layers[0].bias

        def step(x):
            bias.assign_add([1.0, 2.0])
            return model(x)

        program = as_program(step, model)
        x = np.ones((1, 3), "float32")
        outputs = [np.array(program(x)) for _ in range(3)]
        np.testing.assert_allclose(bias, [3.0, 6.0])
        np.testing.assert_allclose(outputs[2] - outputs[0], [[2.0, 4.0]], rtol=1e-6)

    def test_full_precision_ends(self):
        self.assertTrue(digits_are_dropped())
        with self.assertRaises(KeyError), full_precision():
            self.assertFalse(digits_are_dropped())
            raise KeyError
        self.assertTrue(digits_are_dropped())


if __name__ == "__main__":
    absltest.main()
