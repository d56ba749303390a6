"""The program `kcnn`, also `python -m kcnn`."""

import atexit
import os
import signal
import sys


def main() -> None:
    """Run the command line. Ctrl-C ends it without a traceback, also while modules load and at the exit."""
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not of a job in the background
    if is_default:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from kcnn.cli import main as run

    if is_default:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run()
    except KeyboardInterrupt:  # a second one, while an error or the first one is reported
        is_default = False
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
    except SystemExit as stop:
        if is_default:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        _exit_without_teardown(stop.code)
        raise
    finally:
        if is_default:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _exit_without_teardown(code: object) -> None:
    """End the process now if TensorFlow is loaded, which frees its memory piece by piece: a second of each command.

    Functions registered with atexit run. Workers that train together take leave of each other in the teardown, and a
    code that is text, or a screen that is gone, is left to Python.
    """
    if "tensorflow" not in sys.modules or "TF_CONFIG" in os.environ or not isinstance(code, int | None):
        return
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return
    os._exit(code or 0)


if __name__ == "__main__":
    main()
