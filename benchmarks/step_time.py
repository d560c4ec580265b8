r"""What a training step of the search costs, against a step of the plain network.

Both networks are trained in one process, a step of the one, then a step of the
other, in changing order, so that whatever else the machine does meets both. The
figure is the median over the pairs of the ratio of their times, with its quartiles.
Steps that refresh the importance are rare enough to vanish in a median; the ratio
of the sums has them in it.

Memory is that of a process that trains only one of the two: its peak resident size,
in all and, on Linux, again in later steps, when what building and compiling the step
took has been handed back. Of a step compiled by XLA there is also the size of the
buffers that the compiler has planned for it, which is the memory of the step alone.

`--switch` sets both networks to one of Keras' ways to train faster: `mixed_float16`,
`mixed_bfloat16`, `steps_per_execution` (4 steps at once, all of which are timed),
`gradient_accumulation` (over 4 steps) and `mirrored` (two logical devices).

With `KERAS_BACKEND=jax` the same runs on JAX, without `mirrored` and
`steps_per_execution`, which are TensorFlow's here.

Example:

    python -m benchmarks.step_time --arch=resnet20,mobilenet_v2 --pairs=60 \
        --out=out/step_time.json
"""

import functools
import itertools
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import keras
from absl import app, flags

import tf_lossprune
from benchmarks import common, networks
from benchmarks.process_memory import forget_peak, peak_memory
from benchmarks.stepping import random_batch, stepper
from examples.flags import parse_budget, parse_options
from examples.optimizers import cosine_sgd

FLAGS = flags.FLAGS

SWITCHES = (
    "plain",
    "mixed_float16",
    "mixed_bfloat16",
    "steps_per_execution",
    "gradient_accumulation",
    "mirrored",
)
TENSORFLOW_SWITCHES = ("steps_per_execution", "mirrored")
#: Steps in an execution or accumulation, and logical devices.
TOGETHER, DEVICES = 4, 2

flags.DEFINE_list("arch", "resnet20,mobilenet_v2", "Of benchmarks/networks.py.")
flags.DEFINE_list(
    "jit", None, "With jit_compile false, true or both; unset: both, on JAX true."
)
flags.DEFINE_list("switch", "plain", f"One or several of {', '.join(SWITCHES)}.")
flags.DEFINE_integer("size", 28, "Height and width of the images.")
flags.DEFINE_integer("channels", 1, "Channels of the images.")
flags.DEFINE_integer("width", None, "Width of the first convolution.")
flags.DEFINE_integer("batch_size", 128, "Images in a batch.")
flags.DEFINE_integer("pairs", 40, "Pairs of steps that are timed.")
flags.DEFINE_integer("warmup", 5, "Pairs of steps before that.")
flags.DEFINE_string("budget", "macs=0.25", "Budget of the search.")
flags.DEFINE_string("options", "", "JSON object of further options of prune_model.")
flags.DEFINE_bool("memory", True, "Whether to measure memory as well.")
flags.DEFINE_string("out", None, "Where the figures go (.json; .jsonl: added).")
flags.DEFINE_enum("probe", None, ["plain", "search"], "Internal: one memory figure.")


def build(arch, kind, jit_compile, switch="plain"):
    """A compiled network, plain or in the search phase.

    Args:
        arch: Name of the network.
        kind: "plain" or "search".
        jit_compile: Whether XLA compiles the step.
        switch: One of `SWITCHES`.

    Returns:
        The compiled `keras.Model`.
    """
    mixed = switch.startswith("mixed")
    keras.config.set_dtype_policy(switch if mixed else "float32")
    if switch != "mirrored":
        return _build(arch, kind, jit_compile, switch)
    with mirrored_strategy().scope():
        return _build(arch, kind, jit_compile, switch)


@functools.cache
def mirrored_strategy():
    """One for both networks: TensorFlow mixes up the reductions of two."""
    import tensorflow as tf

    names = [f"CPU:{index}" for index in range(DEVICES)]
    on_gpus = tf.config.list_physical_devices("GPU")
    return tf.distribute.MirroredStrategy(None if on_gpus else names)


def split_cpu():
    """Makes several logical devices of the CPU; before TensorFlow starts."""
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * DEVICES,
    )


def _build(arch, kind, jit_compile, switch):
    keras.utils.set_random_seed(0)
    shape = (FLAGS.size, FLAGS.size, FLAGS.channels)
    model = networks.build(arch, shape, width=FLAGS.width)
    # So much longer than what is timed that all of it is search.
    steps = 10 * TOGETHER * (FLAGS.warmup + FLAGS.pairs)
    if kind == "search":
        schedule = tf_lossprune.Schedule(warmup=0.0, search=1.0, total_steps=steps)
        model = tf_lossprune.prune_model(
            model,
            parse_budget(FLAGS.budget),
            **{"schedule": schedule, **parse_options(FLAGS.options)},
        )
    optimizer, options = cosine_sgd(steps), {}
    if switch == "gradient_accumulation":
        config = optimizer.get_config()
        config["gradient_accumulation_steps"] = TOGETHER
        optimizer = optimizer.from_config(config)
    if switch == "steps_per_execution":
        options["steps_per_execution"] = TOGETHER
    return common.compile_classifier(model, optimizer, jit_compile, **options)


def make_stepper(model):
    """A function that does one training step on a random batch."""
    shape = FLAGS.size, FLAGS.size, FLAGS.channels
    return stepper(model, random_batch(FLAGS.batch_size, shape))


def time_pairs(first, second):
    """Times steps of both in turn.

    Args:
        first: Function that does a step of the plain network.
        second: Function that does a step of the search.

    Returns:
        Two lists of seconds.
    """
    seconds = [], []
    for pair in range(FLAGS.warmup + FLAGS.pairs):
        order = (0, 1) if pair % 2 else (1, 0)
        for which in order:
            began = time.perf_counter()
            (first, second)[which]()
            elapsed = time.perf_counter() - began
            if pair >= FLAGS.warmup:
                seconds[which].append(elapsed)
    return seconds


def measure_time(arch, jit_compile, switch="plain"):
    """Figures of one network: milliseconds, and the ratio with its quartiles."""
    plain, search = (
        build(arch, "plain", jit_compile, switch),
        build(arch, "search", jit_compile, switch),
    )
    steppers = make_stepper(plain), make_stepper(search)
    plain_s, search_s = time_pairs(*steppers)
    steppers[1].finish()
    if search.phase != "search":
        raise RuntimeError(f"Timed the wrong phase: {search.phase}")
    ratios = [b / a for a, b in zip(plain_s, search_s)]
    low, median, high = statistics.quantiles(ratios, n=4)
    return {
        "plain_ms": 1e3 * statistics.median(plain_s),
        "search_ms": 1e3 * statistics.median(search_s),
        "ratio": median,
        "ratio_quartiles": [low, high],
        "ratio_of_sums": sum(search_s) / sum(plain_s),
    }


def probe(kind):
    """Trains one network and prints its memory as a JSON line."""
    jit_compile = FLAGS.jit[0] == "true"
    step = make_stepper(build(FLAGS.arch[0], kind, jit_compile, FLAGS.switch[0]))
    for _ in range(2):
        step()
    figures = {"peak": peak_memory()}
    if forget_peak():
        for _ in range(FLAGS.warmup):
            step()
        figures["later"] = peak_memory()
        figures["peak"] = max(figures.values())
    print(json.dumps(figures))


def planned_buffers(folder):
    """Buffers in MiB of the largest program that XLA has dumped; None if unknown."""
    sizes = [0.0]
    for path in pathlib.Path(folder).glob("*memory-usage-report.txt"):
        found = re.search(r"Total bytes used: (\d+)", path.read_text())
        sizes.append(int(found.group(1)) / 2**20 if found else 0.0)
    return max(sizes) or None


def probed(arch, jit_compile, kind, switch="plain"):
    """Runs `probe` in a process of its own: a dict of sizes in MiB."""
    own = [f"--probe={kind}", f"--arch={arch}", f"--jit={str(jit_compile).lower()}"]
    own += [f"--switch={switch}"]
    # The last of two values of a flag counts.
    command = [sys.executable, "-m", "benchmarks.step_time", *sys.argv[1:], *own]
    root = pathlib.Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as folder:
        dump = f" --xla_dump_to={folder} --xla_dump_hlo_as_text"
        xla = os.environ.get("XLA_FLAGS", "") + (dump if jit_compile else "")
        done = subprocess.run(
            command,
            cwd=root,
            env={**os.environ, "XLA_FLAGS": xla},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"The memory probe failed:\n{done.stderr[-2000:]}")
        sizes = json.loads(done.stdout.splitlines()[-1])
        if jit_compile:
            sizes["xla"] = planned_buffers(folder)
    return sizes


def measure_memory(arch, jit_compile, switch="plain"):
    """Memory of both networks in MiB and its ratios."""
    plain, search = (
        probed(arch, jit_compile, kind, switch) for kind in ("plain", "search")
    )
    figures = {}
    for name in plain:
        figures[f"plain_{name}_mib"] = plain[name]
        figures[f"search_{name}_mib"] = search[name]
        if plain[name] and search[name]:
            figures[f"{name}_ratio"] = search[name] / plain[name]
    return figures


def table(rows):
    """The rows as a Markdown table."""
    head = ["network", "jit", "switch", "plain ms", "search ms", "ratio", "quartiles"]
    head += ["of sums", "peak memory", "in later steps", "XLA buffers"]
    lines = []
    for row in rows:
        low, high = row["ratio_quartiles"]
        cells = [row["arch"], str(row["jit_compile"]), row["switch"]]
        cells += [f"{row['plain_ms']:.1f}", f"{row['search_ms']:.1f}"]
        cells += [f"{row['ratio']:.3f}", f"{low:.3f}-{high:.3f}"]
        cells += [f"{row['ratio_of_sums']:.3f}"]
        memory = [row.get(f"{name}_ratio") for name in ("peak", "later", "xla")]
        cells += ["" if value is None else f"{value:.3f}" for value in memory]
        lines.append(cells)
    return common.markdown(head, lines)


def main(argv):
    """Measures every network, with and without XLA, and prints the table."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}")
    if not set(FLAGS.switch) <= set(SWITCHES):
        raise app.UsageError(f"--switch takes {SWITCHES}. Received: {FLAGS.switch}")
    on_jax = keras.backend.backend() == "jax"
    if on_jax and set(FLAGS.switch) & set(TENSORFLOW_SWITCHES):
        raise app.UsageError(
            f"{TENSORFLOW_SWITCHES} need TensorFlow. Received: --switch={FLAGS.switch}"
        )
    if "mirrored" in FLAGS.switch:
        split_cpu()
    if FLAGS.probe:
        probe(FLAGS.probe)
        return
    rows = []
    jits = FLAGS.jit or (["true"] if on_jax else ["false", "true"])
    for arch, jit, switch in itertools.product(FLAGS.arch, jits, FLAGS.switch):
        case = arch, jit == "true", switch
        row = dict(zip(("arch", "jit_compile", "switch"), case))
        row.update(measure_time(*case))
        if FLAGS.memory:
            row.update(measure_memory(*case))
        keras.backend.clear_session()
        rows.append(row)
        print(table([row]).splitlines()[-1], flush=True)
        if FLAGS.out and FLAGS.out.endswith(".jsonl"):
            common.append_line(FLAGS.out, row)
    print(table(rows))
    if FLAGS.out and not FLAGS.out.endswith(".jsonl"):
        settings = {name: FLAGS[name].value for name in ("size", "batch_size", "pairs")}
        common.write_json(
            FLAGS.out,
            {"settings": settings, "rows": rows, "versions": common.versions()},
        )


if __name__ == "__main__":
    app.run(main)
