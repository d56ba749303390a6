"""The commands that need no TensorFlow, as a person types them."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from rich.console import Console

import kcnn
from kcnn.cli import app, console
from kcnn.cli.options import choose_input_shape
from kcnn.graph.formatting import format_number
from kcnn.keras_bridge import backends
from kcnn.weights.downloads import DownloadError, download


def test_show_spinner_draws_before_stderr_is_redirected(monkeypatch):
    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, _environ={"TERM": "xterm", "COLUMNS": "80"})
    monkeypatch.setattr(console, "err", terminal)
    with console.show_spinner("loading Keras"):
        drawn = shown.getvalue()
    assert "loading Keras" in drawn


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


@pytest.mark.parametrize("words", ["diff alexnet", pytest.param("transfer -n", marks=pytest.mark.every)])
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


BY_KCNN = ({"TF_CONFIG": json.dumps(TWO_WORKERS)}, "TF_CONFIG (kcnn launch sets it)")
SEARCH = ("search", "stack", "--data", "digits", "--input-size", "8x8x1")


@pytest.mark.parametrize(
    ("words", "variables", "source"),
    [
        (SEARCH, *BY_KCNN),
        (SEARCH, TASKS, "srun"),
        ((*SEARCH, "--strategy", "single"), *BY_KCNN),
        (("train", "stack", "--data", "digits", "--input-size", "8x8x1", "--folds", "5"), *BY_KCNN),
        (("transfer",), *BY_KCNN),
        (("choose", "--data", "digits"), *BY_KCNN),
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


def test_cli_help_has_no_line_break_of_a_docstring():
    for name, info in typer.main.get_command(app).commands.items():
        assert "\n" not in info.help.replace("\n\n", ""), name


def test_format_number_counts_one_in_the_singular():
    assert [format_number(number, "epoch") for number in (0, 1, 1500)] == ["0 epochs", "1 epoch", "1,500 epochs"]


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
        (["--weights", "mobilenet_v1=a.h5"], "weights file not found: a.h5"),
        (["--weights", "mobilenet_v1=imagenet", "--input-size", "0"], "invalid --input-size '0'"),
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
        (["--folds", "1"], "1 is not in the range x>=2"),
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


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--folds", "1"], "1 is not in the range x>=2"),
        (["--folds", "150"], "150 folds need at least 150 images of every class outside the test split, and class '0'"),
        (["--folds", "5", "--strategy", "multiworker"], 'folds cannot be combined with strategy "multiworker"'),
    ],
)
def test_cli_search_refuses_folds_that_cannot_work_before_keras_is_loaded(words, says, command, monkeypatch, tmp_path):
    monkeypatch.setattr("kcnn.cli.search.start_backend", lambda *_: pytest.fail("the folds are checked first"))
    shared = ("--data", "digits:0-1", "--input-size", "8x8x1", "--out", str(tmp_path / "out"))
    done = command("search", "stack", *shared, *words)
    assert (done.returncode, (tmp_path / "out").exists()) == (2, False)
    assert says in " ".join(done.stderr.replace("│", "").split())


@pytest.mark.parametrize("name", ["train", "search"])
def test_cli_refuses_weights_that_are_not_there_before_keras_is_loaded(name, command, monkeypatch, tmp_path):
    monkeypatch.setattr(f"kcnn.cli.{name}.start_backend", lambda *_: pytest.fail("the file is looked for first"))
    shared = ("--data", "digits:0-1", "--input-size", "8x8x1", "--out", str(tmp_path / "out"))
    done = command(name, "stack", *shared, "--weights", "nothing.h5")
    assert (done.returncode, (tmp_path / "out").exists()) == (2, False)
    assert "weights file not found: nothing.h5" in done.stderr


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
