"""What kcnn takes of keras-tuner, or how to install it."""

try:
    import grpc
    import keras_tuner
    from keras_tuner.engine.base_tuner import BaseTuner
    from keras_tuner.engine.trial import Trial as Proposed
    from keras_tuner.engine.trial import TrialStatus
except ModuleNotFoundError as error:
    raise ImportError(f'a search takes {error.name}, which is not installed: pip install "kcnn[search]"') from None

__all__ = ["BaseTuner", "Proposed", "TrialStatus", "grpc", "keras_tuner"]
