"""Small networks of packages other than keras-hub, where they are installed."""

import importlib
import importlib.util
import os
import sys
import types

SIZE = 64


def zeromodels():
    """Dict, name -> function that builds a network of zeromodels; empty without it."""
    try:
        import zeromodels.models as zoo
    except ImportError:
        return {}

    def build(module, name, **config):
        def make():
            found = importlib.import_module(f"{zoo.__name__}.{module}")
            return getattr(found, name)(num_classes=10, **config)

        return make

    vit = {"patch_size": 8, "embed_dim": 96, "depth": 2, "num_heads": 3}
    return {
        "ViT": build("vit", "ViTImageClassify", image_size=SIZE, **vit),
        "DeiT": build("deit", "DeiTImageClassify", image_size=SIZE, **vit),
        "Swin": build(
            "swin",
            "SwinImageClassify",
            image_size=SIZE,
            pretrain_size=SIZE,
            window_size=4,
            embed_dim=48,
            depths=(2, 2),
            num_heads=(3, 6),
        ),
        "ConvNeXt": build(
            "convnext",
            "ConvNeXtImageClassify",
            image_size=SIZE,
            depths=(1, 1, 1, 1),
            projection_dim=(32, 64, 96, 128),
        ),
        "MobileViT": build("mobilevit", "MobileViTImageClassify", image_size=SIZE),
        "LeViT": build(
            "levit",
            "LevitImageClassify",
            image_size=128,
            hidden_sizes=(64, 96, 128),
            depths=(1, 1, 1),
        ),
        "PVTv2": build(
            "pvt_v2", "PvtV2ImageClassify", image_size=SIZE, depths=(1, 1, 1, 1)
        ),
        "EfficientFormer": build(
            "efficientformer",
            "EfficientFormerImageClassify",
            image_size=224,
            depths=(1, 1, 1, 2),
            embed_dim=(32, 48, 64, 96),
        ),
        "MLP-Mixer": build(
            "mlp_mixer",
            "MLPMixerImageClassify",
            image_size=SIZE,
            patch_size=8,
            depths=2,
            embed_dim=96,
        ),
        "PiT": build(
            "pit",
            "PiTImageClassify",
            image_size=SIZE,
            patch_size=8,
            stride=4,
            embed_dim=(32, 64, 128),
            depth=(1, 1, 1),
            heads=(2, 4, 8),
        ),
    }


def attention_models():
    """The same of keras-cv-attention-models.

    It is written for Keras 2, PyTorch or keras_core. The last one is what Keras 3 was
    called before it came out, so that is what it gets here. There, its data sets need
    PyTorch, so that only the modules with the networks are imported.
    """
    import keras

    found = importlib.util.find_spec("keras_cv_attention_models")
    if found is None:
        return {}
    os.environ["KECAM_BACKEND"] = "keras_core"
    sys.modules.setdefault("keras_core", keras)
    (folder,) = found.submodule_search_locations
    for name in ("", "imagenet", "coco"):
        full = f"{found.name}.{name}".rstrip(".")
        package = sys.modules.setdefault(full, types.ModuleType(full))
        package.__path__ = [os.path.join(folder, name)]
    zoo = sys.modules[found.name]
    for name in ("attention_layers", "efficientnet"):  # in an order that they bear
        importlib.import_module(f"{found.name}.{name}")

    def build(module, name, **config):
        def make():
            found = importlib.import_module(f"{zoo.__name__}.{module}")
            given = {"input_shape": (SIZE, SIZE, 3), "num_classes": 10, **config}
            return getattr(found, name)(pretrained=None, **given)

        return make

    return {
        "EfficientNetV2": build("efficientnet", "EfficientNetV2B0"),
        "MobileNetV3": build("mobilenetv3_family", "MobileNetV3Small100"),
        "LCNet": build("mobilenetv3_family", "LCNet050"),
        "GhostNet": build("ghostnet", "GhostNet_050"),
        "ConvNeXtV2": build("convnext", "ConvNeXtV2Atto"),
        "MobileViT": build("mobilevit", "MobileViT_XXS"),
        "FasterNet": build("fasternet", "FasterNetT0"),
        "RepViT": build("repvit", "RepViT_M09"),
        "CSPNeXt": build("cspnext", "CSPNeXtTiny"),
        "MogaNet": build("moganet", "MogaNetXtiny"),
    }
