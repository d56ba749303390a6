"""Exported models from strangers compute, and do nothing else: no code runs, and no other file is read or written."""

import json
import random
import shutil
import sys
import time
import zipfile

import numpy as np
import onnx
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

import kcnn
from kcnn.export import graph_safety, runtimes
from kcnn.export.formats import export_model
from kcnn.export.runtimes import add_checksum, load_exported
from tests.damage import damage

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (2, 16, 16, 3)).astype("uint8")
METADATA = {"input_shape": [16, 16, 3], "classes": ["a", "b"]}


@pytest.fixture(scope="module")
def small():
    return kcnn.build("resnet20", units=1, classes=2, input_shape=(16, 16, 3), seed=1)


def save(function, folder, **objects):
    """A SavedModel with kcnn's metadata, whose `serve` is a function of the pixels."""
    module = tf.Module()
    for name, value in objects.items():
        setattr(module, name, value)
    module.serve = tf.function(function, input_signature=[tf.TensorSpec([None, 16, 16, 3], tf.float32)])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    (folder / "assets.extra").mkdir()
    return sign(folder)


def sign(folder):
    """Give a SavedModel the checksum of its graph, as anybody may."""
    metadata = add_checksum(METADATA, (folder / "saved_model.pb").read_bytes())
    (folder / "assets.extra" / "kcnn.json").write_text(json.dumps(metadata))
    return folder


def predict(x):
    return tf.nn.softmax(tf.reduce_mean(x, (1, 2))[:, :2])


def write_file(x, path):
    tf.io.write_file(str(path), "written")
    return predict(x)


def nested(function):
    """The function inside a branch of a condition inside a loop."""

    def outer(x):
        inner = tf.function(function)
        return tf.while_loop(
            lambda n, y: n < 1, lambda n, y: (n + 1, tf.cond(n < 1, lambda: inner(x), lambda: y)), (0, predict(x))
        )[1]

    return outer


HOSTILE = {
    "WriteFile": lambda path: lambda x: write_file(x, path),
    "ReadFile": lambda path: lambda x: predict(x) + tf.strings.to_number(tf.io.read_file("/proc/self/oom_score")),
    "MatchingFiles": lambda path: lambda x: predict(x) + tf.cast(tf.size(tf.io.matching_files("/*")), "float32"),
    "PrintV2": lambda path: lambda x: (tf.print("x", output_stream=f"file://{path}"), predict(x))[1],
    "EagerPyFunc": lambda path: lambda x: tf.ensure_shape(tf.py_function(predict, [x], tf.float32), (None, 2)),
    "PyFunc": lambda path: lambda x: tf.ensure_shape(tf.numpy_function(np.mean, [x], tf.float32), (None, 2)),
    "SaveV2": lambda path: lambda x: (tf.raw_ops.SaveV2(
        prefix=str(path), tensor_names=["x"], shape_and_slices=[""], tensors=[x]), predict(x))[1],
    "RestoreV2": lambda path: lambda x: predict(x) + tf.raw_ops.RestoreV2(
        prefix=str(path), tensor_names=["x"], shape_and_slices=[""], dtypes=[tf.float32])[0],
    "ImmutableConst": lambda path: lambda x: predict(x) + tf.raw_ops.ImmutableConst(
        dtype=tf.float32, shape=[2], memory_region_name=str(path)),
    "RandomUniform": lambda path: lambda x: predict(x) + tf.random.uniform([2]),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_load_exported_refuses_a_saved_model_that_does_more_than_compute(name, tmp_path):
    target = tmp_path / "written"
    folder = save(HOSTILE[name](target), tmp_path / "model")
    with pytest.raises(ValueError, match=rf"operations that may do more than compute: .*\b{name}\b.*trust=True"):
        load_exported(folder)
    assert not target.exists()


def test_load_exported_looks_into_functions_of_functions_and_runs_them_when_trusted(tmp_path):
    target = tmp_path / "written"
    folder = save(nested(lambda x: write_file(x, target)), tmp_path / "model")
    with pytest.raises(ValueError, match="more than compute: WriteFile"):
        load_exported(folder)
    assert not target.exists()
    assert load_exported(folder, trust=True).run(IMAGES).shape == (2, 2)
    assert target.read_text() == "written"


def test_load_exported_refuses_a_saved_model_that_writes_when_it_is_initialized(tmp_path):
    class Resource(tf.saved_model.experimental.TrackableResource):
        @tf.function
        def _create_resource(self):
            return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[])

        @tf.function
        def _initialize(self):
            tf.io.write_file(str(tmp_path / "written"), "x")

    folder = save(predict, tmp_path / "model", resource=Resource())
    (tmp_path / "written").unlink(missing_ok=True)
    with pytest.raises(ValueError, match="more than compute: WriteFile"):
        load_exported(folder)
    assert not (tmp_path / "written").exists()


def edit(folder, change):
    """Change the graph of a SavedModel in its file."""
    saved = SavedModel()
    saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    change(saved.meta_graphs[0])
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())
    sign(folder)


def find_objects(graph, kind):
    return [node for node in graph.object_graph_def.nodes if node.WhichOneof("kind") == kind]


def hide_functions(graph):
    """Name functions by their nodes alone, which TensorFlow calls as well."""
    for node in find_objects(graph, "function"):
        name = node.function.concrete_functions[0]
        node.bare_concrete_function.concrete_function_name = name
        node.bare_concrete_function.argument_keywords.append("x")
        node.bare_concrete_function.allowed_positional_arguments = 1
    children = graph.object_graph_def.nodes[0].children
    kept = [child for child in children if child.local_name == "serve"]
    del children[:]
    children.extend(kept)
    graph.object_graph_def.concrete_functions.clear()
    graph.signature_def.clear()


def call_saver(graph):
    """Let `serve` be the function that restores the variables."""
    names = [function.signature.name for function in graph.graph_def.library.function]
    restore = next(name for name in names if "traced_restore" in name)
    find_objects(graph, "function")[0].function.concrete_functions[:] = [restore]


def sign_saver(graph):
    graph.signature_def["serving_default"].outputs["y"].name = graph.saver_def.save_tensor_name


def save_in_gradient(graph):
    names = [function.signature.name for function in graph.graph_def.library.function]
    save = next(name for name in names if "traced_save" in name)
    graph.graph_def.library.registered_gradients.add(gradient_func=save, registered_op_type="x")


def capture_saver(graph):
    names = [function.signature.name for function in graph.graph_def.library.function]
    graph.object_graph_def.nodes.add().captured_tensor.concrete_function = next(n for n in names if "traced_save" in n)


def swap_for_saver(graph):
    for function in graph.graph_def.library.function:
        function.attr["api_implements"].s = b"same"


def save_without_saver(graph):
    graph.saver_def.Clear()


@pytest.mark.parametrize(
    "change", [call_saver, sign_saver, save_in_gradient, capture_saver, swap_for_saver, save_without_saver]
)
def test_load_exported_allows_saving_to_the_saver_alone(change, tmp_path):
    weight = tf.Variable(2.0)
    folder = save(lambda x: predict(x) * weight, tmp_path / "model", weight=weight)
    load_exported(folder)
    edit(folder, change)
    with pytest.raises(ValueError, match=r"more than compute: .*(SaveV2|RestoreV2).*trust=True"):
        load_exported(folder)


def test_load_exported_refuses_a_saved_model_that_hides_the_function_it_calls(tmp_path):
    folder = save(HOSTILE["SaveV2"](tmp_path / "written"), tmp_path / "model")
    edit(folder, hide_functions)
    with pytest.raises(ValueError, match="more than compute: SaveV2"):
        load_exported(folder)


def name_missing(graph):
    find_objects(graph, "bare_concrete_function")[0].bare_concrete_function.concrete_function_name = "gone"


def name_twice(graph):
    graph.graph_def.library.function.add().CopyFrom(graph.graph_def.library.function[0])
    graph.graph_def.library.function[-1].node_def.clear()


def name_as_operation(graph):
    graph.graph_def.library.function.add().signature.name = "WriteFile"


@pytest.mark.parametrize(
    ("change", "name"), [(name_missing, "'gone'"), (name_twice, "'__inference_"), (name_as_operation, "'WriteFile'")]
)
def test_load_exported_refuses_a_saved_model_with_ambiguous_names_of_functions(change, name, tmp_path):
    folder = save(predict, tmp_path / "model")
    edit(folder, change)
    with pytest.raises(ValueError, match=f"is damaged: it names functions that it lacks, .*: {name}"):
        load_exported(folder)


def test_load_exported_runs_a_saved_model_with_variables_and_branches(tmp_path):
    weight = tf.Variable(2.0)
    folder = save(nested(lambda x: predict(x) * weight), tmp_path / "model", weight=weight)
    np.testing.assert_allclose(load_exported(folder).run(IMAGES), 2 * predict(IMAGES.astype("float32")), rtol=1e-6)


def test_load_exported_refuses_other_kinds_of_saved_model(small, tmp_path):
    folder = export_model(small, tmp_path / "net", "saved_model")
    shutil.copytree(folder, tmp_path / "text")
    (tmp_path / "text" / "saved_model.pb").rename(tmp_path / "text" / "saved_model.pbtxt")
    shutil.copytree(folder, tmp_path / "both")
    (tmp_path / "both" / "saved_model.cpb").write_bytes(b"x")
    shutil.copytree(folder, tmp_path / "damaged")
    (tmp_path / "damaged" / "saved_model.pb").write_bytes(b"\xff" * 100)
    sign(tmp_path / "damaged")
    first = tmp_path / "version1"
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None])
        tf.compat.v1.saved_model.simple_save(session, str(first), {"x": x}, {"y": x + 1})
    (first / "assets.extra").mkdir()
    sign(first)
    for name, message in (
        ("text", r"expected saved_model\.pb"),
        ("both", r"and not saved_model\.cpb"),
        ("damaged", r"saved_model\.pb is damaged"),
        ("version1", "not a SavedModel of TensorFlow 2"),
    ):
        with pytest.raises(ValueError, match=message):
            load_exported(tmp_path / name)


def test_operations_are_stateless_and_of_numbers_but_for_variables_and_calls():
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session

    known = op_def_pb2.OpList()
    known.ParseFromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    ops = {op.name: op for op in known.op}
    assert ops.keys() >= graph_safety.COMPUTING
    others = {tf.string.as_datatype_enum, tf.resource.as_datatype_enum, tf.variant.as_datatype_enum}
    doubtful = {
        name
        for name in graph_safety.COMPUTING
        if ops[name].is_stateful or {arg.type for arg in (*ops[name].input_arg, *ops[name].output_arg)} & others
    }
    assert doubtful == {
        *("Case", "If", "StatefulPartitionedCall", "While"),
        *("ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VarHandleOp", "VarIsInitializedOp", "VariableShape"),
    }


def test_cli_predict_takes_no_unfinished_run_for_a_saved_model_and_asks_for_trust(tmp_path, monkeypatch, capsys):
    from PIL import Image

    from kcnn.cli import main

    Image.new("RGB", (16, 16), "red").save(tmp_path / "red.png")
    folder = save(lambda x: write_file(x, tmp_path / "written"), tmp_path / "run")

    def predict_red(*options):
        monkeypatch.setattr(sys, "argv", ["kcnn", "predict", str(folder), str(tmp_path / "red.png"), *options])
        with pytest.raises(SystemExit) as stopped:
            main()
        printed = capsys.readouterr()
        return stopped.value.code, printed.out + printed.err

    code, printed = predict_red()
    assert code == 2
    assert "operations that may do more than compute: WriteFile; with trust=True (--trust)" in printed.splitlines()[-1]
    assert not (tmp_path / "written").exists()
    code, printed = predict_red("--trust")
    assert not code
    assert "red.png: a" in printed.replace("\n", "")
    (folder / "config.json").write_text("{}")
    code, printed = predict_red("--trust")
    assert (code, "run holds no finished run: it has no model.keras" in printed) == (2, True)


def test_load_exported_refuses_an_onnx_file_with_tensors_elsewhere_or_foreign_operators(small, tmp_path):
    path = export_model(small, tmp_path / "net", "onnx")
    proto = onnx.load(path)
    (tmp_path / "secret").write_bytes(bytes(10_000))
    tensor = next(one for one in proto.graph.initializer if one.raw_data and len(one.dims) == 4)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    (tmp_path / "external.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ValueError, match=r"external\.onnx was not exported .*: it keeps the tensor .* in another file"):
        load_exported(tmp_path / "external.onnx")
    proto = onnx.load(path)
    proto.graph.node[0].domain = "com.evil"
    (tmp_path / "foreign.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(
        ValueError,
        match=r"foreign\.onnx was not exported .*: it has the operator '\w+' of 'com\.evil', which is not ONNX's",
    ):
        load_exported(tmp_path / "foreign.onnx")


def test_load_exported_refuses_a_keras_file_with_code(small, tmp_path):
    path = export_model(small, tmp_path / "net", "keras")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    config["config"]["layers"].append({"module": "keras.layers", "class_name": "Lambda", "config": {"name": "code"}})
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**parts, "config.json": json.dumps(config)}.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match=r"'code' \(Lambda\) runs code"):
        load_exported(path)


@pytest.mark.parametrize(
    "metadata", [[], {}, {**METADATA, "classes": 3}, {**METADATA, "input_shape": [16, None, 3]}, "[" * 10_000]
)
def test_load_exported_refuses_damaged_metadata(metadata, small, tmp_path):
    path = export_model(small, tmp_path / "net", "keras")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    text = metadata if isinstance(metadata, str) else json.dumps(metadata)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**parts, "kcnn.json": text}.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match=r"net\.keras was not exported by kcnn, or is damaged"):
        load_exported(path)


@pytest.mark.parametrize(
    ("format", "count"), [("litert", 100), ("litert-int8", 100), ("onnx", 100), ("saved_model", 10)]
)
def test_load_exported_of_damaged_files_ends_in_one_line_each(format, count, small, tmp_path):
    rng, path = random.Random(0), export_model(small, tmp_path / "net", format, calibration_images=IMAGES)
    file = path / "saved_model.pb" if path.is_dir() else path
    content, messages = file.read_bytes(), []

    for _ in range(count):
        file.write_bytes(damage(content, rng))
        start = time.monotonic()
        try:
            load_exported(path)
        except ValueError as error:
            messages.append(str(error))
        assert time.monotonic() - start < 10
    assert messages
    assert all(str(path) in message and "\n" not in message for message in messages)


@pytest.mark.parametrize("format", ["litert", "litert-int8", "onnx", "saved_model"])
def test_load_exported_refuses_each_changed_byte_before_a_runtime_reads_it(format, small, tmp_path, monkeypatch):
    path = export_model(small, tmp_path / "net", format, calibration_images=IMAGES)
    file = path / "saved_model.pb" if path.is_dir() else path
    content = file.read_bytes()
    size = load_exported(path).metadata["content"]["bytes"]
    for name in ("_open_litert", "_open_onnx", "_open_saved_model"):
        monkeypatch.setattr(runtimes, name, lambda *_: pytest.fail("a runtime reads it"))
    for at in (
        *range(0, size, size // 40),
        content.find(b"\x12\x04Relu") + 2,
    ):  # the last in an operation of TensorFlow
        file.write_bytes(content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :])
        with pytest.raises(ValueError, match="damaged"):
            load_exported(path)


def test_load_exported_opens_a_changed_file_only_if_trusted(small, tmp_path):
    path = export_model(small, tmp_path / "net", "onnx")
    model = onnx.load(path)
    model.doc_string = "changed"
    onnx.save(model, path)
    with pytest.raises(ValueError, match=r"net\.onnx is damaged, or was changed .* or open .* \(--trust\)"):
        load_exported(path)
    assert load_exported(path, trust=True).run(IMAGES).shape == (2, 2)
