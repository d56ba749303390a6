"""Names come from whatever is installed, and one bad plugin hurts only its own."""

import sys

import pytest

import kcnn
from kcnn.architectures import registry

GOOD = """
from kcnn import Architecture
from kcnn.blocks import conv
net = Architecture(backbone=lambda x: conv(x, 4, name="one"), reference="none", params=4 * 28 + 5 * 1000)
"""


def test_list_models_is_sorted_and_imports_no_plugin(install):
    install("kcnn-broken", "broken_plugin", "raise RuntimeError('boom')", shattered="net")
    assert "shattered" in kcnn.list_models()
    assert kcnn.list_models() == sorted(kcnn.list_models())
    assert "broken_plugin" not in sys.modules


def test_get_architecture_of_a_broken_plugin_raises(install):
    install("kcnn-broken", "broken_plugin", "raise RuntimeError('boom')", shattered="net")
    with pytest.raises(ImportError, match=r"'shattered' of distribution kcnn-broken does not load: RuntimeError: boom"):
        kcnn.get_architecture("shattered")
    assert kcnn.summary("vgg11").params == 132_863_336


def test_get_architecture_refuses_another_type(install):
    install("kcnn-wrong", "wrong_plugin", "net = 3", wrong="net")
    with pytest.raises(
        TypeError, match=r"wrong_plugin:net of distribution kcnn-wrong must be a kcnn.Architecture, got int"
    ):
        kcnn.get_architecture("wrong")


def test_get_architecture_finds_a_foreign_plugin(install):
    install("kcnn-rival", "rival_plugin", GOOD, tinynet="net")
    assert kcnn.summary("tinynet").params == kcnn.get_architecture("tinynet").params


def test_get_architecture_of_an_ambiguous_name_needs_a_prefix(install):
    install("kcnn-rival", "rival_plugin", GOOD, vgg11="net")
    with pytest.raises(ValueError, match=r"'vgg11' is published by kcnn and kcnn-rival; use \"kcnn:vgg11\""):
        kcnn.trace("vgg11")
    assert kcnn.summary("kcnn:vgg11").params == 132_863_336
    assert kcnn.summary("kcnn-rival:vgg11").params == 5112
    with pytest.raises(ValueError, match=r"distribution 'nobody' does not publish 'vgg11'"):
        kcnn.trace("nobody:vgg11")


def test_get_architecture_of_an_unknown_name_suggests_names():
    with pytest.raises(ValueError, match=r"unknown network 'gogglenet'. Did you mean 'googlenet'"):
        kcnn.trace("gogglenet")


def test_get_architecture_of_an_unknown_variant_suggests_names():
    with pytest.raises(ValueError, match=r"googlenet: unknown variant 'torch'. Did you mean 'torchvision'"):
        kcnn.trace("googlenet.torch")
    with pytest.raises(ValueError, match=r"inception_v2: unknown variant 'keras'; there are none"):
        kcnn.trace("inception_v2.keras")


def test_get_architecture_without_any_network_explains_how_to_install(monkeypatch):
    monkeypatch.setattr(registry, "discover", dict)
    with pytest.raises(LookupError, match=r"pip install"):
        kcnn.get_architecture("vgg11")


def test_trace_refuses_a_network_that_is_not_a_name():
    with pytest.raises(TypeError, match=r"network must be a name or a kcnn.Architecture, got 16"):
        kcnn.trace(16)
