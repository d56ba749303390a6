"""What kcnn uses of keras-tuner, with a hint where it is not installed."""

import os

try:
    import grpc
    import keras_tuner
    from keras_tuner.engine.base_tuner import BaseTuner
    from keras_tuner.engine.trial import Trial as Proposal
    from keras_tuner.engine.trial import TrialStatus
except ModuleNotFoundError as error:
    raise ImportError(f'kcnn.search needs {error.name}, which is not installed: pip install "kcnn[search]"') from None

__all__ = ["CHIEF", "ID", "IP", "PORT", "BaseTuner", "Proposal", "TrialStatus", "grpc", "is_worker", "keras_tuner"]
ID, IP, PORT = "KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"  # keras-tuner's variables
CHIEF = "chief"  # keras-tuner's name of the chief


def is_worker() -> bool:
    """Return whether keras-tuner's environment variables make this process the worker of a chief elsewhere."""
    return IP in os.environ and CHIEF not in os.environ.get(ID, CHIEF)
