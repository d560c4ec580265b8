"""Moments of the network before the cut, collected once."""

from unittest import mock

import keras
import numpy as np
from absl.testing import absltest

import tf_lossprune
from tests.training import small
from tf_lossprune.graph import analyze
from tf_lossprune.training import dense_moments
from tf_lossprune.training.dense_moments import DenseMoments
from tf_lossprune.training.readers import find_readers


def counted():
    return mock.patch.object(
        dense_moments, "collect", side_effect=dense_moments.collect
    )


class DenseMomentsTest(absltest.TestCase):
    def test_what_was_collected_is_not_collected_again(self):
        """And what there is no room for is, with the same result."""
        graph = analyze(small.network())
        readers, _ = find_readers(graph)
        x, _ = small.data()
        found = []
        for room, times in ((dense_moments.ENTRIES_KEPT, 1), (0, 2)):
            with mock.patch.object(dense_moments, "ENTRIES_KEPT", room), counted() as c:
                moments = DenseMoments(graph, [x[:30], x[30:]])
                found += [dict(moments.of(find_readers(graph)[0])).values()]
                found += [dict(moments.of(find_readers(graph)[0])).values()]
            self.assertEqual(c.call_count, times)
        self.assertLen(found[0], len(readers))
        for other in found[1:]:
            for a, b in zip(found[0], other, strict=True):
                for one, two in zip(a[0], b[0], strict=True):
                    np.testing.assert_array_equal(one.square, two.square)
                    np.testing.assert_array_equal(one.mean, two.mean)

    def test_order_comparison_and_repair_read_the_network_once(self):
        keras.utils.set_random_seed(0)
        model = small.compile_model(small.network())
        small.fit(model)
        pruned = small.prune(
            model, schedule=tf_lossprune.Schedule(frozen_search=True, search_steps=24)
        )
        small.compile_model(pruned)
        with counted() as collected:
            small.fit(pruned, epochs=8)
        self.assertTrue(pruned.is_compact)
        self.assertEqual(collected.call_count, 1)


if __name__ == "__main__":
    absltest.main()
