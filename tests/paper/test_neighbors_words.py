"""Words that users bring from other libraries are answered with kcnn's own, in Python and on the command line."""

import re

import pytest

import kcnn
from kcnn.cli import app
from kcnn.cli.console import UsageError


@pytest.mark.parametrize(
    ("network", "keyword", "value", "meant"),
    [
        ("mobilenet_v2", "alpha", 0.5, "width"),
        ("resnet50", "classifier_activation", "softmax", "activation"),
        ("resnet50", "drop_rate", 0.2, "dropout"),
        ("resnet50", "features_only", True, "outputs"),
        ("resnet50", "global_pool", "avg", "pooling"),
        ("resnet50", "include_top", False, "top"),
        ("resnet50", "in_chans", 1, "input_shape"),
        ("resnet50", "num_classes", 10, "classes"),
        ("resnet50", "pretrained", True, "weights"),
    ],
)
def test_trace_answers_a_keyword_of_another_library_with_its_own(network, keyword, value, meant):
    for function in (kcnn.trace, kcnn.summary, kcnn.build):
        with pytest.raises(kcnn.UnknownNameError, match=f"'{keyword}'. Did you mean '{meant}'[?]"):
            function(network, **{keyword: value})


@pytest.mark.parametrize(
    ("keyword", "answer"),
    [
        ("width", "has no parameter 'width'; write options={'width': VALUE}"),
        ("alpha", "Did you mean 'width'? Write options={'width': VALUE}"),
        ("drop_rate", "Did you mean 'dropout'? Write options={'dropout': VALUE}"),
        ("filters", "write options={'filters': VALUE}"),
        ("include_top", "Did you mean 'top'?"),
    ],
)
def test_model_spec_answers_an_option_of_the_network_with_where_it_is_written(keyword, answer):
    with pytest.raises(kcnn.UnknownNameError, match=re.escape(answer)):
        kcnn.ModelSpec(network="mobilenet_v2", **{keyword: 1})


def test_activation_is_the_option_of_a_network_that_has_one_unless_it_is_softmax():
    assert kcnn.trace("mlp", activation="sigmoid").spec.options == {"activation": "sigmoid"}
    assert kcnn.trace("mlp", activation="softmax").spec.activation == "softmax"
    assert kcnn.trace("resnet20", activation="sigmoid").spec.activation == "sigmoid"
    with pytest.raises(kcnn.UnknownNameError, match="unknown activation 'relu'; choose from softmax, sigmoid"):
        kcnn.trace("resnet20", activation="relu")


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ("train lenet5 --data digits --img-size 32", "no option --img-size; write --input-size"),
        ("train --model lenet5 --data digits", "no option --model; write the network as the first argument"),
        ("train lenet5 --data digits --num-classes 10", "no option --num-classes: the classes are those of the data"),
        ("train lenet5 --data digits --device cuda", "no option --device: the GPUs are used where"),
        ("train lenet5 --data digits --workers 4", "no option --workers: images are read by as many threads"),
        ("train lenet5 --data digits --val-split 0.2", "no option --val-split: a folder val/ or valid/ beside train/"),
        ("train lenet5 --data digits --batch 8", "no option --batch; write --batch-size"),
        ("train lenet5 --data digits --opt sgd", "write --recipe-option optimizer=NAME"),
        ("train lenet5 --data digits --label-smoothing 0.1", "write --recipe-option label_smoothing=VALUE"),
        ("train lenet5 --data digits --batch_size 8", "no option --batch_size; write --batch-size$"),
        ("train lenet5 --data digits --learning_rate 1", "no option --learning_rate; write --learning-rate$"),
        ("train lenet5 --data digits --early-stopping", "write --recipe-option patience=EPOCHS$"),
        ("train lenet5 --data digits --augment", "write --recipe-option FIELD=VALUE$"),
        ("train lenet5 --data digits --freeze 3", "no option --freeze: kcnn transfer trains a new head on frozen"),
        ("transfer --freeze 3", "kcnn transfer has no option --freeze; write --unfreeze STAGES$"),
        ("predict run inbox --conf 0.5", "kcnn predict has no option --conf; write --threshold$"),
        ("predict run inbox --output a.csv", "kcnn predict has no option --output; write --csv FILE$"),
        ("export run --quantize", "kcnn export has no option --quantize; write --format litert-int8$"),
        ("train lenet5 --dat digits", "kcnn train has no option --dat. Did you mean --data[?]"),
        ("transfer --model resnet50", "kcnn transfer has no option --model; write --network NAME"),
        ("summary lenet5 --img_size=3", "kcnn summary has no option --img_size; write --input-size"),
        ("runs --xyzzy", "kcnn runs has no option --xyzzy; choose from --sort, --json"),
    ],
)
def test_cli_answers_an_option_of_another_library_with_its_own(arguments, answer):
    with pytest.raises(UsageError, match=answer):
        app(arguments.split(), standalone_mode=True, prog_name="kcnn")
