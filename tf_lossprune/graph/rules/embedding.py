"""Embeddings: the columns of the table are channels."""

import keras

from tf_lossprune.graph.rules.registry import register_rule


@register_rule(keras.layers.Embedding, effect="prunes", any_layout=True)
def embedding(ctx, layer):
    out = ctx.fresh(layer.output_dim)
    ctx.weight("embeddings", {1: out})
    ctx.config("output_dim", out)
    ctx.output(out, batch_axis=ctx.batch_axis())
