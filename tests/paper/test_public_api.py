"""Public functions and records: keywords that are spelled out and checked, and docstrings with every section."""

import ast
import inspect
import re

import pytest

import kcnn
from kcnn import ModelSpec, TrainConfig, UnknownNameError
from kcnn.architectures import publishers
from kcnn.augment import Augmentation
from kcnn.graph.arguments import check_keywords, check_type
from kcnn.graph.names import find_closest
from kcnn.search.config import SearchConfig
from kcnn.training.phases import TrainingPhase
from kcnn.training.recipes import Recipe
from tests.paper.test_imports import SOURCES, STUBS, exported_names, package_name
from tests.paper.test_words import definitions

# They take a network's own options by keyword, and check them.
WITH_OPTIONS = {"build", "trace", "summary"}
# Constructed for each layer of each candidate of a search, by `apply` alone.
INTERNAL = {"SymbolicTensor", "apply", "decide_by_shapes"}
PACKAGES = ("kcnn/architectures/publishers", "kcnn/blocks", "kcnn/data", "kcnn/search/space")  # exports in __init__.py
MODULES = ("kcnn.graph.ops", "kcnn.classification", "kcnn.statistics")


def exports():
    """(module, name) of each public function and class."""
    for stub in STUBS:
        pairs = ((module, name) for name, module in exported_names(stub).items())
        yield from (pair for pair in pairs if pair[0] != f"{package_name(stub)}.{pair[1]}")
    for package in PACKAGES:
        for node in ast.parse((SOURCES / package / "__init__.py").read_text()).body:
            if isinstance(node, ast.ImportFrom):
                yield from ((node.module, alias.name) for alias in node.names)
    for module in MODULES:
        yield from ((module, name) for name in definitions(module) if not name.startswith("_"))


def is_exception(node):
    return node.name.endswith(("Error", "Warning"))


def has_keywords(node):
    """Whether a function, or the __init__ of a class, has **keywords."""
    if isinstance(node, ast.ClassDef):
        return any(has_keywords(one) for one in node.body if getattr(one, "name", "") == "__init__")
    return node.args.kwarg is not None


def takes_keywords_of_keras(node):
    """Whether a class takes the arguments of one of Keras', which checks them."""
    bases = [ast.unparse(base) for base in getattr(node, "bases", ())]
    has_init = any(getattr(one, "name", "") == "__init__" for one in node.body)
    return any(base.startswith("keras.") for base in bases) and (has_keywords(node) or not has_init)


PUBLIC = {f"{module}.{name}": definitions(module)[name] for module, name in exports() if name in definitions(module)}
FUNCTIONS = {name: node for name, node in PUBLIC.items() if isinstance(node, ast.FunctionDef)}
CHECKED = {
    name: node
    for name, node in PUBLIC.items()
    if node.name not in WITH_OPTIONS | INTERNAL
    and not is_exception(node)
    and not takes_keywords_of_keras(node)
    and not name.startswith(("kcnn.blocks.", "kcnn.graph.ops."))  # called for each layer: see test_trace_suggests
}


def test_public_api_is_found():
    assert {"kcnn.training.trainer.train", "kcnn.data.loading.load"} <= {*CHECKED}
    assert len(PUBLIC) > 150


def test_public_functions_spell_out_their_keywords_but_for_those_that_take_options():
    assert {
        one.name for one in PUBLIC.values() if has_keywords(one) and not takes_keywords_of_keras(one)
    } == WITH_OPTIONS


def test_public_functions_and_records_check_their_keywords():
    first = {name: [*map(ast.unparse, node.decorator_list), ""][0] for name, node in CHECKED.items()}
    assert [
        name for name, decorator in first.items() if not decorator.startswith(("check_keywords", "check_arguments"))
    ] == []


def missing_sections(node):
    """What the docstring of a function lacks: parameters, and sections."""
    text, arguments = ast.get_docstring(node) or "", node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    described = text.partition("Args:\n")[2].partition("\n\n")[0].replace("*", "")
    yield from (one.arg for one in every if one and f"    {one.arg}: " not in described)
    parts = list(ast.walk(node))
    is_generator = any(isinstance(one, ast.Yield) for one in parts)
    returns = any(isinstance(one, ast.Return) and one.value is not None for one in parts)
    raises = any(isinstance(one, ast.Raise) and one.exc is not None for one in parts)
    sections = {"Yields:": is_generator, "Returns:": returns and not is_generator, "Raises:": raises}
    yield from (name for name, needed in sections.items() if needed and name not in text)


def test_public_functions_document_parameters_results_and_errors():
    missing = {name: list(missing_sections(node)) for name, node in FUNCTIONS.items()}
    assert {name: lacks for name, lacks in missing.items() if lacks} == {}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TrainConfig(epoch=3), "TrainConfig has no parameter 'epoch'. Did you mean 'epochs'?"),
        (lambda: TrainConfig(lr=1e-3), "TrainConfig has no parameter 'lr'. Did you mean 'learning_rate'?"),
        (lambda: TrainConfig(momentum=0.5), "TrainConfig has no parameter 'momentum'; write recipe_overrides="),
        (
            lambda: TrainConfig(flipp=True),
            "no parameter 'flipp'. Did you mean 'flip'? Write recipe_overrides={'flip': ",
        ),
        (lambda: SearchConfig(trails=3), "SearchConfig has no parameter 'trails'. Did you mean 'trials'?"),
        (lambda: SearchConfig(epochs=3), "no parameter 'epochs'; write train=TrainConfig(epochs=...)"),
        (lambda: ModelSpec(clases=3), "ModelSpec has no parameter 'clases'. Did you mean 'classes'?"),
        (lambda: Recipe(momentun=0.5), "Recipe has no parameter 'momentun'. Did you mean 'momentum'?"),
        (lambda: Augmentation(mixpu=0.5), "Augmentation has no parameter 'mixpu'. Did you mean 'mixup'?"),
        (lambda: TrainingPhase(1, batchnorm="adapt"), "has no parameter 'batchnorm'. Did you mean 'batch_norm'?"),
        (lambda: kcnn.list_models(max_parms=3), "list_models takes no parameters, got 'max_parms'"),
        (lambda: kcnn.min_input_size(netwrk="vgg11"), "has no parameter 'netwrk'. Did you mean 'network'?"),
        (
            lambda: kcnn.data.load("digits", input_shpe=1),
            "load has no parameter 'input_shpe'. Did you mean 'input_",
        ),
        (lambda: kcnn.statistics.wilson_interval(1, totl=2), "has no parameter 'totl'. Did you mean 'total'?"),
    ],
)
def test_check_keywords_names_the_nearest_parameter(call, message):
    with pytest.raises(UnknownNameError) as error:
        call()
    assert message in str(error.value)
    assert isinstance(error.value, TypeError)  # as Python's own


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (
            lambda x: kcnn.blocks.apply(kcnn.ops.Conv(8, kernal=3), x, name="one"),
            "Conv has no parameter 'kernal'. Did you mean 'kernel'?",
        ),
        (
            lambda x: kcnn.blocks.conv(x, 8, strid=2, name="one"),
            "conv has no parameter 'strid'. Did you mean 'stride'?",
        ),
    ],
)
def test_trace_suggests_the_nearest_keyword_of_ops_and_blocks(backbone, message):
    network = kcnn.Architecture(backbone=backbone, reference="none", input_shape=(8, 8, 3))
    with pytest.raises(ValueError, match=re.escape(message)):
        kcnn.trace(network)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: TrainConfig(phase={"epochs": 3}),
            "phase must be a TrainingPhase, got {'epochs': 3}",
        ),
        (lambda: TrainConfig(recipe={"epochs": 3}), "recipe must be a name or a Recipe, got {'epochs': 3}"),
        (
            lambda: TrainConfig(recipe_overrides=["flip"]),
            "recipe_overrides must be a mapping such as {'flip'",
        ),
        (lambda: SearchConfig(train={"seed": 1}), "got {'seed': 1}; write TrainConfig(seed=1)"),
        (lambda: ModelSpec(network={"network": "vgg11"}), "network must be a name or a kcnn.Architecture"),
        (
            lambda: ModelSpec(network="vgg11", overrides=["a.b"]),
            "overrides must be a mapping such as {'stem",
        ),
        (lambda: check_type("config", 3, TrainConfig), "config must be of type TrainConfig, got 3"),
    ],
)
def test_records_refuse_a_value_that_is_no_record(make, message):
    with pytest.raises(TypeError) as error:
        make()
    assert message in str(error.value)


def test_check_keywords_keeps_signature_docstring_and_class():
    @check_keywords
    def scale(x: float, *, factor: float = 2.0) -> float:
        """Scale a number."""
        return x * factor

    assert str(inspect.signature(scale)) == "(x: float, *, factor: float = 2.0) -> float"
    assert (scale.__name__, scale.__doc__, scale(3, factor=3)) == ("scale", "Scale a number.", 9)
    assert list(inspect.signature(TrainConfig).parameters)[:2] == ["recipe", "epochs"]
    assert isinstance(publishers.make_mapping, type(scale))


@pytest.mark.parametrize(
    ("name", "known", "closest"),
    [
        ("ResNet50", ("resnet18", "resnet50", "resnet101"), "resnet50"),
        ("vgg61", ("vgg11", "vgg13", "vgg16", "vgg19"), "vgg16"),
        ("include_top", ("classes", "top", "include"), "top"),
        ("lr", ("epochs", "learning_rate"), "learning_rate"),
        ("lr", ("epochs", "seed"), None),
        ("mixed-float16", ("float32", "mixed_float16"), "mixed_float16"),
        ("momentun", ("momentum", "ema_momentum"), "momentum"),
        ("xyzzy", ("epochs", "seed"), None),
        ("x", (), None),
    ],
)
def test_find_closest_prefers_case_then_synonyms_then_letters(name, known, closest):
    assert find_closest(name, known) == closest


@pytest.mark.parametrize(("keyword", "meant"), [("include_top", "top"), ("pretrained", "weights"), ("widht", "width")])
def test_trace_suggests_one_keyword_or_option(keyword, meant):
    with pytest.raises(UnknownNameError, match=rf"unknown (keyword|option) '{keyword}'. Did you mean '{meant}'\?$"):
        kcnn.trace("mobilenet_v2", **{keyword: 1})
