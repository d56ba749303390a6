"""The commands that need no TensorFlow, as a person types them."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import typer
from rich.console import Console

import kcnn
from kcnn import ops
from kcnn.cli import app, console
from kcnn.cli.options import choose_input_shape
from kcnn.graph.formatting import describe_op, format_number
from kcnn.keras_bridge import backends
from kcnn.weights.downloads import DownloadError, download


def test_show_spinner_draws_before_stderr_is_redirected(monkeypatch):
    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, _environ={"TERM": "xterm", "COLUMNS": "80"})
    monkeypatch.setattr(console, "err", terminal)
    with console.show_spinner("loading Keras"):
        drawn = shown.getvalue()
    assert "loading Keras" in drawn


def test_cli_verify_says_what_it_waits_for(command):
    done = command("verify", "lenet5")
    assert done.stderr.splitlines()[:1] == ["verifying 2 networks"]
    assert "verifying 2 networks" not in done.stdout


def test_cli_list_shows_every_network_and_its_cost(command):
    done = command("list")
    assert done.returncode == 0
    assert "6,998,552" in done.stdout
    assert "resnet152" in done.stdout


def test_cli_list_keeps_to_a_pattern_and_limits(command):
    done = command("list", "*net_v?", "--max-params", "5M", "--max-macs", "400M", "--min-input", "20")
    assert done.returncode == 0
    names = [line.split()[0] for line in done.stdout.splitlines()[1:] if line[:1].isalpha()]
    assert names == ["mobilenet_v2"]


def test_cli_list_without_a_match_is_an_error(command):
    done = command("list", "--max-params", "3")
    assert done.returncode == 2
    assert "none of the" in done.stderr


def test_cli_list_shows_variants_and_cited_weights(command):
    done = command("list", "resnet50*", "--variants", "--weights")
    rows = {line.split()[0]: line for line in done.stdout.splitlines()[1:]}
    assert "imagenet: torchvision, 80.858%, BSD-3-Clause; imagenet_v2" in rows["resnet50.torchvision"]
    assert "keras.applications, 74.9%" in rows["resnet50.keras"]
    assert "imagenet" not in rows["resnet50"]


def test_cli_list_keeps_to_weights_of_a_license(command):
    def list_networks(*words):
        done = command("list", *words, "--json")
        assert done.returncode == 0, done.stderr
        return {row["network"]: (row["weights"], row["licenses"]) for row in json.loads(done.stdout)}

    swag = ["imagenet_swag", "imagenet_swag_linear"]
    assert list_networks("regnet_y_16gf", "--license", "cc-by-nc-4.0") == {
        "regnet_y_16gf": (swag, ["CC-BY-NC-4.0, SWAG"] * 2)
    }
    commercial = list_networks("regnet*", "--license", "commercial")
    assert not set(commercial["regnet_y_16gf"][0]) & {*swag}
    assert {one for _, licenses in commercial.values() for one in licenses} == {"BSD-3-Clause, torchvision's"}
    assert [*list_networks("vgg16", "--license", "CC-BY-4.0")] == ["vgg16.keras"]
    assert "resnet20" not in list_networks("resnet*", "--weights", "--license", "commercial")


def test_cli_list_refuses_a_license_that_no_weights_have(command):
    done = command("list", "regnet*", "--license", "apache")
    assert done.returncode == 2
    assert "unknown license 'apache'; choose from commercial, bsd-3-clause, cc-by-nc-4.0" in done.stderr


def test_cli_list_shows_a_variant_by_name(command):
    assert command("list", "googlenet.bn").stdout.splitlines()[1].startswith("googlenet.bn")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("norm=False", "False"),
        ("norm=false", "False"),
        ("drop_path=.2", "0.2"),
        ("repeats=(1,1,1,1)", "(1, 1, 1, 1)"),
        ("bias=None", "None"),
    ],
)
def test_cli_model_option_takes_python_or_json(command, word, value):
    found = json.loads(command("summary", "resnet50", "--model-option", word, "--json").stdout)
    assert found["options"][word.partition("=")[0]] == value


@pytest.mark.parametrize("pattern", ["mobilenet*", pytest.param("*", marks=pytest.mark.every)])
def test_cli_verify_accepts_what_is_installed(command, pattern):
    done = command("verify", pattern)
    assert done.returncode == 0
    rows = done.stdout.splitlines()
    assert rows[-1] == f"{len(rows) - 3} of {len(rows) - 3} are as declared"


LIAR = """
from kcnn import Architecture, WeightMapping, Weights
from kcnn.blocks import conv
facts = {"source": "me", "accuracy": None, "citation": "none", "license": "none"}
net = Architecture(
    backbone=lambda x: conv(x, 4, name="one"),
    reference="none",
    params=7,
    macs=1e6,
    receptive_field=9,
    min_input_size=2,
    weight_mappings={"theirs": WeightMapping(names=lambda layers: {"one": "a", "logits": "a"})},
    weights=(Weights(url="ftp://x/y", checksum=None, mapping="others", classes=("a",), crop=300, **facts),),
)
"""


def test_cli_verify_reports_every_wrong_declaration(command, install):
    install("kcnn-wrong", "wrong_plugin", LIAR, liar="net")
    install("kcnn-broken", "broken_plugin", "raise RuntimeError('boom')", shattered="net")
    done = command("verify", "liar")
    assert done.returncode == 1
    said = " ".join(done.stdout.split())
    for fault in (
        "params are 5,112, declared 7",
        "MACs are 5,423,008, declared 1,000,000.0",
        "the receptive field is 3x3, declared 9",
        "the minimum input size is 1, declared 2",
        "weight mapping theirs names two layers a",
        "'ftp://x/y' is not an https, http or file URL",
        "unknown weight mapping 'others'. Did you mean 'theirs'?",
        "1 class names for 1000 classes",
        "crop 300 exceeds resize 256",
        "0 of 1 are as declared",
    ):
        assert fault in said
    broken = command("verify", "shattered")
    assert broken.returncode == 1
    assert "RuntimeError: boom" in broken.stdout


NO_LOGITS = """
from kcnn import Architecture, ops
from kcnn.blocks import apply, conv
def dense(x, classes):
    return apply(ops.Dense(classes), apply(ops.GlobalPool(), x, name="pool"), name="logits")
def shuffle(x):
    for name in {"one", "two", "three", "four"}:
        x = conv(x, 3, name=name)
    return x
facts = {"reference": "none", "input_shape": (8, 8, 3), "params": 3 * 28 + 4 * 1000, "map_sizes": (8,)}
facts |= {"backbone": lambda x: conv(x, 3, name="one")}
soft = Architecture(head=lambda x, classes: apply(ops.Activation("softmax"), dense(x, classes), name="end"), **facts)
fixed = Architecture(head=lambda x, classes: dense(x, 1000), **facts)
unsteady = Architecture(head=dense, **{**facts, "backbone": shuffle, "params": 4 * 3 * 28 + 4 * 1000})
"""


def test_cli_verify_finds_what_the_test_kit_finds_in_the_graph(command, install):
    faults = {
        "soft": "output 'logits' ends in a softmax; a head must return logits",
        "fixed": "output 'logits' has the shape (1000,) for 3 classes",
        "unsteady": "its layers differ from process to process",
    }
    install("kcnn-nologits", "nologits_plugin", NO_LOGITS, **{name: name for name in faults})
    done = command("verify", "kcnn_nologits:*")  # by its distribution, whose name may be spelled otherwise
    assert done.returncode == 1
    rows = " ".join(done.stdout.split()).split("kcnn-nologits:")[1:]
    assert [row.split()[0] for row in rows] == sorted(faults)
    for row in rows:
        assert faults[row.split()[0]] in row
        assert row.count("output 'logits'") <= 1


def test_cli_summary_prints_layers_totals_and_addresses(command):
    done = command("summary", "googlenet", "--input-size", "96x96x1")
    assert done.returncode == 0
    for word in ("inception_4a_5x5_reduce", "arXiv:1409.4842", "96x96x1", "googlenet.torchvision", "stem.{"):
        assert word in done.stdout


def test_cli_summary_as_json_has_every_layer(command):
    done = command("summary", "mobilenet_v2", "--model-option", "width=0.5", "--json")
    found = json.loads(done.stdout)
    assert found["params"] == 1_968_680
    assert found["layers"][1] | {"offset": None} == {
        "name": "rescale",
        "shape": [224, 224, 3],
        "params": 0,
        "non_trainable_params": 0,
        "macs": 0,
        "receptive_field": [1, 1],
        "stride": [1, 1],
        "offset": None,
        "op": {"op": "Rescale", "scale": pytest.approx(1 / 127.5), "offset": -1.0},
    }


def test_cli_summary_applies_overrides(command):
    done = command("summary", "resnet18", "--override", "stage3_unit1_{a,skip}.stride=1", "--json")
    assert json.loads(done.stdout)["stride"] == [16, 16]


def test_cli_summary_notes_an_override_without_effect(command):
    done = command("summary", "vgg11", "--override", "conv1_1.kernel=3")
    assert done.returncode == 0
    assert done.stderr.strip() == (
        "note: vgg11: override has no effect: the layers already have these values (conv1_1.kernel)"
    )


def test_cli_diff_prints_changes_and_costs(command):
    done = command("diff", "googlenet", "googlenet.torchvision")
    assert "~ inception_*_5x5: kernel 3 instead of 5 in 9 layers, minus 380,928 weights" in done.stdout
    assert "receptive field 715 -> 379" in done.stdout
    assert (
        "~ inception_4a_5x5: kernel 5 -> 3" in command("diff", "googlenet", "googlenet.torchvision", "--layers").stdout
    )
    assert command("diff", "vgg11", "vgg11").stdout.strip() == "the same, layer by layer"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["summary", "gogglenet"], "unknown network 'gogglenet'. Did you mean 'googlenet'"),
        (
            ["summary", "vgg11", "--input-size", "large"],
            "invalid --input-size 'large'; write 224, 224x192 or 224x192x1",
        ),
        (["summary", "resnet20", "--model-option", "top=maybe"], "unknown option 'top'"),
        (["summary", "resnet50."], "ends in a dot"),
        (["list", "GoogleNet"], "Did you mean 'googlenet'"),
        (["list", "my*"], "no network matches 'my*'"),
        (["verify", "my*"], "no network matches 'my*'"),
        (["train", "convnet", "--data", "digits", "--strategy", "miror"], "Did you mean 'mirrored'?"),
        (["verify", "GoogleNet"], "Did you mean 'googlenet'"),
        (["summary", "vgg11", "--input-size", "16x16"], "smallest input that fits is 32x32"),
        (["summary", "vgg11", "--override", "kernel"], "--override expects NAME=VALUE, got 'kernel'"),
        (["summary", "vgg11", "--override", "conv9_9.kernel=3"], "no layer matches 'conv9_9'"),
        (["summary", "vgg11", "--model-option", "with=1"], "unknown option 'with'"),
        (["train", "vgg12", "--data", "digits"], "Did you mean 'vgg1"),
        (["summary", "hf://timm/resnet18.a1_in1k"], "is an address, and a network by name is expected here"),
        (["compare", "runs/a"], "a comparison needs at least 2 runs, got 1; name their folders"),
        (["report", "nowhere"], "folder not found: nowhere"),
        (["predict", "nowhere.keras", "x.png"], "file not found: nowhere.keras"),
        (["predict", "nowhere", "x.png"], "unknown network 'nowhere'"),
        (["diff", "vgg11", "vgg99"], "Did you mean 'vgg"),
    ],
)
def test_cli_reports_a_mistake_in_one_line_with_exit_code_2(command, words, says):
    done = command(*words)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_cli_debug_shows_the_traceback(command):
    done = command("--debug", "summary", "gogglenet")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_cli_help_of_every_command_shows_examples(command):
    for word in typer.main.get_command(app).commands:
        done = command(word, "--help")
        assert done.returncode == 0
        assert "Examples" in done.stdout
        assert f"kcnn {word}" in done.stdout


def test_cli_search_dry_run_shows_the_space(command):
    done = command("search", "convnet", "--dry-run", "--max-macs", "1M")
    assert done.returncode == 0, done.stderr
    assert "points, " in done.stdout
    assert "conv1.kernel: 5, 3, 7" in done.stdout
    assert "exceed max_macs 1,000,000" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--choice", "conv1.kernel"), "--choice expects NAME=VALUES such as stem.kernel=3,5,7, got 'conv1.kernel'"),
        (("--choice", "conv9.kernel=3,5"), "no layer matches 'conv9'"),
        (("--choice", "conv1.kernel=3,5 if conv2.kernel=3"), "has a condition; write it in Python"),
        (("--recipe-choice", "lr="), "--recipe-choice expects NAME=VALUES"),
        (("--recipe-choice", "lr=0.1,0.2"), "unknown recipe option 'lr'. Did you mean 'learning_rate'?"),
        (("--recipe-choice", "optimizer=sgd,lion"), "unknown optimizer 'lion'"),
        (("--recipe-choice", "epochs=1,2"), "epochs and patience cannot be searched"),
        (("--max-params", "many"), "invalid number"),
        (("--max-params", "10"), "because of max_params"),
        ((), "missing option --data"),
    ],
)
def test_cli_search_reports_an_invalid_request_in_one_line(command, words, said):
    done = command("search", "convnet", *words, *(["--dry-run"] if words else []))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_parse_choices_reads_values_ranges_and_pairs():
    from kcnn.cli.search_values import parse_choices
    from kcnn.search.space import Range

    texts = ["a.kernel=3,5,3x5", "a.padding=same,valid", "rate=1e-4..1e-2,log", "n=1..5", "b.kernel=[3,[1,7]]"]
    read = parse_choices(texts, "--choice")
    assert read["a.kernel"] == (3, 5, (3, 5))
    assert read["a.padding"] == ("same", "valid")
    assert read["rate"] == Range(1e-4, 1e-2, log=True)
    assert read["n"] == Range(1, 5)
    assert read["b.kernel"] == (3, [1, 7])


@pytest.mark.parametrize("network", ["resnet50", "lenet5", "mlp", "mobilenet_v2.torchvision"])
def test_cli_summary_prints_the_summary_of_kcnn_summary(command, network):
    done = command("summary", network)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{kcnn.summary(network)}\n"


def test_summary_is_a_table_with_totals():
    summary = kcnn.summary("resnet50")
    lines = str(summary).splitlines()
    headings = ["layer", "op", "output shape", "params", "MACs", "receptive field", "stride"]
    assert re.split(r"\s{2,}", lines[0]) == headings
    assert re.split(r"\s{2,}", lines[3]) == [
        *("stem", "Conv 64, kernel 7, stride 2, padding half, bias False", "112x112x64", "9,408", "118 M", "7", "2")
    ]
    assert lines[len(summary) + 1] == ""
    totals = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in lines[len(summary) + 2 :] if line[:1].strip())
    assert totals["params"] == "25,557,032 trainable, 53,120 non-trainable"
    assert totals["MACs"] == "3,857,973,248 for an image of 224x224x3"
    assert totals["features"] == "7x7x2048, receptive field 483, stride 32"
    assert "resnet50.torchvision" in totals["variants"]


def test_summary_repr_is_one_line_and_html_a_table():
    summary = kcnn.summary("resnet50")
    assert repr(summary) == "<Summary resnet50: 175 layers, 25.6 M params, 3.86 G MACs>"
    page = ElementTree.fromstring(f"<page>{summary._repr_html_()}</page>")
    assert len(page.findall("./table/tbody/tr")) == len(summary)
    assert [cell.text for cell in page.findall("./table/thead/tr/th")][:3] == ["layer", "op", "output shape"]


@pytest.mark.parametrize(
    ("size", "shape"), [("224", [224, 224, 3]), ("224x192", [224, 192, 3]), ("224x192x1", [224, 192, 1])]
)
def test_cli_input_size_takes_one_side_two_sides_or_a_shape(command, size, shape):
    found = json.loads(command("summary", "resnet18", "--input-size", size, "--json").stdout)
    assert found["input_shape"] == shape


def test_cli_input_size_without_channels_takes_those_of_the_network(command):
    found = json.loads(command("summary", "convnet", "--input-size", "40", "--json").stdout)
    assert found["input_shape"] == [40, 40, 1]


@pytest.mark.parametrize("size", ["x", "0", "224x", "1x2x3x4", "-3", "224x224x0"])
def test_cli_input_size_refuses_an_invalid_size_and_shows_the_valid_forms(command, size):
    done = command("summary", "vgg11", f"--input-size={size}")
    assert done.returncode == 2
    assert "write 224, 224x192 or 224x192x1" in done.stderr


def test_cli_version_is_printed(command):
    done = command("--version")
    assert (done.returncode, done.stdout) == (0, f"kcnn {kcnn.__version__}\n")


@pytest.mark.parametrize("words", ["diff alexnet", "transfer -n"])
def test_cli_completes_names_of_networks(words):
    words = f"kcnn {words} mobilenet_v3_"
    request = {"_KCNN_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    code = "import sys; from kcnn.__main__ import main; sys.argv = ['kcnn']; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | request, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["mobilenet_v3_large", "mobilenet_v3_small"], done.stderr


@pytest.mark.parametrize(
    ("size", "data", "shape"),
    [
        (None, "digits", (224, 224, 1)),
        (None, "digits:0-4", (224, 224, 1)),
        ("32x24", "digits", (32, 24, 3)),
        ("32x24x1", "photos", (32, 24, 1)),
        (None, "photos/digits", None),
        (None, "digits_of_mine", None),
        (None, None, None),
    ],
)
def test_choose_input_shape_is_gray_for_digits_without_a_size(size, data, shape):
    assert choose_input_shape(size, "googlenet", data) == shape


@pytest.mark.parametrize("folder", ["runs[old]", "runs/[bold]", ":bug: [/] 100%", "$a$ {b}"])
def test_cli_prints_names_as_they_are(command, tmp_path, folder):
    file = tmp_path / folder / "net.svg"
    assert str(file) in command("plot", "lenet5", "--svg", str(file)).stdout
    assert str(tmp_path / folder) in command("verify", "--path", str(tmp_path / folder)).stderr
    with console.out.capture() as printed:
        console.print_job(folder, folder, file.parent, (28, 28, 1))
        console.out.print(console.make_table(("class",), [(folder,)], left=("class",)))
    assert printed.get().count(folder) == 4


@pytest.mark.parametrize(
    ("shape", "text"), [((32, 32, 1), "grayscale images of 32x32x1"), ((32, 24, 3), "color images of 32x24x3")]
)
def test_print_job_says_whether_images_are_gray(shape, text, tmp_path):
    with console.out.capture() as printed:
        console.print_job("convnet", "photos", tmp_path, shape)
    assert text in printed.get()


def test_cli_prints_no_markup():
    """A text with markup would show it, since the console takes none: names may have brackets."""
    files = [
        file for file in Path(console.__file__).parent.glob("*.py") if file.name not in ("options.py", "__init__.py")
    ]
    for file in files:
        assert not re.findall(r"\[/\]|\[/?(?:bold|dim|red|yellow|green)\b[^\]'\"]*\]", file.read_text()), file


@pytest.mark.parametrize(
    ("backend", "says"),
    [
        ("tf", "KERAS_BACKEND: unknown Keras backend 'tf'; choose from tensorflow, jax, torch"),
        ("tensorflaw", "KERAS_BACKEND: unknown Keras backend 'tensorflaw'. Did you mean 'tensorflow'?"),
        ("torch", "KERAS_BACKEND: the Keras backend 'torch' is not installed; run `pip install \"kcnn[torch]\"`"),
    ],
)
def test_check_backend_names_the_choices_and_what_to_install(monkeypatch, backend, says):
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    monkeypatch.setenv("KERAS_BACKEND", backend)
    with pytest.raises((ValueError, ImportError)) as error:
        backends.check_backend()
    assert str(error.value).startswith(says)
    with pytest.raises((ValueError, ImportError), match="Keras backend"):
        kcnn.build("lenet5")


def test_check_backend_reads_the_settings_of_keras(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    backends.check_backend()
    (tmp_path / "keras.json").write_text('{"backend": "theano"}')
    with pytest.raises(ValueError, match=r"keras.json: unknown Keras backend 'theano'"):
        backends.check_backend()


TWO_WORKERS = {"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}, "task": {"type": "worker", "index": 1}}
TASKS = {"SLURM_STEP_NODELIST": "n[1-2]", "SLURM_STEP_NUM_TASKS": "2", "SLURM_JOB_ID": "7", "SLURM_PROCID": "1"}


@pytest.mark.parametrize(
    ("variables", "source"),
    [({"TF_CONFIG": json.dumps(TWO_WORKERS)}, "TF_CONFIG (kcnn launch sets it)"), (TASKS, "srun")],
)
@pytest.mark.parametrize(
    "words",
    [
        ("search", "stack", "--data", "digits", "--input-size", "8x8x1"),
        ("search", "stack", "--data", "digits", "--input-size", "8x8x1", "--strategy", "single"),
        ("train", "stack", "--data", "digits", "--input-size", "8x8x1", "--folds", "5"),
        ("transfer",),
        ("choose", "--data", "digits"),
    ],
)
def test_commands_of_one_process_refuse_to_run_as_one_of_several_workers(
    command, tmp_path, monkeypatch, variables, source, words
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    done = command(*words, "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert f"runs in one process, but {source} makes this process worker 1 of 2; start it once" in done.stderr
    assert ("--workers" in done.stderr) == (words[0] == "search")
    assert not (tmp_path / "out").exists()


def test_search_refuses_the_strategy_of_several_workers(command, tmp_path):
    done = command("search", "stack", "--data", "digits", "--strategy", "multiworker", "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert 'strategy "multiworker" has no meaning in a search; run trials in parallel with workers' in done.stderr
    assert not (tmp_path / "out").exists()


def test_cli_list_as_json_has_costs_variants_and_weights(command):
    rows = {row["network"]: row for row in json.loads(command("list", "resnet50*", "--json").stdout)}
    assert rows["resnet50"]["params"] == 25_557_032
    assert rows["resnet50"]["receptive_field"] == [483, 483]
    assert "torchvision" in rows["resnet50"]["variants"]


def test_cli_help_has_no_line_break_of_a_docstring():
    for name, info in typer.main.get_command(app).commands.items():
        assert "\n" not in info.help.replace("\n\n", ""), name


@pytest.mark.parametrize(
    ("op", "text"),
    [
        (ops.Conv(192), "Conv 192, kernel 3, stride 1"),
        (ops.Conv(64, (1, 7), 2, "half"), "Conv 64, kernel 1x7, stride 2, padding half"),
        (ops.Pool(3), "Pool max, kernel 3, stride 2"),
        (ops.GlobalPool(), "GlobalPool average"),
        (ops.Rescale(), "Rescale scale 0.007843, offset -1"),
        (ops.CENTERED, "Rescale scale 1, offset (-123.7, -116.8, -103.9)"),
        (ops.BatchNorm(), "BatchNorm"),
        (None, "input"),
    ],
)
def test_describe_op_shows_geometry_also_where_it_is_the_default(op, text):
    assert describe_op(op) == text


def test_summary_counts_the_layers_of_the_graph():
    assert repr(kcnn.summary("lenet5")).startswith("<Summary lenet5: 17 layers")
    assert repr(kcnn.trace("lenet5")).startswith("<Graph lenet5: 17 layers")


def test_format_number_counts_one_in_the_singular():
    assert [format_number(number, "epoch") for number in (0, 1, 1500)] == ["0 epochs", "1 epoch", "1,500 epochs"]


INTERRUPTED_WHILE_IT_LOADS = """
import signal, sys
class Press:
    def find_spec(self, name, path=None, target=None):
        if name == "kcnn.cli.console":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Press())
"""
INTERRUPTED_TWICE = """
import signal, sys, kcnn.cli
def press():
    signal.raise_signal(signal.SIGINT)
kcnn.cli.fail = lambda *arguments: press()
for command in kcnn.cli.app.registered_commands:
    command.callback = press
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("code", [INTERRUPTED_WHILE_IT_LOADS, INTERRUPTED_TWICE])
def test_program_ends_on_ctrl_c_without_a_traceback(code):
    heed = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"  # also in the background
    code = f"{heed}{code}sys.argv[1:] = ['list']\nfrom kcnn.__main__ import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


INTERRUPTED_IN_A_LIBRARY = """
import signal, sys, kcnn.cli
def press():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ImportError("initialization failed")
for command in kcnn.cli.app.registered_commands:
    command.callback = press
"""
INTERRUPTED_AS_THE_BACKEND_LOADS = """
import signal, sys, kcnn.cli
from kcnn.cli import backend
def press():
    class Press:
        def find_spec(self, name, path=None, target=None):
            signal.raise_signal(signal.SIGINT)
    sys.meta_path.insert(0, Press())
    sys.modules.pop("keras", None)
    backend.check_backend = lambda: None
    backend.start_backend()
for command in kcnn.cli.app.registered_commands:
    command.callback = press
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(
    ("code", "end"),
    [
        (INTERRUPTED_IN_A_LIBRARY, (1, "error: interrupted\n")),
        (INTERRUPTED_AS_THE_BACKEND_LOADS, (-signal.SIGINT, "")),
    ],
)
def test_program_ends_on_ctrl_c_that_an_import_would_lose(code, end):
    heed = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"  # also in the background
    code = f"{heed}{code}sys.argv[1:] = ['list']\nfrom kcnn.__main__ import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == end


def test_command_line_says_that_it_was_interrupted(command, monkeypatch):
    def press():
        raise KeyboardInterrupt

    (plugins,) = (one for one in app.registered_commands if one.callback.__name__ == "plugins")
    monkeypatch.setattr(plugins, "callback", press)
    done = command("plugins")
    assert (done.returncode, done.stderr) == (1, "error: interrupted\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--unfreeze", "99"), "cannot train 99 stages: 2 have weights (stage0, stage1)"),
        (("--unfreeze", "stage9"), "no layer matches 'stage9'. Did you mean 'stage0'?"),
        (("--unfreeze", "head,convolution*"), "no layer matches 'convolution*'"),
        (("--lr-multiplier", "stage7=0.1"), "no layer matches 'stage7'"),
        (("--lr-multiplier", "stage1=-1"), "lr_multipliers of a training phase must be factors of at least 0"),
        (("--batch-norm", "off"), "batch_norm of a training phase must be one of frozen, adapt, got 'off'"),
        (("--learning-rate", "nan"), "learning_rate of a training phase must be a number above 0, got nan"),
    ],
)
def test_cli_transfer_refuses_layers_that_the_network_lacks_before_keras_is_loaded(
    words, says, command, monkeypatch, tmp_path
):
    monkeypatch.setattr("kcnn.cli.transfer.start_backend", lambda *_: pytest.fail("the layers are checked first"))
    done = command("transfer", *words, "--out", str(tmp_path / "out"))
    assert (done.returncode, (tmp_path / "out").exists()) == (2, False)
    assert says in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["--weights", "mobilenet.h5"],
            "--weights expects NETWORK=FILE, with options NETWORK,OPTION=VALUE=FILE, or",
        ),
        (["--weights", "hf://timm"], "expected hf://USER/NAME or hf://USER/NAME@REVISION, got 'hf://timm'"),
        (["--max-params", "many"], "invalid number 'many'; write 5000000, 5M or 1.5G"),
        (["--weights", "mobilenet_v1=a.h5", "--input-size", "0"], "invalid --input-size '0'"),
    ],
)
def test_cli_choose_refuses_what_it_cannot_read_before_keras_is_loaded(words, says, command, monkeypatch, tmp_path):
    monkeypatch.setattr("kcnn.cli.choose.start_backend", lambda *_: pytest.fail("the options are read first"))
    done = command("choose", "--data", "digits", *words, "--out", str(tmp_path / "out"))
    assert (done.returncode, (tmp_path / "out").exists()) == (2, False)
    assert says in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--folds", "1"], "be greater than or equal to 2"),
        (["--folds", "150"], "150 folds need at least 150 images of every class outside the test split, and class '0'"),
        (["--folds", "5", "--strategy", "multiworker"], 'folds cannot be combined with strategy "multiworker"'),
        (["--folds", "5", "--recipe-option", "patience=3"], "folds cannot be combined with early stopping"),
        (["--folds", "5", "--auto-batch-size"], "folds cannot be combined with auto_batch_size"),
    ],
)
def test_cli_train_refuses_folds_that_cannot_work_before_keras_is_loaded(words, says, command, monkeypatch, tmp_path):
    monkeypatch.setattr("kcnn.cli.train.start_backend", lambda *_: pytest.fail("the folds are checked first"))
    shared = ("--data", "digits:0-1", "--input-size", "8x8x1", "--out", str(tmp_path / "out"))
    done = command("train", "stack", *shared, *words)
    assert (done.returncode, (tmp_path / "out").exists()) == (2, False)
    assert says in " ".join(done.stderr.replace("│", "").split())


def test_cache_and_mirror_take_a_tilde_for_the_home_folder(tmp_path, monkeypatch):
    """A shell expands it neither within quotes nor in a file of variables."""
    facts = {"checksum": None, "source": "x", "mapping": "kcnn", "accuracy": None, "citation": "x", "license": "x"}
    weights = kcnn.Weights(url="https://example.org/net.h5", **facts)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("KCNN_CACHE", "~/cache")
    monkeypatch.setenv("KCNN_WEIGHTS_MIRROR", "~/mirror")
    with pytest.raises(DownloadError, match=f"file not found: {re.escape(str(tmp_path / 'mirror' / 'net.h5'))}"):
        download(weights)
    assert (tmp_path / "cache" / "weights").is_dir()
