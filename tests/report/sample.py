"""Data of a report, with some of everything."""

REPORT = {
    "name": "ResNet-20",
    "method": "loss",
    "seed": 0,
    "created": "2026-11-22",
    "budget": {"macs": 0.5, "size_bytes": "80kB"},
    "limits": [
        {
            "resource": "macs",
            "dense": 2_000_000,
            "allowed": 1_000_000.0,
            "reached": 990_000,
            "kept": True,
        },
        {
            "resource": "size_bytes",
            "dense": 100_000,
            "allowed": 40_000,
            "reached": 45_000,
            "kept": False,
        },
    ],
    "dense": {
        "accuracy": 0.94,
        "int8_accuracy": 0.935,
        "latency_ms": 1.25,
        "loss": 0.2,
        "macs": 2_000_000,
        "tflite_bytes": 100_000,
    },
    "compact": {
        "accuracy": 0.93,
        "int8_accuracy": 0.92,
        "latency_ms": 0.75,
        "loss": 0.3,
        "macs": 990_000,
        "tflite_bytes": 45_000,
    },
    "groups": [
        {
            "name": f"a_long_name_of_a_convolution_in_block_{k}",
            "kept": 8 + k,
            "total": 32,
            "ratio": (8 + k) / 32,
            "producers": [f"conv_{k}", f"shortcut_{k}"],
            "through": ["bn"],
            "consumers": ["next"],
        }
        for k in range(6)
    ],
    "layers": [
        {"name": f"conv_{k}", "kept": 8, "total": 32, "groups": [f"g{k % 4}"]}
        for k in range(20)
    ],
    "uniform": {
        "macs": 995_000,
        "widths": {f"a_long_name_of_a_convolution_in_block_{k}": 16 for k in range(6)},
    },
    "layer_costs": [
        {"name": f"conv_{k}", "macs": [100_000, 25_000 + k], "params": [900, 200 + k]}
        for k in range(20)
    ],
    "classes": {
        "names": ["ankle boot", "bag", *(f"class {k}" for k in range(8))],
        "count": [100] * 10,
        "dense": [94] * 10,
        "compact": [93 - k for k in range(10)],
        "confusion": [
            [
                93 - k if j == k else (7 + k if j == (k + 1) % 10 else 0)
                for j in range(10)
            ]
            for k in range(10)
        ],
    },
    "device": "Some Processor 9000 @ 3.00GHz",
    "threads": 1,
    "frozen": [{"layer": "head", "reason": "model output (head)"}],
    "training": [
        {"step": s, "part": "search", "macs": 1 - s / 40, "loss": 2 - s / 40}
        for s in range(1, 20)
    ]
    + [
        {"step": 20 + s, "part": "fine_tune", "accuracy": 0.9, "loss": 1.0}
        for s in range(20)
    ]
    + [{"step": 40, "part": "fine_tune", "val_accuracy": 0.93, "val_loss": 0.3}],
    "steps_per_epoch": 10,
    "seconds": {"search": 3.0, "fine_tune": 4000.0},
    "frontier": [
        {"budget": {"macs": 0.5}, "figures": {"macs": 990_000, "accuracy": 0.93}},
        {"budget": {"macs": 0.25}, "figures": {"macs": 480_000, "accuracy": 0.91}},
    ],
    "versions": {"keras": "3.15"},
}
