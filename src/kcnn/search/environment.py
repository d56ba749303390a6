"""keras-tuner's environment variables, which make a process the chief of a search or a worker. No Keras here."""

import os

ID, IP, PORT = "KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"
CHIEF = "chief"  # keras-tuner's name of the chief


def is_worker() -> bool:
    """Return whether keras-tuner's environment variables make this process the worker of a chief elsewhere."""
    return IP in os.environ and CHIEF not in os.environ.get(ID, CHIEF)


def is_chief() -> bool:
    """Return whether keras-tuner's environment variables make this process the chief of workers elsewhere."""
    return IP in os.environ and CHIEF in os.environ.get(ID, "")


def name_worker() -> str:
    """Return the name of this process in a search, by keras-tuner's environment variables where they are set."""
    return os.environ.get(ID, "tuner0")
