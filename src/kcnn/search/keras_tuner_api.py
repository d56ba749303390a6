"""What kcnn uses of keras-tuner, with a hint where it is not installed."""

try:
    import grpc
    import keras_tuner
    from keras_tuner.engine.hyperparameters import Fixed
    from keras_tuner.engine.trial import Trial, TrialStatus
    from keras_tuner.src.distribute.oracle_chief import start_server
    from keras_tuner.src.distribute.oracle_client import OracleClient
except ModuleNotFoundError as error:
    raise ImportError(f'kcnn.search needs {error.name}, which is not installed: pip install "kcnn[search]"') from None

__all__ = ["Fixed", "OracleClient", "Trial", "TrialStatus", "grpc", "keras_tuner", "start_server"]
