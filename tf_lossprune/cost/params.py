"""Number of stored weights, trained or not."""

import math

import keras

from tf_lossprune.cost.base import Term, register_resource, weight_terms
from tf_lossprune.cost.model import BilinearResource


@keras.saving.register_keras_serializable(package="tf_lossprune")
class Params(BilinearResource):
    """Weights of all layers, BN statistics included: what a file must store."""

    name = "params"
    unit = "parameters"

    def terms(self, channels):
        terms = weight_terms(channels, lambda record, name: 1)
        for layer in channels.graph.layers:
            record = channels.record(layer)
            known = {id(record.weight(name)) for name in record.weights}
            rest = sum(math.prod(w.shape) for w in layer.weights if id(w) not in known)
            if rest:
                terms.append(Term(layer.name, rest, ()))
        return terms


register_resource(Params())
