"""Number of stored weights, trained or not."""

import keras

from tf_lossprune.graph import ChannelGraph
from tf_lossprune.resources.base import Term, register_resource, weight_terms
from tf_lossprune.resources.model import BilinearResource
from tf_lossprune.resources.opaque import undeclared_weights


@keras.saving.register_keras_serializable(package="tf_lossprune")
class Params(BilinearResource):
    """Weights of all layers, BN statistics included: what a file must store."""

    name = "params"
    unit = "parameters"

    def terms(self, channels: ChannelGraph) -> list[Term]:
        terms = weight_terms(channels, lambda record, name: 1)
        for layer, entries in undeclared_weights(channels).items():
            terms.append(Term(layer, entries, ()))
        return terms


register_resource(Params())
