"""A scheduler served to workers in other processes: keras-tuner's gRPC server and client carry the messages.

A proposal travels as JSON in a hyperparameter of keras-tuner's trial.
"""

from collections.abc import Mapping
from typing import Any

from kcnn.search.journal import STATUSES
from kcnn.search.keras_tuner_api import OracleClient, TrialStatus, grpc, keras_tuner, start_server
from kcnn.search.keras_tuner_api import Trial as Message
from kcnn.search.samplers.sampler import NoProposal, Proposal
from kcnn.search.scheduler import Scheduler, decode_proposal, encode_proposal

SEARCH, PROPOSAL = "kcnn/search", "kcnn/proposal"  # hyperparameters of a message: hash of the request, and JSON
SCORE, OUTCOME, SECONDS = "score", "outcome", "seconds"  # metrics of a message
SIGNALS = {NoProposal.WAIT: TrialStatus.IDLE, NoProposal.STOP: TrialStatus.STOPPED}


class SearchMismatchError(ValueError):
    """Raised in a worker whose chief runs another search."""


def serve(scheduler: Scheduler, identity: str) -> None:
    """Serve a scheduler to workers, at the address of keras-tuner's environment variables, until the search has ended.

    Args:
        scheduler: The scheduler.
        identity: Hash of the request.
    """
    start_server(ServedScheduler(scheduler, identity))


class ServedScheduler:
    """A scheduler as keras-tuner's server calls an oracle.

    Args:
        scheduler: The scheduler.
        identity: Hash of the request.
    """

    def __init__(self, scheduler: Scheduler, identity: str):
        self.scheduler, self.identity = scheduler, identity
        self.tuner_ids: set[str] = set()  # the workers; the server ends when all were told to stop

    @property
    def ongoing_trials(self) -> Mapping[str, int]:
        """The trials that are being run, by worker."""
        return self.scheduler.running

    def create_trial(self, tuner_id: str) -> Any:
        """Return a message with the next trial of a worker."""
        proposal = self.scheduler.ask(tuner_id)
        if isinstance(proposal, Proposal):
            self.tuner_ids.add(tuner_id)
            values = {SEARCH: self.identity, PROPOSAL: encode_proposal(proposal)}
            return _make_message(values, str(proposal.number), TrialStatus.RUNNING)
        if proposal is NoProposal.STOP:
            self.tuner_ids.discard(tuner_id)
        else:
            self.tuner_ids.add(tuner_id)
        return _make_message({}, "", SIGNALS[proposal])

    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> Any:
        """Pass on the score of an epoch, or the end of a trial; the status of the answer tells whether it goes on."""
        number = int(trial_id)
        if OUTCOME in metrics:
            measured = {name: value for name, value in metrics.items() if name not in (OUTCOME, SECONDS)}
            self.scheduler.end(number, STATUSES[int(metrics[OUTCOME])], metrics[SECONDS], measured)
            return _make_message({}, trial_id, TrialStatus.COMPLETED)
        continues = self.scheduler.tell(number, int(step), metrics[SCORE])
        return _make_message({}, trial_id, TrialStatus.RUNNING if continues else TrialStatus.STOPPED)


class RemoteScheduler:
    """The scheduler of the chief at the address of keras-tuner's environment variables.

    Args:
        identity: Hash of the request of this worker.
    """

    def __init__(self, identity: str):
        self.identity, self.client = identity, OracleClient(None)

    def ask(self, worker: str) -> Proposal | NoProposal:
        """Return the trial that this worker runs next.

        Args:
            worker: Its name.

        Raises:
            SearchMismatchError: The chief runs another search.
            grpc.RpcError: The chief is gone.
        """
        message = self.client.create_trial(worker)
        for signal, status in SIGNALS.items():
            if message.status == status:
                return signal
        values = message.hyperparameters.values
        if values.get(SEARCH) != self.identity:
            raise SearchMismatchError(
                "the chief runs another search: its space, data, recipe, precision or seed differ from this worker's; "
                "run the same command on all machines, with the same --precision where their devices differ"
            )
        return decode_proposal(values[PROPOSAL])

    def tell(self, number: int, epoch: int, score: float) -> bool:
        """Report the score of an epoch, and return whether the trial goes on.

        Args:
            number: Number of the trial.
            epoch: The epoch, from 1.
            score: Its score.

        Raises:
            ConnectionError: The chief is gone.
        """
        try:
            answer = self.client.update_trial(str(number), {SCORE: score}, step=epoch)
        except grpc.RpcError as error:  # not an error of the trial
            raise ConnectionError(f"the chief of this search is gone: {error}") from None
        return answer.status != TrialStatus.STOPPED

    def end(self, number: int, status: str, seconds: float, measured: Mapping[str, float]) -> None:
        """Report how a trial ended.

        Args:
            number: Number of the trial.
            status: One of kcnn.search.journal.STATUSES.
            seconds: Seconds of work.
            measured: Values of the objectives beside the score that this worker has measured, by key.
        """
        outcome = {OUTCOME: float(STATUSES.index(status)), SECONDS: seconds}
        self.client.update_trial(str(number), {**measured, **outcome})


def _make_message(values: Mapping[str, str], trial_id: str, status: str) -> Any:
    hp = keras_tuner.HyperParameters()
    hp.values = dict(values)
    return Message(hyperparameters=hp, trial_id=trial_id, status=status)
