from .pages import (
    write_experiment_report as write_experiment_report,
)
from .pages import (
    write_report as write_report,
)
from .significance import (
    compare_runs as compare_runs,
)
