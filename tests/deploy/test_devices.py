"""Arena and cycles of files, by the tools of microcontrollers and accelerators."""

import csv
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

from examples import models
from tf_lossprune.deploy import convert_to_measure, micro_arena, npu_estimate
from tf_lossprune.deploy.npu_files import incompressible, operation_file
from tf_lossprune.resources.npu_operation import NpuOperation

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="LiteRT takes TensorFlow"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files of one network."""
    folder = tmp_path_factory.mktemp("devices")
    model = models.randomize(models.build("digits_resnet", width=8))
    for precision in ("fp32", "int8"):
        convert_to_measure(model, folder / f"{precision}.tflite", precision)
    return folder


def needs(package):
    return pytest.importorskip(
        package, reason="needs pip install 'tf_lossprune[micro]'"
    )


def test_the_arena_is_what_the_interpreter_can_do_with(folder):
    needs("tflite_micro")
    for precision in ("fp32", "int8"):
        path = folder / f"{precision}.tflite"
        found = micro_arena(path)
        assert found.total == found.activations + found.persistent
        assert found.persistent > 0
    # The image, and what is made of it, of 8 bits.
    assert found.activations >= 8 * 8 * (8 + 8)


def test_vela_says_the_same_on_its_own_command_line(folder, tmp_path):
    needs("ethosu.vela")
    path = folder / "int8.tflite"
    found = npu_estimate(path, "ethos-u65-256")
    subprocess.run(
        [
            *(sys.executable, "-m", "ethosu.vela", str(path)),
            *("--accelerator-config", "ethos-u65-256", "--output-dir", str(tmp_path)),
        ],
        check=True,
        capture_output=True,
    )
    (name,) = pathlib.Path(tmp_path).glob("*_summary_*.csv")
    with open(name, newline="") as file:
        (row,) = csv.DictReader(file)
    assert found.cycles == int(float(row["cycles_total"])) > 0
    assert found.cpu_operations == ()
    assert 0 < found.sram_bytes and 0 < found.flash_bytes
    limit = sys.getrecursionlimit()
    assert npu_estimate(path, "ethos-u55-32").cycles > found.cycles
    assert sys.getrecursionlimit() == limit
    slow = npu_estimate(path, system_config="Ethos_U55_Deep_Embedded")
    assert slow.cycles > npu_estimate(path).cycles


def test_no_weights_take_more_cycles_than_incompressible_ones(folder, tmp_path):
    needs("ethosu.vela")
    from ai_edge_litert import schema_py_generated as schema

    content = (folder / "int8.tflite").read_bytes()
    most = tmp_path / "most.tflite"
    most.write_bytes(incompressible(content))
    assert len(most.read_bytes()) == len(content)
    limit = npu_estimate(most)
    rng = np.random.default_rng(1)
    for scale in (0.0, 2.0, 30.0, 80.0):
        changed = bytearray(content)
        model = schema.Model.GetRootAsModel(changed, 0)
        graph = model.Subgraphs(0)
        for number in range(graph.TensorsLength()):
            tensor = graph.Tensors(number)
            data = model.Buffers(tensor.Buffer()).DataAsNumpy()
            if tensor.ShapeLength() > 1 and isinstance(data, np.ndarray):
                drawn = np.clip(scale * rng.standard_t(2, data.size), -127, 127)
                data[:] = drawn.astype(np.int8).view(np.uint8)
        path = tmp_path / f"{scale}.tflite"
        path.write_bytes(changed)
        assert npu_estimate(path).cycles <= limit.cycles


@pytest.mark.parametrize(
    "kind", ["convolution", "depthwise", "dense", "pooling", "sum", "copy"]
)
def test_files_of_single_operations_run_and_compile(kind, tmp_path):
    needs("ethosu.vela")
    from tf_lossprune.deploy.runtime import open_interpreter

    size = (1, 1) if kind == "dense" else (8, 8)
    kernel = (3, 3) if kind in ("convolution", "depthwise") else (1, 1)
    operation = NpuOperation(kind, size, size, kernel)
    cycles = []
    for width in (8, 32):
        path = tmp_path / f"{width}.tflite"
        path.write_bytes(operation_file(operation, width, width))
        open_interpreter(path).invoke()
        found = npu_estimate(path)
        assert not found.cpu_operations
        cycles.append(found.cycles)
    assert cycles[1] > cycles[0]


def test_files_that_a_device_cannot_run(folder, tmp_path):
    needs("ethosu.vela")
    needs("tflite_micro")
    with pytest.raises(ValueError, match="int8 file.*Received: .*fp32"):
        npu_estimate(folder / "fp32.tflite")
    with pytest.raises(ValueError, match="ethos-u55-128.*Received: 'ethos'"):
        npu_estimate(folder / "int8.tflite", "ethos")
    with pytest.raises(ValueError, match="Vela can compile.*Received: "):
        npu_estimate(folder / "int8.tflite", system_config="none")
    torn = tmp_path / "torn.tflite"
    torn.write_bytes((folder / "int8.tflite").read_bytes()[:3000])
    for measure in (npu_estimate, micro_arena):
        with pytest.raises(ValueError, match="a LiteRT file.*Received: .*torn"):
            measure(torn)
    inputs = keras.Input((4,))
    x = layers.Dense(3)(inputs)
    path = tmp_path / "angles.tflite"
    convert_to_measure(keras.Model(inputs, keras.ops.arctan2(x, x)), path, "fp32")
    with pytest.raises(ValueError, match="Microcontrollers.*ATAN2.*Received: .*angles"):
        micro_arena(path)


@pytest.mark.parametrize(
    ("package", "measure"),
    [("tflite_micro", micro_arena), ("ethosu.vela", npu_estimate)],
)
def test_without_the_extra_the_error_names_the_command(
    package, measure, folder, monkeypatch
):
    monkeypatch.setitem(sys.modules, package, None)
    if package == "tflite_micro":
        monkeypatch.setitem(sys.modules, "tflite_micro.python.tflite_micro", None)
    with pytest.raises(ImportError, match=r"pip install 'tf_lossprune\[micro\]'"):
        measure(folder / "int8.tflite")
