"""Hyperband of keras-tuner as a sampler; its private attributes are used here only.

keras-tuner's oracles propose what cannot be built, and keep their state in files that a kill can truncate: these
propose feasible candidates, and are brought back to where they were by the journal.
"""

from collections.abc import Collection, Mapping
from typing import Any

from kcnn.search import hyperparameters
from kcnn.search.journal import Trial
from kcnn.search.keras_tuner_api import TrialStatus, keras_tuner
from kcnn.search.samplers.random_sampler import sample_values
from kcnn.search.samplers.sampler import NoProposal, Proposal
from kcnn.search.space import Space

BANDS = 3  # Hyperband's reduction factor


class KerasTunerSampler:
    """Propose what an oracle of keras-tuner proposes.

    Args:
        oracle: A Hyperband.
    """

    def __init__(self, oracle: Any):
        self.oracle = oracle

    def propose(self, number: int, identities: Collection[str]) -> Proposal | NoProposal:
        """Return the next trial."""
        self.oracle.identities = identities
        trial = self.oracle.create_trial(str(number))  # keras-tuner's name of the worker: each has one trial
        if trial.status == TrialStatus.IDLE:
            return NoProposal.WAIT
        if trial.status != TrialStatus.RUNNING:
            return NoProposal.STOP
        values = trial.hyperparameters.values
        promoted_from = values.get("tuner/trial_id")
        return Proposal(
            number,
            hyperparameters.decode_values(self.oracle.kcnn_space, values),
            values.get("tuner/epochs"),
            None if promoted_from is None else int(promoted_from),
        )

    def restore(self, proposal: Proposal, identities: Collection[str]) -> bool:
        """Take over a trial: propose it again."""
        return self.propose(proposal.number, identities) == proposal

    def tell(self, trial: Trial) -> None:
        """Learn how a trial ended."""
        own = next(one for one in self.oracle.trials.values() if int(one.trial_id) == trial.number)
        if trial.score is None:
            own.status = TrialStatus.FAILED
        else:
            self.oracle.update_trial(own.trial_id, {self.oracle.objective.name: trial.score}, step=trial.epochs)
            own.status = TrialStatus.COMPLETED
        self.oracle.end_trial(own)


class FeasibleOracle:
    """In front of an oracle of keras-tuner: random values are those of a feasible candidate that no trial had."""

    kcnn_space: Space
    default: Mapping[str, Any]
    identities: Collection[str] = ()

    def _random_values(self) -> dict[str, Any] | None:
        number = len(self.trials)  # type: ignore[attr-defined]
        values = sample_values(self.kcnn_space, self.default, self.seed - 1, number, self.identities)  # type: ignore[attr-defined]
        return None if values is None else hyperparameters.encode_values(self.kcnn_space, values)

    def save(self, *_: Any) -> None:
        """Do nothing: the journal holds everything."""

    reload = save
    _save_trial = save


class Hyperband(FeasibleOracle, keras_tuner.oracles.HyperbandOracle):
    """Hyperband (arXiv:1603.06560); a promoted trial resumes with its weights and its optimizer's state."""


def make_hyperband(space: Space, default: Mapping[str, Any], seed: int, epochs: int) -> KerasTunerSampler:
    """Return the sampler of Hyperband.

    Args:
        space: The space.
        default: Values of the unchanged network and its recipe.
        seed: The seed.
        epochs: Epochs of a complete trial.
    """
    hp = keras_tuner.HyperParameters()
    hyperparameters.register(hp, space, default)
    oracle = Hyperband(
        max_epochs=epochs,
        factor=BANDS,
        hyperband_iterations=None,
        objective=keras_tuner.Objective("val_score", "max"),
        hyperparameters=hp,
        tune_new_entries=False,
        allow_new_entries=False,
        seed=seed + 1,  # keras-tuner takes 0 for no seed
        max_consecutive_failed_trials=None,  # only the budget ends a search
    )
    oracle.kcnn_space, oracle.default, oracle.verbose = space, default, 0
    return KerasTunerSampler(oracle)
