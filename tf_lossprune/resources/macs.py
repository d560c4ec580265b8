"""Multiply-accumulate operations of convolutions and dense layers."""

import math

import keras

from tf_lossprune.graph import ChannelGraph
from tf_lossprune.resources.base import Term, register_resource, weight_terms
from tf_lossprune.resources.model import BilinearResource
from tf_lossprune.resources.opaque import check_counted, opaque_calls, unknown_sizes


@keras.saving.register_keras_serializable(package="tf_lossprune")
class Macs(BilinearResource):
    """Multiply-accumulates per sample (one MAC is two FLOPs).

    Each entry of a kernel is used once at each output position. What no rule knows
    is counted from the operations that its call records, and cannot be pruned.
    """

    name = "macs"
    unit = "MACs"

    def terms(self, channels: ChannelGraph) -> list[Term]:
        check_counted(channels, self.name)
        terms = weight_terms(channels, lambda record, name: record.positions[name])
        for record in channels.records.values():
            for number, factors in record.products:
                terms.append(Term(record.layer.name, number, factors))
        for call, opaque in opaque_calls(channels):
            if opaque.work.macs:
                terms.append(Term(call.operation.name, opaque.work.macs, ()))
        for term in terms:
            if math.isnan(term.coefficient):
                raise unknown_sizes(self.name, term.layer, _shape(channels, term.layer))
        return terms


def _shape(channels: ChannelGraph, layer: keras.layers.Layer) -> tuple:
    calls = [c for c in channels.graph.calls if c.operation.name == layer]
    return calls[0].inputs[0].shape


register_resource(Macs())
