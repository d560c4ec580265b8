"""How much of keras-hub's networks is opened: `python -m benchmarks.opening`.

Small configurations with random weights, one line each: groups, share of the
multiply-accumulates outside of opaque layers, smallest reachable share, seconds to
build and to open, and what stayed closed.
"""

import math
import sys
import time
import warnings

import keras

import tf_lossprune
from tf_lossprune.graph import open_model

SHAPE = (64, 64, 3)


def networks():
    """Dict, name -> function that builds a small network."""
    import keras_hub.models as hub

    def mit():
        return hub.MiTBackbone(
            layerwise_depths=[1, 1],
            num_layers=2,
            layerwise_num_heads=[1, 2],
            layerwise_sr_ratios=[2, 1],
            max_drop_path_rate=0.1,
            layerwise_patch_sizes=[7, 3],
            layerwise_strides=[4, 2],
            image_shape=SHAPE,
            hidden_dims=[16, 32],
        )

    def efficientnet():
        return hub.EfficientNetBackbone(
            stackwise_width_coefficients=[1.0] * 2,
            stackwise_depth_coefficients=[1.0] * 2,
            stackwise_kernel_sizes=[3, 3],
            stackwise_num_repeats=[2, 2],
            stackwise_input_filters=[32, 16],
            stackwise_output_filters=[16, 24],
            stackwise_expansion_ratios=[4, 4],
            stackwise_squeeze_and_excite_ratios=[0, 0.25],
            stackwise_strides=[1, 2],
            stackwise_block_types=["fused", "unfused"],
            stackwise_force_input_filters=[0, 0],
            stackwise_nores_option=[False, False],
            input_shape=SHAPE,
        )

    def mobilenet():
        return hub.MobileNetBackbone(
            stackwise_expansion=[[40, 56], [64, 144]],
            stackwise_num_blocks=[2, 2],
            stackwise_num_filters=[[16, 16], [24, 24]],
            stackwise_kernel_size=[[3, 3], [5, 5]],
            stackwise_num_strides=[[2, 1], [1, 1]],
            stackwise_se_ratio=[[0.25, None], [0.25, 0.25]],
            stackwise_activation=[["relu", "relu6"], ["hard_swish", "hard_swish"]],
            stackwise_padding=[[1, 1], [2, 2]],
            output_num_filters=64,
            depthwise_filters=8,
            depthwise_stride=2,
            depthwise_residual=False,
            squeeze_and_excite=0.5,
            last_layer_filter=64,
            image_shape=SHAPE,
        )

    def resnet():
        return hub.ResNetBackbone(
            input_conv_filters=[64],
            input_conv_kernel_sizes=[7],
            stackwise_num_filters=[64, 64],
            stackwise_num_blocks=[2, 2],
            stackwise_num_strides=[1, 2],
            block_type="basic_block",
            image_shape=SHAPE,
        )

    def vit():
        return hub.ViTBackbone(
            image_shape=SHAPE,
            patch_size=16,
            num_layers=2,
            num_heads=2,
            hidden_dim=32,
            mlp_dim=64,
        )

    def hgnet():
        return hub.HGNetV2Backbone(
            depths=[1, 2],
            embedding_size=16,
            hidden_sizes=[32, 64],
            stem_channels=[3, 8, 16],
            hidden_act="relu",
            use_learnable_affine_block=False,
            stackwise_stage_filters=[[16, 8, 32, 1, 2, 3], [32, 16, 64, 2, 2, 3]],
            apply_downsample=[False, True],
            use_lightweight_conv_block=[False, True],
            image_shape=SHAPE,
        )

    def densenet():
        return hub.DenseNetBackbone(
            stackwise_num_repeats=[2, 2],
            compression_ratio=0.5,
            growth_rate=8,
            image_shape=SHAPE,
        )

    def xception():
        return hub.XceptionBackbone(
            stackwise_conv_filters=[[16, 32], [32, 32]],
            stackwise_pooling=[True, False],
            image_shape=(96, 96, 3),
        )

    def vgg():
        return hub.VGGBackbone(
            stackwise_num_repeats=[1, 1],
            stackwise_num_filters=[16, 32],
            image_shape=SHAPE,
        )

    return {
        "EfficientNet": efficientnet,
        "MobileNet": mobilenet,
        "HGNetV2": hgnet,
        "ResNet": resnet,
        "MiT": mit,
        "ViT": vit,
        "DenseNet": densenet,
        "Xception": xception,
        "VGG": vgg,
    }


def with_head(backbone):
    """A classifier, as the outputs of a backbone always stay."""
    y = backbone.output
    if isinstance(y, dict):
        y = list(y.values())[-1]
    rank = len(y.shape)
    pool = keras.layers.GlobalAveragePooling2D if rank == 4 else None
    pool = keras.layers.GlobalAveragePooling1D if rank == 3 else pool
    y = pool()(y) if pool else y
    return keras.Model(backbone.inputs, keras.layers.Dense(10)(y))


def measure(make):
    """Dict, what is told of a network."""
    began = time.perf_counter()
    model = with_head(make())
    built = time.perf_counter()
    graph = open_model(model)
    opened = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = tf_lossprune.inspect_model(model, channel_multiple=1)
    return {
        "groups": len(found.groups),
        "opened": _opened(found),
        "smallest": found.smallest.get("macs", 1.0),
        "build": built - began,
        "open": opened - built,
        "closed": sorted({*graph.closed.values()}),
    }


def _opened(found):
    """Share of the MACs that are in layers with rules; NaN: it cannot be counted."""
    if "macs" not in found.cost:
        return math.nan
    return 1 - sum(layer.share["macs"] for layer in found.opaque)


def main(names):
    print("| network | groups | MACs opened | smallest | build s | open s | closed |")
    print("|---|---|---|---|---|---|---|")
    for name, make in networks().items():
        if names and name not in names:
            continue
        row = measure(make)
        print(
            f"| {name} | {row['groups']} | {row['opened']:.1%} | {row['smallest']:.1%} "
            f"| {row['build']:.1f} | {row['open']:.1f} | {'; '.join(row['closed'])} |",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
