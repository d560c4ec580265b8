"""Layers that channels cannot pass, with the reason.

Without channels of their own to give, they keep whatever reaches them. On the
model's input, where most of them stand, nothing is lost.
"""

from tf_lossprune.graph.rules.registry import register_rule, stock_layers

REASONS = {
    "it sums over the channels": ["Dot"],
    "its mask depends on all channels": ["Masking"],
    "it runs code that cannot be read": [
        "FlaxLayer", "JaxLayer", "Lambda", "TFSMLayer", "TorchModuleWrapper",
    ],
    "the layer it wraps is not looked into": [
        "Pipeline", "StackedRNNCells",
        "TimeDistributed", "Wrapper", "GRUCell", "LSTMCell", "SimpleRNNCell",
    ],
    "it shares its table with the output": ["ReversibleEmbedding"],
    "it works on raw inputs": [
        "AugMix", "AutoContrast", "CategoryEncoding",
        "ContrastLimitedAdaptiveHistogramEqualization", "CutMix", "Discretization",
        "Equalization", "HashedCrossing", "Hashing", "InputLayer", "IntegerLookup",
        "MaxNumBoundingBoxes", "MelSpectrogram", "MixUp", "RandAugment",
        "RandomBrightness", "RandomColorDegeneration", "RandomColorJitter",
        "RandomContrast", "RandomCrop", "RandomElasticTransform", "RandomErasing",
        "RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHue",
        "RandomInvert", "RandomPerspective", "RandomPosterization", "RandomRotation",
        "RandomSaturation", "RandomSharpness", "RandomShear", "RandomTranslation",
        "RandomZoom", "STFTSpectrogram", "Solarization", "StringLookup",
        "TextVectorization",
    ],
}  # fmt: skip


#: Layers that are opened before a rule is asked.
OPENED = ("Lambda", "TimeDistributed")


def _register(reason, names, remark):
    @register_rule(*stock_layers(*names), effect="freezes", remark=remark)
    def freeze(ctx, layer):
        ctx.freeze_all(reason)


for _reason, _names in REASONS.items():
    _register(_reason, [n for n in _names if n not in OPENED], _reason)
    _register(_reason, [n for n in _names if n in OPENED], "unless it can be opened")
