"""A test suite for whoever publishes an architecture: name it, and everything that kcnn relies on is checked.

    from kcnn.testing import Suite

    class TestDenseNet121(Suite):
        name = "densenet121"

What an architecture does not claim is skipped, and the reason says so.
"""

from typing import ClassVar

try:
    import pytest
except ImportError:
    raise ImportError('kcnn.testing runs under pytest: pip install "kcnn[testing]"') from None

from kcnn.testing import checks

__all__ = ["Suite"]


class Suite:
    """What every architecture must do, for the one that `name` says; subclass it as Test..."""

    name: ClassVar[str]

    def _holds(self, check, *asked):
        try:
            check(self.name, *asked)
        except checks.Skip as reason:
            pytest.skip(str(reason))

    @classmethod
    def teardown_class(cls):
        checks.clear_cache()

    def test_what_it_declares_is_so(self):
        self._holds(checks.check_declared)

    def test_layers_have_names_that_addresses_reach(self):
        self._holds(checks.check_names)

    def test_the_sketch_is_the_keras_model_layer_by_layer(self):
        self._holds(checks.check_matches_keras)

    def test_the_sketch_is_read_back_from_keras(self):
        self._holds(checks.check_from_keras)

    @pytest.mark.parametrize("channels", [1, 7])
    def test_it_is_built_at_its_smallest_size_with_any_channels_and_classes(self, channels):
        self._holds(checks.check_small_input, channels)

    def test_windows_are_changed_by_their_addresses(self):
        self._holds(checks.check_overrides)

    def test_a_gradient_reaches_every_weight(self):
        self._holds(checks.check_gradients)

    def test_it_is_saved_and_loaded(self):
        self._holds(checks.check_saved)

    def test_it_computes_in_mixed_precision(self):
        self._holds(checks.check_mixed_precision)

    def test_the_deployed_model_gives_the_same_logits(self):
        self._holds(checks.check_inference_model)

    def test_two_copies_stand_in_one_graph(self):
        self._holds(checks.check_two_copies)

    def test_it_trains_in_the_scope_of_a_mirrored_strategy(self):
        self._holds(checks.check_mirrored)

    def test_it_freezes_by_stage(self):
        self._holds(checks.check_freezing)
