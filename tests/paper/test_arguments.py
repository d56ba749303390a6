"""Wrong arguments: one error where they enter, that names the argument, what was expected and what was given."""

from itertools import product

import numpy as np
import psutil
import pytest

import kcnn
from kcnn import building
from kcnn.blocks import conv
from kcnn.search import SearchConfig
from kcnn.search.space import Limits, Range, Space, analyze_feasibility, conditional, default_space, stack_space
from kcnn.weights import find_published


def backbone(x, *, width: float = 1.0, repeats: tuple = (1,)):
    for _ in repeats:
        x = conv(x, int(4 * width), 3, norm=True, name="stem")
    return x


def architecture(function=backbone, **fields):
    return kcnn.Architecture(
        **{"backbone": function, "reference": "", "input_shape": (8, 8, 3), "classes": 3, **fields}
    )


NET = architecture()
CALLS = {
    "trace": lambda **keywords: kcnn.trace(NET, **keywords),
    "summary": lambda **keywords: kcnn.summary(NET, **keywords),
    "min_input_size": lambda **keywords: kcnn.min_input_size(kcnn.ModelSpec(network=NET, **keywords)),
    "build": lambda **keywords: kcnn.build(NET, **keywords),
    "ModelSpec": lambda **keywords: kcnn.ModelSpec(network=NET, **keywords).trace(),
}
NAN = float("nan")
KIND, VALUE = TypeError, ValueError
FIELDS = {  # argument: values of the wrong kind, and of the right kind that no network takes
    "overrides": ([5, [("a", 1)], {5: 1}, "a.b=1", {("stem", "kernel"): 3}], [{"stem": 3}]),
    "outputs": ([5, "stage1", [5], [b"stem"], [None]], [["stage99"], ["nothing"]]),
    "prefix": ([5, b"left_", None, ["left_"]], ["a/b", "left ", "é", "_left", "a\n"]),
    "classes": ([True, 2.5, "3", NAN, [3], np.array([3]), 3.0], [0, -1, np.int64(-3)]),
    "input_shape": ([5, "8x8", (8.5, 8, 3), (True, 8, 3), (8, 8, None), {8: 8}, (8, 8, "3")], [(8, 8), (0, 8, 3)]),
    "top": ([1, "no", None], []),
    "aux": ([1, "yes"], [True]),
    "weights": ([5, True, ["imagenet"]], []),
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_wrong_field_of_a_request_is_named(name):
    kinds, values = FIELDS[name]
    words = {"overrides": "override", "outputs": ""}  # an unknown output is told as a layer
    cases = [*((value, KIND) for value in kinds), *((value, VALUE) for value in values)]
    for call, (value, error) in product(CALLS, cases):
        with pytest.raises(error) as raised:
            CALLS[call](**{name: value})
        assert not (error is VALUE and isinstance(raised.value, TypeError))
        assert words.get(name, name) in str(raised.value)
        assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "error"),
    [({"width": value}, KIND) for value in ("x", [1], 1 + 2j, True, None)]
    + [({"width": value}, VALUE) for value in (NAN, -1, float("inf"), 0, 1e308)]
    + [({"repeats": value}, KIND) for value in (3, "1")]
    + [({"options": value}, KIND) for value in (5, {5: 1}, "width=1")]
    + [({"widht": 1}, VALUE)],
)
def test_a_wrong_option_is_named(options, error):
    with pytest.raises(error, match=r"width|repeats|options|filters must be|infinity"):
        kcnn.trace(NET, **options)


@pytest.mark.parametrize(("seed", "error"), [*((v, KIND) for v in ([1], "1", 1.5, True, NAN)), (-1, VALUE)])
def test_build_refuses_a_wrong_seed(seed, error):
    with pytest.raises(error, match=r"seed must be an integer of at least 0, got"):
        kcnn.build(NET, seed=seed)


def test_numbers_of_numpy_are_accepted():
    graph = kcnn.trace(
        NET,
        classes=np.int64(7),
        input_shape=np.array([9, 9, 1]),
        overrides={"stem.kernel": np.int32(5)},
        width=np.float32(2),
        top=np.bool_(True),
    )
    assert (graph.outputs["logits"].shape, graph.input.shape, graph.features.shape[2]) == ((7,), (9, 9, 1), 8)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"stem.bias": 5}, "bias must be True or False, got 5"),
        ({"stem.kernel_initializer": 5}, "kernel_initializer must be text, got 5"),
        ({"stem.kernel": NAN}, "kernel must be a positive integer"),
        ({"stem_bn.epsilon": "small"}, "epsilon must be a number, got 'small'"),
        ({"stem_bn.momentum": NAN}, "momentum must be a finite number, got nan"),
        ({"stem_bn.scale": None}, "scale must be True or False, got None"),
        ({"stem.filters": 2.5}, "filters must be a positive integer"),
    ],
)
def test_a_wrong_value_of_an_override_names_layer_and_attribute(overrides, says):
    (layer,) = (address.partition(".")[0] for address in overrides)
    with pytest.raises(ValueError) as error:
        kcnn.trace(NET, overrides=overrides)
    assert f"layer {layer!r}: {says}" in str(error.value)


@pytest.mark.parametrize(
    "request_",
    [
        {"network": "vgg11", "classes": 10**12},
        {"network": "mobilenet_v2", "width": 1e9},
        {"network": "lenet5", "classes": 10**9},
        {"network": NET, "overrides": {"stem.filters": 10**12}},
    ],
)
def test_build_refuses_what_does_not_fit_in_memory_before_keras_is_needed(monkeypatch, request_):
    monkeypatch.setattr(building, "check_backend", lambda: pytest.fail("the memory is checked first"))
    with pytest.raises(ValueError, match=r"parameters, which take [\d,]+ GB of memory; this machine has \d+ GB"):
        kcnn.build(**request_)


def test_check_memory_compares_four_bytes_a_parameter_with_the_memory(monkeypatch):
    graph = kcnn.trace("vgg11")  # 132,863,336 parameters
    memory = type("Memory", (), {"total": 4 * 132_863_336})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    building.check_memory(graph)
    memory.total -= 1
    with pytest.raises(ValueError, match="vgg11 has 132,863,336 parameters, which take 1 GB"):
        building.check_memory(graph)


def raises_key_error(x):
    return {}["oops"]


kept = []


def returns_another_trace(x):
    kept.append(conv(x, 4, name="stem"))
    return kept[0]


@pytest.mark.parametrize(
    ("function", "error", "says"),
    [
        (lambda x: None, KIND, "the result of <lambda> must be a tensor computed from its input, got None"),
        (lambda x: (x, x), KIND, "must be a tensor computed from its input, got (<SymbolicTens"),
        (lambda x: 5, KIND, "must be a tensor computed from its input, got 5"),
        (lambda: 5, KIND, "<lambda> must take x by position"),
        (lambda x, y: x, KIND, "<lambda> must take x by position"),
        (lambda *, x: x, KIND, "<lambda> must take x by position"),
        (5, KIND, "must be a function, got 5"),
        (raises_key_error, VALUE, "raises_key_error: raises_key_error fails: KeyError: 'oops'"),
        (lambda x: 1 / 0, VALUE, "<lambda>: <lambda> fails: ZeroDivisionError"),
        (lambda x: x.nothing, VALUE, "fails: AttributeError: 'SymbolicTensor' object has no attribute 'nothing'"),
    ],
)
def test_a_wrong_backbone_is_named(function, error, says):
    with pytest.raises(error) as raised:
        kcnn.trace(architecture(function))
    assert says in str(raised.value)
    assert not isinstance(raised.value, LookupError)
    if error is VALUE:
        with pytest.raises(ValueError, match="fails"):
            kcnn.min_input_size(architecture(function))


def test_a_backbone_that_returns_the_tensor_of_another_trace_is_named():
    network = architecture(returns_another_trace)
    kcnn.trace(network)
    with pytest.raises(TypeError, match="returns_another_trace must be a tensor computed from its input"):
        kcnn.trace(network)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"input_shape": 8}, "input_shape must be"),
        ({"input_shape": (8, 8)}, "input_shape must be"),
        ({"input_shape": (8, 8, "3")}, "channels must be a positive integer, got '3'"),
        ({"classes": 2.5}, "classes must be a positive integer, got 2.5"),
        ({"params": "many"}, "params must be a positive integer, got 'many'"),
        ({"head": 5}, "must be a function, got 5"),
        ({"options": 5}, "options must be a Mapping, got 5"),
        ({"overrides": [1]}, "overrides must be a Mapping"),
        ({"variants": ["bn"]}, "variants must be a Mapping"),
        ({"weights": []}, "weights must be a tuple"),
        ({"reference": None}, "reference must be a str"),
    ],
)
def test_a_wrong_field_of_an_architecture_is_named(fields, says):
    with pytest.raises(TypeError) as error:
        architecture(**fields)
    assert says in str(error.value)


PUBLIC = {  # what a person calls with one argument of the wrong kind
    "kcnn.trace": lambda value: kcnn.trace(value),
    "kcnn.build": lambda value: kcnn.build(value),
    "kcnn.summary": lambda value: kcnn.summary(value),
    "kcnn.min_input_size": lambda value: kcnn.min_input_size(value),
    "kcnn.get_architecture": lambda value: kcnn.get_architecture(value),
    "kcnn.diff, first": lambda value: kcnn.diff(value, kcnn.trace(NET)),
    "kcnn.diff, second": lambda value: kcnn.diff(kcnn.trace(NET), value),
    "kcnn.load_model": lambda value: kcnn.load_model(value),
    "kcnn.plots.plot_network": lambda value: kcnn.plots.plot_network(value),
    "Graph.with_overrides": lambda value: kcnn.trace(NET).with_overrides(value),
    "ModelSpec.from_json": lambda value: kcnn.ModelSpec.from_json(value),
    "Space": lambda value: Space(value, {"stem.kernel": (3, 5)}),
    "Space, choices": lambda value: Space(NET, value),
    "Space, training": lambda value: Space(NET, {"stem.kernel": (3, 5)}, training=value),
    "Space, limits": lambda value: Space(NET, {"stem.kernel": (3, 5)}, limits=value),
    "Limits": lambda value: Limits(max_params=value),
    "TrainConfig, recipe": lambda value: kcnn.TrainConfig(recipe=value),
    "TrainConfig, recipe_overrides": lambda value: kcnn.TrainConfig(recipe_overrides=value),
    "TrainConfig, phase": lambda value: kcnn.TrainConfig(phase=value),
    "TrainConfig, seed": lambda value: kcnn.TrainConfig(seed=value),
    "TrainConfig, precision": lambda value: kcnn.TrainConfig(precision=value),
    "TrainConfig, multi_label": lambda value: kcnn.TrainConfig(multi_label=value),
    "plot_network, columns": lambda value: kcnn.plots.plot_network(kcnn.trace(NET), columns=value),
    "plot_network, expand": lambda value: kcnn.plots.plot_network(kcnn.trace(NET), expand=value),
}


@pytest.mark.parametrize("call", PUBLIC)
def test_an_argument_of_another_kind_is_a_type_error(call):
    for value in (5j, [5j], (object,)):
        with pytest.raises(TypeError) as error:
            PUBLIC[call](value)
        assert "5j" in str(error.value) or "object" in str(error.value), error.value


CHECKED = {  # by argument: a call with it, and values of the wrong kind
    "trials": (SearchConfig, ["3", [1], True, 2.5, {5: 1}]),
    "time_budget": (SearchConfig, ["1h", [1], NAN]),
    "workers": (SearchConfig, [None, 2.0, "2"]),
    "process_per_trial": (SearchConfig, [1, None, "yes"]),
    "tuner": (SearchConfig, [5, None, ["random"]]),
    "train": (SearchConfig, [5, "quick", {"epochs": 1}]),
    "chief": (SearchConfig, [5, ["a:1"]]),
    "low": (lambda low: Range(low, 5), ["1", None, [1], NAN]),
    "log": (lambda log: Range(1, 5, log=log), [1, "yes"]),
    "name": (lambda name: conditional(name, 1, (1, 2)), [5, None]),
    "depth": (stack_space, [5, "23", [2.5, 3], ["2"]]),
    "network": (default_space, [5, None, [1]]),
    "limits": (lambda limits: default_space("convnet", limits=limits), [5, {"max_params": 1}]),
    "seed": (lambda seed: analyze_feasibility(stack_space(), seed=seed), ["0", None, 1.5, [1]]),
    "space": (analyze_feasibility, [5, "stack", None]),
    "weights": (lambda weights: find_published(None, weights), [5, None, ["imagenet"]]),
}


@pytest.mark.parametrize("name", CHECKED)
def test_an_argument_of_another_kind_than_its_annotation_is_named(name):
    call, wrong = CHECKED[name]
    for value in wrong:
        with pytest.raises(ValueError, match=rf"^{name} must be ") as error:
            call(**{name: value})
        assert isinstance(error.value, TypeError) or value is NAN
        assert len(str(error.value).splitlines()) == 1


def test_search_config_takes_numbers_of_numpy():
    config = SearchConfig(trials=np.int64(3), time_budget=np.float32(2), process_per_trial=np.bool_(True))
    assert (config.trials, config.time_budget, config.process_per_trial) == (3, 2.0, True)
