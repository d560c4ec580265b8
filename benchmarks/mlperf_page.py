"""The page of MLPerf Tiny's networks, made of the lines of `benchmarks.mlperf_tiny`."""

import textwrap

from benchmarks import common

#: By name: file, and what the network does.
NETWORKS = {
    "ResNet-8": ("pretrainedResnet.h5", "image classification"),
    "DS-CNN": ("str_ww_ref_model.h5", "keyword spotting"),
    "MobileNetV1": ("vww_96.h5", "visual wake words"),
    "autoencoder": ("ad01.h5", "anomaly detection"),
}
ACCELERATORS = ("ethos-u55-128", "ethos-u65-512")
#: What is timed: a name, the form of the file, and the runtime.
TIMED = (
    ("LiteRT, int8", "int8.tflite", "litert"),
    ("LiteRT", "fp32.tflite", "litert"),
    ("CompiledModel", "fp32.tflite", "compiled"),
    ("ONNX Runtime", "fp32.onnx", "onnx"),
    ("OpenVINO", "fp32.xml", "openvino"),
)

INTRODUCTION = (
    "The four reference networks of [MLPerf Tiny](https://github.com/mlcommons/tiny), "
    "dense and cut to 1/2 and 1/4 of their MACs, as the devices' own tools see them. "
    'The cuts are those of `method="magnitude"`, in one step. Where there are no data '
    "at hand nothing is trained: the costs are those of any network with these widths. "
    "ResNet-8's layers learn from 512 images of CIFAR-10 what they lose, and its "
    "accuracy is that of the files on the 10,000 test images (JPEG copies)"
)
UNTRAINED = (
    "nothing is trained here either, so that it is what a network starts from in "
    "fine-tuning"
)
HEAD = """# MLPerf Tiny

{text}

- **arena**: bytes that LiteRT for Microcontrollers (TFLM) allocates for the int8 file.
- **cycles**: Vela's estimate for the int8 file, on an Ethos-U55 with 128 MACs per cycle
  and an Ethos-U65 with 512, in Vela's default configurations.
- **milliseconds**: of one sample on one thread, the median of {rounds} turns in which
  dense and pruned files alternate; float32 but for the first column.{company}

Made by `python -m benchmarks.mlperf_tiny`, which says where the files are to be had;
the lines are in `benchmarks/results/mlperf_tiny.jsonl`.
"""

#: What is said of the times unless the machine had nothing else to do.
COMPANY = """ Other work shared
  the machine, so compare within a column."""

CYCLES = """## Widths by cycles

A network cut to a budget of MACs, and others cut to the cycles that it takes
(`{"npu_cycles": ...}`) or to a share of them. An accelerator computes whole tiles of
channels, so that widths chosen by MACs leave some of its cycles unused.

"""

MEMORY = """## Memory of activations

What the int8 files' activations take in LiteRT's interpreter (`deploy.arena_bytes`,
what `peak_memory_bytes` limits) and in TFLM's, which uses the memory of inputs again,
and needs some that lasts besides. Bytes.

"""


def page(rows):
    """The page that is made of the lines.

    Args:
        rows: list of dicts, the lines.
    """
    tuned = max((row.get("epochs", 0) for row in rows), default=0)
    trained = f"it is trained for {tuned} epochs after that" if tuned else UNTRAINED
    text = textwrap.fill(f"{INTRODUCTION}; {trained}.", 88)
    rounds = max((row.get("rounds", 0) for row in rows), default=0)
    alone = all(row.get("alone") for row in rows if row["by"] == "macs")
    company = "" if alone else COMPANY
    parts = [HEAD.format(text=text, rounds=rounds, company=company)]
    for name, (_, task) in NETWORKS.items():
        if found := [row for row in _of(rows, name) if row["by"] == "macs"]:
            parts.append(f"## {name}: {task}\n\n{_table(found)}\n")
    by_macs = [row for row in rows if row["by"] == "macs"]
    return "\n".join([*parts, _by_cycles(rows), _memory(by_macs)])


def _of(rows, name):
    found = [row for row in rows if row["name"] == name]
    return sorted(found, key=lambda row: -row["share"])


def _table(rows):
    with_accuracy = any("accuracy" in row for row in rows)
    head = ["MACs", "int8 file", "arena", "cycles U55-128", "cycles U65-512"]
    head += [f"{what}, ms" for what, *_ in TIMED]
    head += ["accuracy fp32", "int8"] if with_accuracy else []
    cells = []
    for row in rows:
        line = [f"{row['macs']:,}", f"{row['int8_bytes']:,}"]
        line += [f"{row['tflm_arena_bytes']:,}"]
        line += [f"{row['cycles'][a]:,}" for a in ACCELERATORS]
        line += [f"{row['milliseconds'][what]:.3f}" for what, *_ in TIMED]
        if with_accuracy:
            line += [f"{row['accuracy'][k]:.2%}" for k in ("fp32", "int8")]
        cells.append(line)
    return common.markdown(head, cells)


def _by_cycles(rows):
    """Networks with widths by MACs, and others by cycles."""
    head = ["network", "widths by", "cycles U55-128", "MACs", "accuracy fp32", "int8"]
    cells = []
    for row in (row for name in NETWORKS for row in _of(rows, name)):
        compared = [r for r in _of(rows, row["name"]) if r["share"] == row["share"]]
        if len(compared) == 1:
            continue
        found = row.get("accuracy", {})
        by = "MACs"
        if row["by"] == "npu_cycles":
            by = f"cycles, {row['of_cycles']:.0%}"
        cells.append(
            [
                f"{row['name']}, {row['share']:g} of the MACs",
                by,
                f"{row['cycles'][ACCELERATORS[0]]:,}",
                f"{row['macs']:,}",
                *(f"{found[k]:.2%}" if found else "" for k in ("fp32", "int8")),
            ]
        )
    return f"{CYCLES}{common.markdown(head, cells)}\n" if cells else ""


def _memory(rows):
    """What the two interpreters allocate."""
    head = ["network", "MACs", "LiteRT", "TFLM", "of that, activations"]
    cells = [
        [
            row["name"],
            f"{row['share']:g}",
            *(
                f"{row[k]:,}"
                for k in ("litert_arena_bytes", "tflm_arena_bytes", "tflm_activations")
            ),
        ]
        for row in sorted(
            rows, key=lambda r: ([*NETWORKS].index(r["name"]), -r["share"])
        )
    ]
    return MEMORY + common.markdown(head, cells) + "\n"
