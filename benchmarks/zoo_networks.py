"""Small networks of packages other than keras-hub, where they are installed."""

import importlib
import os
import sys

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
            embed_dim=(32, 64, 96),
            depth=(1, 1, 1),
            heads=(2, 4, 6),
        ),
    }


def attention_models():
    """The same of keras-cv-attention-models.

    It is written for Keras 2, PyTorch or keras_core. The last one is what Keras 3 was
    called before it came out, so that is what it gets here.
    """
    import keras

    os.environ["KECAM_BACKEND"] = "keras_core"
    sys.modules.setdefault("keras_core", keras)
    try:
        import keras_cv_attention_models as zoo
    except ImportError:
        return {}

    def build(module, name, **config):
        def make():
            found = importlib.import_module(f"{zoo.__name__}.{module}")
            given = {"input_shape": (SIZE, SIZE, 3), "num_classes": 10, **config}
            return getattr(found, name)(pretrained=None, **given)

        return make

    return {
        "EfficientNetV2": build("efficientnet", "EfficientNetV2B0"),
        "MobileNetV3": build("mobilenetv3_family", "MobileNetV3Small100"),
        "GhostNet": build("ghostnet", "GhostNet_050"),
        "ConvNeXtV2": build("convnext", "ConvNeXtV2Atto"),
        "MobileViT": build("mobilevit", "MobileViT_XXS"),
        "EdgeNeXt": build("edgenext", "EdgeNeXt_XX_Small"),
        "FasterNet": build("fasternet", "FasterNetT0"),
        "RepViT": build("repvit", "RepViT_M09"),
        "ResNeSt": build("resnest", "ResNest50"),
        "CoTNet": build("cotnet", "CotNet50"),
        "LeViT": build("levit", "LeViT128S"),
        "CoAtNet": build("coatnet", "CoAtNetT"),
        "VanillaNet": build("vanillanet", "VanillaNet5"),
        "MLP-Mixer": build("mlp_family", "MLPMixerS32"),
    }
