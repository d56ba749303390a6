"""Tests for authors of plugins: name an architecture, and pytest checks all that kcnn requires of it.

    from kcnn.testing import Suite

    class TestDenseNet121(Suite):
        name = "densenet121"

A test is skipped, with the reason, where the architecture does not support a feature.
"""

from collections.abc import Callable
from typing import Any, ClassVar

try:
    import pytest
except ImportError:
    raise ImportError('kcnn.testing needs pytest: pip install "kcnn[testing]"') from None

from kcnn.testing import checks

__all__ = ["Suite"]


class Suite:
    """Test an architecture: subclass this as Test... and set `name`.

    Attributes:
        name: Name of the network, such as "densenet121" or "densenet121.keras".
    """

    name: ClassVar[str]

    def _run(self, check: Callable[..., None], *arguments: Any) -> None:
        try:
            check(self.name, *arguments)
        except checks.CheckSkippedError as reason:
            pytest.skip(str(reason))

    @classmethod
    def teardown_class(cls) -> None:
        """Free the memory of the models."""
        checks.clear_cache()

    def test_declared_values_are_right(self) -> None:
        """Compare declared parameters, MACs, receptive field, minimum input and weights with the network."""
        self._run(checks.check_declared)

    def test_every_trace_is_the_same(self) -> None:
        """Trace the network many times, and in several processes."""
        self._run(checks.check_deterministic)

    def test_layer_names_are_addresses(self) -> None:
        """Check that each layer has a unique name of lowercase letters, digits and "_"."""
        self._run(checks.check_names)

    def test_keras_model_matches_the_graph(self) -> None:
        """Compare the Keras model with the graph, layer by layer, at the standard size."""
        self._run(checks.check_matches_keras)

    def test_graph_is_read_back_from_keras(self) -> None:
        """Compare the graph that is read from the Keras model with the traced one."""
        self._run(checks.check_from_keras)

    @pytest.mark.parametrize("channels", [1, 7])
    def test_builds_at_the_minimum_size(self, channels: int) -> None:
        """Build at the minimum input size, with other channels and classes."""
        self._run(checks.check_small_input, channels)

    def test_overrides_change_one_layer(self) -> None:
        """Override kernels by address."""
        self._run(checks.check_overrides)

    def test_gradients_reach_every_weight(self) -> None:
        """Take one training step."""
        self._run(checks.check_gradients)

    def test_saved_model_loads(self) -> None:
        """Save the model, load it, and compare its logits."""
        self._run(checks.check_saved)

    def test_mixed_precision(self) -> None:
        """Compute in bfloat16 with float32 weights and logits."""
        self._run(checks.check_mixed_precision)

    def test_inference_model_gives_the_same_logits(self) -> None:
        """Compare the model optimized for inference with the original."""
        self._run(checks.check_inference_model)

    def test_two_copies_in_one_graph(self) -> None:
        """Build two copies with prefixes in one model."""
        self._run(checks.check_two_copies)

    def test_trains_in_a_mirrored_strategy(self) -> None:
        """Take one training step in the scope of a MirroredStrategy."""
        self._run(checks.check_mirrored)

    def test_freezes_by_stage(self) -> None:
        """Freeze all but the head, then thaw the last stage, then everything."""
        self._run(checks.check_freezing)
