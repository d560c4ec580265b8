"""Small configurations of keras-hub's image networks."""

SHAPE = (64, 64, 3)


def classifier(make):
    """Function that builds an `ImageClassifier` of the class that goes with a backbone.

    Args:
        make: function that builds the backbone.
    """

    def build():
        import keras_hub.models as hub

        backbone = make()
        name = type(backbone).__name__.replace("Backbone", "ImageClassifier")
        return getattr(hub, name)(backbone, num_classes=10, preprocessor=None)

    return build


def networks():
    """Dict, name -> function that builds a small network with random weights."""
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

    def cspnet():
        return hub.CSPNetBackbone(
            stem_filters=16,
            stem_kernel_size=3,
            stem_strides=1,
            stackwise_depth=[1, 2],
            stackwise_strides=[2, 2],
            stackwise_num_filters=[32, 64],
            block_type="dark_block",
            stage_type="dark",
            image_shape=SHAPE,
        )

    def swin():
        return hub.SwinTransformerBackbone(
            image_shape=SHAPE,
            embed_dim=16,
            depths=(2, 2),
            num_heads=(2, 4),
            window_size=4,
        )

    def deit():
        return hub.DeiTBackbone(
            image_shape=SHAPE,
            patch_size=16,
            num_layers=2,
            num_heads=2,
            hidden_dim=32,
            intermediate_dim=64,
        )

    def dino():
        return hub.DINOV2Backbone(
            patch_size=16,
            num_layers=2,
            hidden_dim=32,
            num_heads=2,
            intermediate_dim=64,
            image_shape=SHAPE,
            position_embedding_shape=SHAPE,
        )

    def vit_det():
        return hub.ViTDetBackbone(
            hidden_size=32,
            num_layers=2,
            intermediate_dim=64,
            num_heads=2,
            global_attention_layer_indices=[1],
            image_shape=SHAPE,
            patch_size=8,
            num_output_channels=16,
            window_size=4,
        )

    def mobilenet_v5():
        return hub.MobileNetV5Backbone(
            stackwise_block_types=[["er"], ["uir", "uir"]],
            stackwise_num_blocks=[1, 2],
            stackwise_num_filters=[[24], [48, 48]],
            stackwise_strides=[[2], [2, 1]],
            stackwise_act_layers=[["relu"], ["relu", "relu"]],
            stackwise_exp_ratios=[[4.0], [6.0, 6.0]],
            stackwise_se_ratios=[[0.0], [0.0, 0.0]],
            stackwise_dw_kernel_sizes=[[0], [5, 5]],
            stackwise_dw_start_kernel_sizes=[[0], [0, 0]],
            stackwise_dw_end_kernel_sizes=[[0], [0, 0]],
            stackwise_exp_kernel_sizes=[[3], [0, 0]],
            stackwise_pw_kernel_sizes=[[1], [0, 0]],
            stackwise_num_heads=[[0], [0, 0]],
            stackwise_key_dims=[[0], [0, 0]],
            stackwise_value_dims=[[0], [0, 0]],
            stackwise_kv_strides=[[0], [0, 0]],
            stackwise_use_cpe=[[False], [False, False]],
            use_msfa=False,
            image_shape=SHAPE,
        )

    def deeplab():
        return hub.DeepLabV3Backbone(
            image_encoder=resnet(),
            low_level_feature_key="P2",
            spatial_pyramid_pooling_key="P3",
            projection_filters=16,
            upsampling_size=2,
            dilation_rates=[2, 4],
            image_shape=SHAPE,
        )

    def deeplab_task():
        return hub.DeepLabV3ImageSegmenter(deeplab(), num_classes=4)

    def segformer():
        encoder = hub.MiTBackbone(
            layerwise_depths=[1, 1, 1, 1],
            num_layers=4,
            layerwise_num_heads=[1, 2, 2, 2],
            layerwise_sr_ratios=[4, 2, 1, 1],
            max_drop_path_rate=0.1,
            layerwise_patch_sizes=[7, 3, 3, 3],
            layerwise_strides=[4, 2, 2, 2],
            image_shape=SHAPE,
            hidden_dims=[16, 32, 48, 64],
        )
        backbone = hub.SegFormerBackbone(image_encoder=encoder, projection_filters=32)
        return hub.SegFormerImageSegmenter(backbone, num_classes=4)

    def retinanet():
        encoder = hub.ResNetBackbone(
            input_conv_filters=[64],
            input_conv_kernel_sizes=[7],
            stackwise_num_filters=[64, 64, 64],
            stackwise_num_blocks=[1, 1, 1],
            stackwise_num_strides=[1, 2, 2],
            block_type="bottleneck_block",
            image_shape=SHAPE,
        )
        backbone = hub.RetinaNetBackbone(
            image_encoder=encoder,
            min_level=3,
            max_level=4,
            use_p5=False,
            image_shape=SHAPE,
        )
        return hub.RetinaNetObjectDetector(backbone, num_classes=4)

    def dfine():
        encoder = hub.HGNetV2Backbone(
            stem_channels=[3, 16, 16],
            stackwise_stage_filters=[
                [16, 16, 64, 1, 3, 3],
                [64, 32, 256, 1, 3, 3],
                [256, 64, 512, 2, 3, 5],
                [512, 128, 1024, 1, 3, 5],
            ],
            apply_downsample=[False, True, True, True],
            use_lightweight_conv_block=[False, False, True, True],
            depths=[1, 1, 2, 1],
            hidden_sizes=[64, 256, 512, 1024],
            embedding_size=16,
            use_learnable_affine_block=True,
            hidden_act="relu",
            image_shape=(128, 128, 3),
            out_features=["stage3", "stage4"],
        )
        backbone = hub.DFineBackbone(
            backbone=encoder,
            decoder_in_channels=[128, 128],
            encoder_hidden_dim=128,
            num_denoising=0,
            num_labels=4,
            hidden_dim=128,
            learn_initial_query=False,
            num_queries=30,
            anchor_image_size=(128, 128),
            feat_strides=[16, 32],
            num_feature_levels=2,
            encoder_in_channels=[512, 1024],
            encode_proj_layers=[1],
            num_attention_heads=8,
            encoder_ffn_dim=128,
            num_encoder_layers=1,
            hidden_expansion=0.34,
            depth_multiplier=0.5,
            eval_idx=-1,
            num_decoder_layers=2,
            decoder_attention_heads=8,
            decoder_ffn_dim=128,
            decoder_n_points=[6, 6],
            lqe_hidden_dim=64,
            num_lqe_layers=2,
            out_features=["stage3", "stage4"],
            image_shape=(128, 128, 3),
            seed=0,
        )
        return hub.DFineObjectDetector(backbone, num_classes=4)

    def depth():
        encoder = hub.DINOV2Backbone(
            patch_size=16,
            num_layers=4,
            hidden_dim=32,
            num_heads=2,
            intermediate_dim=64,
            image_shape=SHAPE,
            position_embedding_shape=SHAPE,
        )
        backbone = hub.DepthAnythingBackbone(
            image_encoder=encoder,
            reassemble_factors=[4, 2, 1, 1],
            feature_keys=["stage1", "stage2", "stage3", "stage4"],
            neck_hidden_dims=[16, 16, 16, 16],
            fusion_hidden_dim=16,
            head_hidden_dim=8,
            head_in_index=-1,
        )
        return hub.DepthAnythingDepthEstimator(
            backbone, depth_estimation_type="relative"
        )

    return {
        "EfficientNet": classifier(efficientnet),
        "MobileNet": classifier(mobilenet),
        "MobileNetV5": mobilenet_v5,
        "HGNetV2": classifier(hgnet),
        "ResNet": classifier(resnet),
        "CSPNet": classifier(cspnet),
        "DenseNet": classifier(densenet),
        "Xception": classifier(xception),
        "VGG": classifier(vgg),
        "MiT": classifier(mit),
        "ViT": classifier(vit),
        "DeiT": classifier(deit),
        "Swin": classifier(swin),
        "DINOv2": dino,
        "ViTDet": vit_det,
        "DeepLabV3": deeplab_task,
        "SegFormer": segformer,
        "RetinaNet": retinanet,
        "D-FINE": dfine,
        "DepthAnything": depth,
    }
