r"""Compares what networks cost, as told, with what is in their LiteRT files.

All networks of `keras.applications`, and small ones of the architectures of keras-hub,
whose blocks are layers of their own: MACs by `tf_lossprune.cost` and by the operations
of the converted network (`tests/judge.py`), parameters by `cost` and `count_params()`;
of the networks of keras-hub also what `prune_model` delivers for half of the MACs.

One JSON line a network; those in `--out` already are not run again.
`python -m benchmarks.counts --table` prints the lines as a Markdown table.

    python -m benchmarks.counts --names=MobileNetV2,hub/ViT
"""

import time
import warnings

import keras
from absl import app, flags

import tf_lossprune
from benchmarks import common, zoo
from tests import judge

FLAGS = flags.FLAGS

IMAGE = (64, 64, 3)


def _mobile():
    return {
        "stackwise_expansion": [[16, 24], [32, 48]],
        "stackwise_num_blocks": [2, 2],
        "stackwise_num_filters": [[16, 16], [24, 24]],
        "stackwise_kernel_size": [[3, 3], [5, 5]],
        "stackwise_num_strides": [[2, 1], [2, 1]],
        "stackwise_se_ratio": [[None, None], [0.25, 0.25]],
        "stackwise_activation": [["relu", "relu"], ["hard_swish", "hard_swish"]],
        "stackwise_padding": [[1, 1], [2, 2]],
        "output_num_filters": 64,
        "input_activation": "hard_swish",
        "output_activation": "hard_swish",
        "input_num_filters": 16,
        "depthwise_filters": 8,
        "depthwise_stride": 2,
        "depthwise_residual": False,
        "squeeze_and_excite": 0.5,
        "last_layer_filter": 64,
    }


def _efficient(**more):
    return {
        "stackwise_kernel_sizes": [3, 5],
        "stackwise_num_repeats": [2, 2],
        "stackwise_input_filters": [16, 24],
        "stackwise_output_filters": [24, 32],
        "stackwise_expansion_ratios": [1, 4],
        "stackwise_squeeze_and_excite_ratios": [0.25, 0.25],
        "stackwise_strides": [1, 2],
        "stackwise_width_coefficients": [1.0, 1.0],
        "stackwise_depth_coefficients": [1.0, 1.0],
        **more,
    }


#: Name -> class in `keras_hub.models`, and the arguments of a small one.
HUB = {
    "ResNet": (
        "ResNetBackbone",
        {
            "input_conv_filters": [16],
            "input_conv_kernel_sizes": [7],
            "stackwise_num_filters": [64, 32],
            "stackwise_num_blocks": [2, 2],
            "stackwise_num_strides": [1, 2],
            "block_type": "bottleneck_block",
        },
    ),
    "EfficientNet": (
        "EfficientNetBackbone",
        _efficient(stackwise_block_types=["v1", "v1"]),
    ),
    "EfficientNetV2": (
        "EfficientNetBackbone",
        _efficient(stackwise_block_types=["fused", "unfused"]),
    ),
    "MobileNet": ("MobileNetBackbone", _mobile()),
    "HGNetV2": (
        "HGNetV2Backbone",
        {
            "depths": [1, 2],
            "embedding_size": 16,
            "hidden_sizes": [32, 64],
            "stem_channels": [3, 8, 16],
            "hidden_act": "relu",
            "use_learnable_affine_block": True,
            "stackwise_stage_filters": [(16, 8, 32, 1, 2, 3), (32, 16, 64, 2, 2, 3)],
            "apply_downsample": [False, True],
            "use_lightweight_conv_block": [False, True],
        },
    ),
    "MiT": (
        "MiTBackbone",
        {
            "layerwise_depths": [1, 1],
            "num_layers": 2,
            "layerwise_num_heads": [1, 2],
            "layerwise_sr_ratios": [2, 1],
            "max_drop_path_rate": 0.1,
            "layerwise_patch_sizes": [7, 3],
            "layerwise_strides": [4, 2],
            "hidden_dims": [16, 32],
        },
    ),
    "ViT": (
        "ViTBackbone",
        {
            "patch_size": 16,
            "num_layers": 2,
            "num_heads": 2,
            "hidden_dim": 32,
            "mlp_dim": 64,
        },
    ),
    "CSPNet": (
        "CSPNetBackbone",
        {
            "stem_filters": 16,
            "stem_kernel_size": 3,
            "stem_strides": 1,
            "stackwise_depth": [1, 2],
            "stackwise_strides": [2, 2],
            "stackwise_num_filters": [16, 32],
            "block_type": "dark_block",
            "stage_type": "dark",
        },
    ),
    "DenseNet": (
        "DenseNetBackbone",
        {"stackwise_num_repeats": [2, 3], "growth_rate": 8},
    ),
    "Xception": (
        "XceptionBackbone",
        {
            "stackwise_conv_filters": [[16, 32], [32, 48]],
            "stackwise_pooling": [True, False],
        },
    ),
    "VGG": (
        "VGGBackbone",
        {"stackwise_num_repeats": [1, 2], "stackwise_num_filters": [16, 32]},
    ),
}


def hub_network(name):
    """A small backbone of keras-hub with a classifier on it.

    Args:
        name: Key of `HUB`.

    Returns:
        A functional `keras.Model`.
    """
    import keras_hub

    kind, arguments = HUB[name]
    key = "input_shape" if kind == "EfficientNetBackbone" else "image_shape"
    backbone = getattr(keras_hub.models, kind)(**{key: IMAGE}, **arguments)
    image = keras.Input(IMAGE)
    y = backbone(image)
    y = list(y.values())[-1] if isinstance(y, dict) else y
    while len(y.shape) > 2:
        y = keras.ops.mean(y, axis=1)
    return keras.Model(image, keras.layers.Dense(10)(y), name=name.lower())


def counts(name):
    """What a network costs as told and as judged.

    Args:
        name: Name of a constructor of `keras.applications`, or `hub/` and a key of
            `HUB`.

    Returns:
        A dict.
    """
    of_hub = name.startswith("hub/")
    model = hub_network(name[4:]) if of_hub else zoo.build(name)
    started = time.perf_counter()
    told = tf_lossprune.cost(model)
    row = {
        "name": name,
        "seconds": time.perf_counter() - started,
        "macs": told["macs"],
        "judged_macs": judge.macs(model),
        "params": told["params"],
        "counted_params": model.count_params(),
    }
    if of_hub:
        row.update(delivered(model, row["judged_macs"]))
    return row


def delivered(model, dense):
    """What half of the MACs, or what can be reached, delivers by told and by judged.

    Args:
        model: `keras.Model`.
        dense: Its MACs.

    Returns:
        A dict.
    """
    found = tf_lossprune.inspect_model(model, channel_multiple=1)
    asked = min(1.0, max(0.5, found.smallest["macs"] + 0.01))
    opaque = sum(entry.share["macs"] for entry in found.opaque)
    if not found.groups:
        return {"opaque": opaque}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruned = tf_lossprune.prune_model(
            model, {"macs": asked}, method="uniform", channel_multiple=1
        )
        compact = tf_lossprune.strip_pruning(pruned)
    return {
        "opaque": opaque,
        "asked": asked,
        "told_share": tf_lossprune.cost(compact)["macs"] / dense,
        "judged_share": judge.macs(compact) / dense,
    }


def table(rows):
    """The rows as a Markdown table."""
    head = ["network", "MACs", "in the file", "parameters", "`count_params()`"]
    head += ["opaque", "asked", "told", "true"]
    lines = []
    for row in sorted(rows, key=lambda r: r["name"]):
        cells = [row["name"].replace("hub/", "keras-hub ")]
        cells += [f"{row[k]:,}" for k in ("macs", "judged_macs")]
        cells += [f"{row[k]:,}" for k in ("params", "counted_params")]
        cells += [f"{row['opaque']:.0%}" if "opaque" in row else ""]
        shares = ("asked", "told_share", "judged_share")
        cells += [f"{row[k]:.3f}" if k in row else "" for k in shares]
        lines.append(cells)
    return common.markdown(head, lines)


def main(argv):
    """Counts the networks of the flags that are not in `--out` yet."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    if FLAGS.table:
        print(table(common.read_lines(FLAGS.out)))
        return
    names = FLAGS.names or [*(f"hub/{n}" for n in HUB), *zoo.constructors()]
    common.run_missing(names, counts, FLAGS.out)


if __name__ == "__main__":
    common.define_networks("counts")
    app.run(main)
