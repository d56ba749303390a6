"""kcnn.distribute.launch and detect_cluster: workers find each other, and end together."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from kcnn.distribute import cluster, launch

SLEEP = "import time; time.sleep(120)"


def python(code):
    return [sys.executable, "-c", code]


def gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def soon(condition):
    for _ in range(400):
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_launch_gives_each_worker_its_cluster_and_numbers_its_lines(capfd):
    code = "import os, sys; print(os.environ['TF_CONFIG']); print('aside', file=sys.stderr)"
    assert launch(3, python(code)) == 0
    out, err = capfd.readouterr()
    lines = [line.split(" | ", 1) for line in out.splitlines()]
    configs = {prefix: json.loads(text) for prefix, text in lines}
    assert set(configs) == {"worker 0", "worker 1", "worker 2"}
    assert [configs[f"worker {n}"]["task"] for n in range(3)] == [{"type": "worker", "index": n} for n in range(3)]
    addresses = configs["worker 0"]["cluster"]["worker"]
    assert len(set(addresses)) == 3
    assert all(one.startswith("127.0.0.1:") for one in addresses)
    assert all(config["cluster"] == configs["worker 0"]["cluster"] for config in configs.values())
    assert sorted(err.splitlines()) == [f"worker {n} | aside" for n in range(3)]


def test_launch_stops_all_workers_and_their_children_when_one_fails(tmp_path, capfd):
    code = f"""
import json, os, pathlib, subprocess, sys, time
here = pathlib.Path({str(tmp_path)!r})
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}])
(here / f"{{index}}.new").write_text(f"{{os.getpid()}} {{child.pid}}")
(here / f"{{index}}.new").rename(here / f"{{index}}.pids")
while len(list(here.glob("*.pids"))) < 3:
    time.sleep(0.01)
if index == 1:
    sys.exit(7)
time.sleep(120)
"""
    begun = time.perf_counter()
    assert launch(3, python(code)) == 7
    assert time.perf_counter() - begun < 60
    assert "worker 1 failed with exit code 7; stopping the other workers" in capfd.readouterr().err
    pids = [int(pid) for path in tmp_path.glob("*.pids") for pid in path.read_text().split()]
    assert len(pids) == 6
    assert soon(lambda: all(map(gone, pids)))


def test_launch_names_the_signal_that_killed_a_worker(capfd):
    code = "import json, os, time; json.loads(os.environ['TF_CONFIG'])['task']['index'] or os.kill(os.getpid(), 9)"
    assert launch(2, python(f"{code}; time.sleep(120)")) == 128 + 9
    assert "worker 0 was killed by SIGKILL; stopping the other workers" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGINT, "interrupted"),
        (signal.SIGTERM, "terminated"),
        (signal.SIGHUP, "closed"),
        (signal.SIGQUIT, "quit"),
    ],
)
def test_launch_passes_signals_on_and_leaves_no_process(number, said):
    worker = f"""
import os, signal, sys, time
def tell(number, frame):
    os.write(1, {{1: b"closed\\n", 2: b"interrupted\\n", 3: b"quit\\n", 15: b"terminated\\n"}}[number])
    os._exit(1)
[signal.signal(kind, tell) for kind in (1, 2, 3, 15)]
print(os.getpid(), flush=True)
{SLEEP}
"""
    code = f"import signal, sys; signal.signal({int(number)}, signal.SIG_DFL); from kcnn.distribute import launch; "
    code += f"sys.exit(launch(2, {python(worker)!r}))"
    process = subprocess.Popen(python(code), stdout=subprocess.PIPE, text=True)
    pids = [int(process.stdout.readline().rpartition(" ")[2]) for _ in range(2)]
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert sorted(out.splitlines()) == [f"worker {n} | {said}" for n in range(2)]
    assert all(map(gone, pids))


def test_launch_kills_a_worker_that_ignores_sigterm(monkeypatch, capfd):
    monkeypatch.setattr("kcnn.distribute.processes.GRACE", 1.0)
    deaf = "import json, os, signal, sys, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True)"
    code = (
        f"{deaf}; json.loads(os.environ['TF_CONFIG'])['task']['index'] and (time.sleep(2), sys.exit(5)); time.sleep(99)"
    )
    begun = time.perf_counter()
    assert launch(2, python(code)) == 5
    assert time.perf_counter() - begun < 30


def test_assign_gpus_splits_gpus_evenly_and_refuses_too_few(monkeypatch, capfd):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,5")
    assert launch(2, python("import os; print(os.environ['CUDA_VISIBLE_DEVICES'])")) == 0
    assert sorted(capfd.readouterr().out.splitlines()) == ["worker 0 | 0,1", "worker 1 | 2,5"]
    with pytest.raises(ValueError, match="5 workers need a GPU each, found 4"):
        launch(5, python("pass"))


def test_launch_refuses_no_workers_and_commands_that_cannot_start():
    with pytest.raises(ValueError, match="workers must be an integer from 1 to 128, got 0"):
        launch(0, python("pass"))
    with pytest.raises(ValueError, match="missing command"):
        launch(2, [])
    with pytest.raises(FileNotFoundError, match="no-such-command"):
        launch(2, ["no-such-command"])


def test_launch_loads_no_tensorflow():
    code = (
        "from kcnn.distribute import launch, cluster; import sys;"
        "launch(1, ['true']); cluster.detect_cluster(); assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run(python(code), check=True, env={**os.environ, "TF_CONFIG": ""})


@pytest.mark.parametrize(
    ("nodes", "wanted"),
    [
        ("n[01-03,7]", ["n01", "n02", "n03", "n7"]),
        ("login", ["login"]),
        ("a,b[9-11],c-d", ["a", "b9", "b10", "b11", "c-d"]),
        ("r[1-2]n[3,5]x", ["r1n3x", "r1n5x", "r2n3x", "r2n5x"]),
    ],
)
def test_expand_hosts_expands_node_lists(nodes, wanted):
    assert cluster.expand_hosts(nodes) == wanted


@pytest.mark.parametrize("nodes", ["n[1-", "n[3-1]", "n[a]", "", "n,,m", "n]1["])
def test_expand_hosts_refuses_an_invalid_node_list_with_an_example(nodes):
    with pytest.raises(ValueError, match=r"invalid node list .* like"):
        cluster.expand_hosts(nodes)


SLURM = {
    "SLURM_JOB_ID": "16003",
    "SLURM_STEP_NODELIST": "n[1-2],m",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
}


def test_detect_cluster_orders_slurm_tasks_by_node():
    found = cluster.detect_cluster({**SLURM, "SLURM_PROCID": "3"})
    assert found.workers == ("n1:16003", "n1:16004", "n2:16003", "n2:16004", "m:16003")
    assert found.index == 3
    assert cluster.detect_cluster({**SLURM, "SLURM_PROCID": "3"}, port=700).workers[-1] == "m:700"
    cyclic = {**SLURM, "SLURM_PROCID": "1", "SLURM_NODEID": "1", "SLURM_LOCALID": "0"}
    assert cluster.detect_cluster(cyclic).index == 2
    assert json.loads(found.config)["task"] == {"type": "worker", "index": 3}


def test_detect_cluster_ignores_slurm_outside_a_step_of_several_tasks():
    assert cluster.detect_cluster({**SLURM, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}) is None
    batch = {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_NTASKS": "5", "SLURM_PROCID": "0", "SLURM_JOB_ID": "1"}
    assert cluster.detect_cluster(batch) is None


@pytest.mark.parametrize(
    "changed", [{"SLURM_STEP_TASKS_PER_NODE": "2(x3)"}, {"SLURM_PROCID": "5"}, {"SLURM_PROCID": "x"}]
)
def test_detect_cluster_refuses_inconsistent_slurm_variables(changed):
    with pytest.raises(ValueError, match="Slurm"):
        cluster.detect_cluster({**SLURM, "SLURM_PROCID": "0", **changed})


TWO = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}


def test_detect_cluster_prefers_tf_config_and_counts_a_chief_first():
    assert cluster.detect_cluster({"TF_CONFIG": json.dumps(TWO), **SLURM}) == cluster.Cluster(("a:1", "b:1"), 1)
    chief = {"cluster": {"worker": ["b:1"], "chief": ["a:1"]}, "task": {"type": "worker", "index": 0}}
    assert cluster.detect_cluster({"TF_CONFIG": json.dumps(chief)}) == cluster.Cluster(("a:1", "b:1"), 1)
    assert cluster.detect_cluster({"TF_CONFIG": "{}"}) is None
    assert cluster.detect_cluster({}) is None


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "is not JSON"),
        ("[]", 'no "cluster"'),
        (json.dumps({**TWO, "cluster": {}}), 'no "cluster"'),
        (json.dumps({**TWO, "cluster": {"ps": ["a:1"]}}), "job 'ps'"),
        (json.dumps({**TWO, "cluster": {"worker": "a:1"}}), "not a list of addresses"),
        (json.dumps({**TWO, "cluster": {"worker": ["a", "b:1"]}}), "not a list of addresses"),
        (json.dumps({**TWO, "cluster": {"worker": ["a:1", "a:1"]}}), "the same address"),
        (json.dumps({"cluster": TWO["cluster"]}), 'no "task"'),
        (json.dumps({**TWO, "task": {"type": "worker", "index": 2}}), "2 as the index of a worker"),
        (json.dumps({**TWO, "task": {"type": "worker", "index": "1"}}), "'1' as the index"),
    ],
)
def test_detect_cluster_refuses_a_malformed_tf_config_with_an_example(text, what):
    with pytest.raises(ValueError, match=f"TF_CONFIG .*{what}.*expected a value like"):
        cluster.detect_cluster({"TF_CONFIG": text})
