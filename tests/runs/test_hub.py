"""Networks and weights by their address on the Hub, from a server that answers as it does."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

import kcnn
from kcnn.testing.checks import compute_logits
from kcnn.weights.hub_files import fetch_hub_file
from tests.hub import COMMIT, serve
from tests.keras.test_parity_torch import NETWORKS, build_state, relative_difference
from tests.parity.seeded import CLASSES, pixels

constants = pytest.importorskip("huggingface_hub.constants")
RESNET = {
    "architecture": "resnet18",
    "num_classes": CLASSES,
    "pretrained_cfg": {
        "input_size": [3, 97, 131],
        "interpolation": "bicubic",
        "crop_pct": 0.95,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "license": "apache-2.0",
    },
}


def change(config, **about):
    return {**config, "pretrained_cfg": {**config["pretrained_cfg"], **about}}


def encode(config):
    return json.dumps(config).encode()


@pytest.fixture(scope="module")
def weights():
    return save(build_state("resnet18.torchvision"))


@pytest.fixture
def hub(tmp_path, monkeypatch, weights):
    server = serve()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    server.add("timm/resnet18.a1_in1k", {"config.json": encode(RESNET), "model.safetensors": weights})
    yield server
    server.shutdown()


def predict(model):
    return compute_logits(model, pixels(97, 131))


def test_build_by_address_gives_timms_logits_and_pins_the_commit(hub):
    model = kcnn.build("hf://timm/resnet18.a1_in1k")
    assert relative_difference(predict(model), NETWORKS["resnet18.torchvision"]["outputs"][-1]["logits"]) <= 1e-4
    spec = model.metadata["spec"]
    assert spec["network"] == "resnet18.torchvision"
    assert model.metadata["weights"] == {
        "name": "timm/resnet18.a1_in1k",
        "source": "huggingface.co, timm/resnet18.a1_in1k",
        "url": f"hf://timm/resnet18.a1_in1k@{COMMIT}",
        "license": "apache-2.0",
    }
    assert model.metadata["preprocessing"] == {"resize": 102, "crop": 97, "interpolation": "bicubic"}


@pytest.mark.every
def test_build_by_address_takes_a_revision_and_other_classes(hub, weights):
    hub.add("timm/resnet18.a1_in1k", {"config.json": encode(RESNET), "model.safetensors": weights}, "v2")
    model = kcnn.build("hf://timm/resnet18.a1_in1k@v2", classes=3, input_shape=(64, 64, 3))
    assert model.output_shape == (None, 3)
    np.testing.assert_array_equal(
        model.get_layer("stem").get_weights()[0],
        build_state("resnet18.torchvision")["conv1.weight"].transpose(2, 3, 1, 0),
    )


def test_build_with_weights_by_address(hub):
    model = kcnn.build(
        "resnet18.torchvision", classes=CLASSES, input_shape=(97, 131, 3), weights="hf://timm/resnet18.a1_in1k"
    )
    assert relative_difference(predict(model), NETWORKS["resnet18.torchvision"]["outputs"][-1]["logits"]) <= 1e-4
    assert "weights" not in model.metadata["spec"]


def test_build_by_address_of_a_checkpoint_without_a_classifier_gives_its_features(hub):
    state = build_state("resnet18.torchvision")
    backbone = {name: array for name, array in state.items() if not name.startswith("fc.")}
    config = change({**RESNET, "num_classes": 0}, num_classes=0)
    hub.add("someone/backbone", {"config.json": encode(config), "model.safetensors": save(backbone)})
    model = kcnn.build("hf://someone/backbone", top=False, pooling="avg")
    np.testing.assert_array_equal(
        predict(model), predict(kcnn.build("hf://timm/resnet18.a1_in1k", top=False, pooling="avg"))
    )
    assert kcnn.build("hf://someone/backbone", classes=3).output_shape == (None, 3)
    with pytest.raises(ValueError, match=r"missing logits/kernel .*; for a new head, build with top=False or"):
        kcnn.build("hf://someone/backbone")


def test_build_by_address_folds_another_mean_and_deviation(hub, weights):
    config = change(RESNET, mean=[0.5, 0.4, 0.3], std=[0.1, 0.2, 0.3])
    hub.add("someone/other", {"config.json": encode(config), "model.safetensors": weights})
    model = kcnn.build("hf://someone/other")
    same = kcnn.build("hf://timm/resnet18.a1_in1k")
    x = pixels(97, 131) / 255
    moved = (x - [0.5, 0.4, 0.3]) / [0.1, 0.2, 0.3] * [0.229, 0.224, 0.225] + [0.485, 0.456, 0.406]
    np.testing.assert_allclose(
        model.predict(x * 255, verbose=0), same.predict(moved * 255, verbose=0), rtol=1e-3, atol=1e-3
    )
    with pytest.raises(ValueError, match=r"scales pixels by .*kcnn\.build\('hf://someone/other"):
        kcnn.build("resnet18.torchvision", classes=CLASSES, weights="hf://someone/other")


def test_predict_by_address_squashes_images_where_timm_does(hub, weights):
    config = change(RESNET, crop_mode="squash", crop_pct=1.0)
    hub.add("someone/squashed", {"config.json": encode(config), "model.safetensors": weights})
    model = kcnn.build("hf://someone/squashed")
    expected = {"resize": 97, "crop": 97, "interpolation": "bicubic", "crop_mode": "squash"}
    assert model.metadata["preprocessing"] == expected
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 100, 3), "uint8"))
    squashed = np.asarray(image.resize((131, 97), Image.Resampling.BICUBIC))
    (logits,) = model.predict(squashed[None].astype("float32"), verbose=0)
    expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    np.testing.assert_allclose(kcnn.predict(model, image).probabilities[0], expected, rtol=1e-4, atol=1e-30)


@pytest.mark.every
def test_build_by_address_reads_pytorch_files_where_there_is_no_safetensors(hub):
    path = os.path.join(os.path.dirname(__file__), "..", "parity", "archive.pth")
    with open(path, "rb") as file:
        hub.add("someone/old", {"config.json": encode(RESNET), "pytorch_model.bin": file.read()})
    with pytest.raises(ValueError, match=r"pytorch_model\.bin belongs to another network"):
        kcnn.build("hf://someone/old")


def test_build_by_address_names_a_license_that_forbids_commercial_use(hub, weights, capsys):
    config = change(RESNET, license="cc-by-nc-4.0")
    hub.add("someone/nc", {"config.json": encode(config), "model.safetensors": weights})
    kcnn.build("hf://someone/nc")
    assert capsys.readouterr().err.count("license cc-by-nc-4.0, which forbids commercial use") == 1


def test_build_by_address_takes_the_license_of_the_model_card_where_the_config_has_none(hub, weights, capsys):
    about = {name: value for name, value in RESNET["pretrained_cfg"].items() if name != "license"}
    files = {"config.json": encode({**RESNET, "pretrained_cfg": about}), "model.safetensors": weights}
    cards = {
        "cc-by-nc-4.0": {"README.md": b"---\nlicense: cc-by-nc-4.0\n---\n# A model\n"},
        "not stated": {"README.md": b"# A model\n"},
        "not stated ": {},
    }
    for number, (license, card) in enumerate(cards.items()):
        hub.add(f"someone/model{number}", {**files, **card})
        model = kcnn.build(f"hf://someone/model{number}")
        assert model.metadata["weights"]["license"] == license.strip()
        assert ("which forbids commercial use" in capsys.readouterr().err) == ("nc" in license)
    model = kcnn.build("hf://timm/resnet18.a1_in1k")
    assert model.metadata["weights"]["license"] == "apache-2.0"
    assert not [path for _, path, _ in hub.requests if "resnet18" in path and "README" in path]


def test_download_of_a_damaged_file_is_refused_and_tried_again(hub):
    hub.damaged.add("model.safetensors")
    for _ in range(2):
        with pytest.raises(OSError, match=r"model\.safetensors did not match its checksum"):
            kcnn.build("hf://timm/resnet18.a1_in1k")
    hub.damaged.clear()
    kcnn.build("hf://timm/resnet18.a1_in1k")


def test_build_by_address_needs_no_network_for_what_is_cached(hub, weights, monkeypatch):
    kcnn.build("hf://timm/resnet18.a1_in1k")
    about = {name: value for name, value in RESNET["pretrained_cfg"].items() if name != "license"}
    plain = {"config.json": encode({**RESNET, "pretrained_cfg": about}), "model.safetensors": weights}
    hub.add("someone/plain", {**plain, "README.md": b"---\nlicense: mit\n---\n"})
    for file in ("config.json", "model.safetensors"):
        fetch_hub_file("hf://someone/plain", file)
    hub.shutdown()
    hub.server_close()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    kcnn.build("hf://timm/resnet18.a1_in1k")
    plain = kcnn.build("hf://someone/plain")
    assert plain.metadata["weights"]["license"] == "unknown, as README.md cannot be read"
    with pytest.raises(OSError, match=r"HF_HUB_OFFLINE is set; cached are someone/plain, timm/resnet18\.a1_in1k"):
        kcnn.build("hf://timm/resnet50.a1_in1k")


def test_download_without_a_network_names_the_revisions_that_are_cached(hub, monkeypatch):
    for name, revision in (("tagged", "v2"), ("pinned", COMMIT), ("both", "v2"), ("both", "main")):
        hub.add(f"someone/{name}", {"config.json": encode(RESNET)}, revision)
        fetch_hub_file(f"hf://someone/{name}@{revision}", "config.json")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cached = f"someone/both, someone/both@v2, someone/pinned@{COMMIT}, someone/tagged@v2$"
    with pytest.raises(OSError, match=f"config.json is not cached, and HF_HUB_OFFLINE is set; cached are {cached}"):
        fetch_hub_file("hf://someone/tagged", "config.json")


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        ((401, "RepoNotFound"), "there is no someone/closed on the Hub, or it is private; then set HF_TOKEN"),
        ((403, "GatedRepo"), "accept its terms on the Hub"),
        ((404, "RepoNotFound"), "there is no someone/closed"),
        ((429, ""), "config.json is not cached, and the Hub does not give it .*429"),
        ((500, ""), "config.json is not cached, and the Hub does not give it .*500"),
    ],
)
def test_build_by_address_reports_a_refusal_in_one_line(hub, refusal, says, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.refusals["someone/closed"] = refusal
    with pytest.raises(OSError, match=says) as error:
        kcnn.build("hf://someone/closed")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("hf://", "expected hf://USER/NAME"),
        ("hf://timm", "expected hf://USER/NAME"),
        ("hf://../../etc", "expected hf://USER/NAME"),
        ("hf://timm/resnet18.a1_in1k@", "expected hf://USER/NAME"),
        ("hf://timm/resnet18.a1_in1k@gone", "has no revision 'gone'"),
    ],
)
def test_build_by_a_wrong_address_reports_it(hub, address, says):
    with pytest.raises((ValueError, OSError), match=says):
        kcnn.build(address)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (b"{", "not that of a timm checkpoint"),
        (b"[]", "not that of a timm checkpoint"),
        (b'{"architecture": "resnet18"}', "KeyError: 'pretrained_cfg'"),
        (encode(change(RESNET, std=[0, 1, 1])), "not positive"),
        (encode(change(RESNET, crop_pct=2)), "larger than the image"),
        (encode(change(RESNET, input_size=3)), "not that of a timm checkpoint"),
        (encode({**RESNET, "architecture": "resnet19"}), "unknown timm architecture 'resnet19'.*resnet18"),
        (encode({**RESNET, "architecture": 3}), "not that of a timm checkpoint"),
    ],
)
def test_build_by_address_refuses_an_odd_config(hub, config, says):
    hub.add("someone/odd", {"config.json": config})
    with pytest.raises(ValueError, match=says):
        kcnn.build("hf://someone/odd")


def test_build_by_address_without_a_file_of_weights_names_those_that_it_reads(hub):
    hub.add("someone/empty", {"config.json": encode(RESNET)})
    with pytest.raises(OSError, match=r"has neither model\.safetensors nor pytorch_model\.bin"):
        kcnn.build("hf://someone/empty")


@pytest.mark.every
def test_build_by_address_sends_the_token_of_the_environment(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    kcnn.build("hf://timm/resnet18.a1_in1k")
    assert all(token == "Bearer hf_secret" for _, path, token in hub.requests if not path.startswith("/cdn"))


def test_cli_predict_by_address_reads_the_environment(hub, tmp_path):
    Image.new("RGB", (150, 150), "red").save(tmp_path / "red.png")
    env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "cli"), "HF_TOKEN": ""}
    command = [
        sys.executable,
        "-m",
        "kcnn",
        "predict",
        "hf://timm/resnet18.a1_in1k",
        str(tmp_path / "red.png"),
        "--json",
    ]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "red.png" in done.stdout


def test_build_by_address_without_huggingface_hub_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r'pip install "kcnn\[hub\]"'):
        kcnn.build("hf://timm/resnet18.a1_in1k")
