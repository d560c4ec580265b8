"""Multiply-accumulate operations of convolutions and dense layers."""

import keras

from tf_lossprune.cost.base import Term, register_resource, weight_terms
from tf_lossprune.cost.model import BilinearResource


@keras.saving.register_keras_serializable(package="tf_lossprune")
class Macs(BilinearResource):
    """Multiply-accumulates per sample (one MAC is two FLOPs).

    Each entry of a kernel is used once at each output position.
    """

    name = "macs"
    unit = "MACs"

    def terms(self, channels):
        terms = weight_terms(channels, lambda record, name: record.positions[name])
        for record in channels.records.values():
            for number, units in record.products:
                terms.append(Term(record.layer.name, number, (units,)))
        return terms


register_resource(Macs())
