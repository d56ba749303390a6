"""What kcnn uses of keras-tuner, with a hint where it is not installed."""

try:
    import grpc
    import keras_tuner
    from keras_tuner.engine.base_tuner import BaseTuner
    from keras_tuner.engine.hyperparameters import Fixed
    from keras_tuner.engine.trial import Trial as Proposal
    from keras_tuner.engine.trial import TrialStatus
except ModuleNotFoundError as error:
    raise ImportError(f'kcnn.search needs {error.name}, which is not installed: pip install "kcnn[search]"') from None

__all__ = ["BaseTuner", "Fixed", "Proposal", "TrialStatus", "grpc", "keras_tuner"]
