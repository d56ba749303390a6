"""Each check of the suite for authors finds the mistake that it is for."""

import pytest

from kcnn.testing import Suite, checks

OWN = '''
"""A small network with an op of its own, right in every way."""
from dataclasses import dataclass
from kcnn import Architecture
from kcnn.blocks import apply, conv
from kcnn.graph.ops import Activation, Add

@dataclass(frozen=True)
class Gain:
    start: float = 1.0

    def shape(self, x):
        return x

    def params(self, x):
        return x[-1]

    def layer(self, name):
        return layer()(self.start, name=name)

def layer():
    import keras

    @keras.saving.register_keras_serializable("mutant")
    class Layer(keras.layers.Layer):
        def __init__(self, start=1.0, **kwargs):
            super().__init__(**kwargs)
            self.start = start

        def build(self, shape):
            start = keras.initializers.Constant(self.start)
            self.gain = self.add_weight(name="gain", shape=(shape[-1],), initializer=start)

        def call(self, x):
            return x * self.gain

        def to_op(self):
            return Gain(self.start)

        def to_inference_layer(self, x):
            return x * keras.ops.convert_to_numpy(self.gain)

        def get_config(self):
            return {**super().get_config(), "start": self.start}

    return Layer

def backbone(x):
    x = conv(x, 8, 3, stride=2, norm=True, name="stem")
    y = conv(x, 8, 3, norm=True, name="conv")
    x = apply(Activation("relu"), apply(Add(), x, y, name="add"), name="relu")
    return apply(Gain(2.0), x, name="gain")

net = Architecture(
    backbone=backbone, reference="none", input_shape=(32, 32, 3), classes=10, params=216 + 16 + 576 + 16 + 8 + 90,
    map_sizes=(16,)
)
'''
MUTANTS = {  # mistake: code, its replacement, the check that finds it, part of its message
    "a wrong count": ("+ 90", "+ 91", checks.check_declared, "params are 922, declared 923"),
    "no count": ("params=", "params=None and ", checks.check_declared, "does not declare params"),
    "no sizes": ("map_sizes=(16,)", "", checks.check_declared, "declares neither macs nor map_sizes"),
    "a wrong padding": (
        'conv(x, 8, 3, stride=2, norm=True, name="stem")',
        'conv(x, 8, 3, stride=2, padding="valid", norm=True, name="stem")',
        checks.check_declared,
        "map sizes are (15,), declared (16,); check the padding",
    ),
    "an order by chance": (
        "x = apply(Activation",
        "import random; x, y = (y, x) if random.random() < 0.02 else (x, y); x = apply(Activation",
        checks.check_deterministic,
        "differs from the first",
    ),
    "an order that changes later": (
        "x = apply(Activation",
        "backbone.n = getattr(backbone, 'n', 0) + 1; x, y = (y, x) if backbone.n % 50 == 0 else (x, y)\n"
        "    x = apply(Activation",
        checks.check_declared,
        "differs from the first",
    ),
    "an order by the hashes of a process": (
        "x = apply(Activation",
        "for name in {'a', 'b', 'c', 'd', 'e'}:\n        x = conv(x, 8, 1, bias=False, name=name)\n"
        "    x = apply(Activation",
        checks.check_deterministic,
        "differ from process to process; iterate over a tuple",
    ),
    "same for valid": (
        "        return layer()(self.start, name=name)",
        "        import keras\n        return keras.layers.Conv2D(8, 3, use_bias=False, name=name)",
        checks.check_matches_keras,
        "gain is (16, 16, 8) with 8 and 0 parameters in the graph, (14, 14, 8) with 576 and 0 in Keras",
    ),
    "a softmax at the end": (
        "net = Architecture(\n",
        "from kcnn.blocks.heads import head\n"
        "def probabilities(x, classes):\n    return apply(Activation('softmax'), head(x, classes), name='softmax')\n"
        "net = Architecture(head=probabilities,\n",
        lambda name: checks.check_small_input(name, 3),
        "ends in a softmax; its head must return logits",
    ),
    "a dead branch": (
        "return x * self.gain",
        "return x * self.gain * 0.0",
        checks.check_gradients,
        "no gradient reaches",
    ),
    "a gradient that is not finite": (
        "return x * self.gain",
        "return x * self.gain + keras.ops.sqrt(0.0 * keras.ops.abs(x))",
        checks.check_gradients,
        "is not finite",
    ),
    "a duplicate name": ('name="conv"', 'name="stem"', checks.check_names, "used twice"),
    "a name that no address matches": ('name="conv"', 'name="Way.1"', checks.check_names, "which addresses can match"),
    "a layer that cannot be saved": (
        'return {**super().get_config(), "start": self.start}',
        "return super().get_config() | {'begin': 1}",
        checks.check_saved,
        "begin",
    ),
    "a layer that is saved with other numbers": (
        "def call(self, x):\n",
        "def call(self, x):\n"
        "            if not hasattr(self, 'offset'):  # differs in every layer of the process\n"
        "                layer.count = self.offset = getattr(layer, 'count', 0) + 1\n"
        "            x = x + self.offset\n",
        checks.check_saved,
        "the loaded model gives other logits",
    ),
    "a dtype leak": (
        "return x * self.gain",
        'return keras.ops.cast(x, "float32") * keras.ops.cast(self.gain, "float32")',
        checks.check_mixed_precision,
        "gain (Layer) computes in float32 under mixed_bfloat16",
    ),
    "another op than it is": ("return Gain(self.start)", "return Gain(3.0)", checks.check_from_keras, "differs"),
    "an inference layer that computes something else": (
        "return x * keras.ops.convert_to_numpy(self.gain)",
        "return x * (1.1 * keras.ops.convert_to_numpy(self.gain))",
        checks.check_inference_model,
        "the inference model gives other logits",
    ),
    "no inference layer": ("def to_inference_layer", "def other", checks.check_inference_model, "not Keras' own"),
}
CHECKS = (
    *(
        checks.check_declared,
        checks.check_names,
        checks.check_deterministic,
        checks.check_matches_keras,
        checks.check_from_keras,
    ),
    *(checks.check_overrides, checks.check_gradients, checks.check_saved, checks.check_mixed_precision),
    *(checks.check_inference_model, checks.check_two_copies, checks.check_mirrored, checks.check_freezing),
)


@pytest.fixture(autouse=True)
def clear_cache():
    checks.build_cached.cache_clear()
    yield
    checks.build_cached.cache_clear()


def test_checks_pass_a_network_without_mistakes(install):
    install("kcnn-mutant", "mutant", OWN, mutant="net")
    for check in CHECKS:
        check("mutant")
    for channels in (1, 7):
        checks.check_small_input("mutant", channels)


@pytest.mark.parametrize("mistake", MUTANTS)
def test_checks_report_each_mistake_by_name(install, mistake):
    right, wrong, check, message = MUTANTS[mistake]
    assert OWN.count(right) == 1
    install("kcnn-mutant", "mutant", OWN.replace(right, wrong), mutant="net")
    with pytest.raises(Exception) as error:
        check("mutant")
    assert message in str(error.value)


def test_suite_skips_what_a_network_does_not_support(install):
    code = """
from kcnn import Architecture
def model(input_shape, classes):
    import keras
    image = keras.Input(input_shape)
    x = keras.layers.Conv2D(4, 3, name="conv")(keras.layers.Rescaling(1 / 255, name="rescale")(image))
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, keras.layers.Dense(classes, name="logits")(x))
net = Architecture(keras=model, reference="none", input_shape=(32, 32, 3), classes=10, params=112 + 50)
"""
    install("kcnn-mutant", "mutant", code, mutant="net")
    with pytest.raises(checks.CheckSkippedError, match="exists only as Keras code"):
        checks.check_overrides("mutant")

    class Own(Suite):
        name = "mutant"

    with pytest.raises(pytest.skip.Exception, match="exists only as Keras code"):
        Own().test_two_copies_in_one_graph()
    Own().test_gradients_reach_every_weight()
