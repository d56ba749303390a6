"""The program `kcnn`, also `python -m kcnn`."""

import signal


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
    finally:
        if is_default:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    main()
