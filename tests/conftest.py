"""What every test gets: a graph and loopback addresses of its own, one thread, and skips that say why."""

import importlib.util
import itertools
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
FASTDDS_PROFILE = Path(__file__).parents[1] / "d2ppo_core" / "stack" / "fastdds.xml"
if FASTDDS_PROFILE.exists():  # as a stack sets it: the default shared memory is smaller than a picture of 640 x 480
    os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(FASTDDS_PROFILE))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", "egl")

FIRST_DOMAIN_ID, LAST_DOMAIN_ID = 60, 100
FIRST_HOST, LAST_HOST = 20, 250
ROBOT_PORTS = (1337, 1338)
_handed_out = itertools.count(step=int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
REAL_TIME_FIXTURES = {"ros_domain_id", "robot_address", "module_address", "module_addresses"}
"""Who asks for a place on the network talks to a robot or a node that keeps real time."""


def worker_number() -> int:
    """Return the number of this test process: of pytest-xdist if there are several, else the process id."""
    several = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1
    return int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")) if several else os.getpid()


def has_launch_ros() -> bool:
    """Return whether a full ROS 2 install is there; this repository's launch/ folder does not count."""
    return importlib.util.find_spec("launch_ros") is not None


REASONS: dict[str, tuple[Callable[[], bool], str]] = {
    "launch_ros": (has_launch_ros, "needs launch and launch_ros of a full ROS 2 install, which the wheels don't have"),
    "gpu": (lambda: os.path.exists("/dev/nvidia0"), "needs an NVIDIA GPU (/dev/nvidia0)"),
    "ray": (lambda: importlib.util.find_spec("ray") is not None, "needs Ray: pip install -e '.[ray]'"),
    "long": (lambda: "D2PPO_LONG" in os.environ, "takes minutes; set D2PPO_LONG=1 to run it"),
    "hardware": (lambda: "D2PPO_HARDWARE" in os.environ, "needs a robot or a camera; set D2PPO_HARDWARE=1 to run it"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option by which tools/run_tests.py runs the tests in two parts."""
    text = "only the tests that may share the machine with others, or only those that must have it for themselves"
    parser.addoption("--part", choices=["shared", "alone"], help=text)


def runs_alone(item: pytest.Item) -> bool:
    """Return whether a test keeps real time, so that nothing else may run beside it."""
    fixtures = set(getattr(item, "fixturenames", ()))
    return bool(fixtures & REAL_TIME_FIXTURES) or item.get_closest_marker("alone") is not None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the part that was asked for; skip what this machine cannot run, -ra prints the reasons at the end."""
    if part := config.getoption("--part"):
        others = [item for item in items if runs_alone(item) != (part == "alone")]
        config.hook.pytest_deselected(items=others)
        left_out = {id(item) for item in others}
        items[:] = [item for item in items if id(item) not in left_out]
    for item in items:
        for marker, (there, reason) in REASONS.items():
            if item.get_closest_marker(marker) is not None and not there():
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Leave the counts where tools/run_tests.py wants them."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    path = os.environ.get("D2PPO_TALLY")
    if path and reporter is not None:
        kinds = ("failed", "error", "passed", "skipped", "rerun")
        finished = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
        tally = {
            "counts": {kind: len(reporter.stats.get(kind, ())) for kind in kinds},
            "failures": [report.nodeid for kind in kinds[:2] for report in reporter.stats.get(kind, ())],
            "reruns": [report.nodeid for report in reporter.stats.get("rerun", ())],
            "stopped": not finished or bool(session.shouldfail or session.shouldstop),
        }
        Path(path).write_text(json.dumps(tally), encoding="utf-8")


@pytest.fixture(scope="session")
def ros_domain_id() -> Iterator[int]:
    """ROS_DOMAIN_ID of this test process; set in the environment too, so that rclpy.init() uses it."""
    domain_id = FIRST_DOMAIN_ID + worker_number() % (LAST_DOMAIN_ID - FIRST_DOMAIN_ID + 1)
    before = os.environ.get("ROS_DOMAIN_ID")
    os.environ["ROS_DOMAIN_ID"] = str(domain_id)
    yield domain_id
    if before is None:
        del os.environ["ROS_DOMAIN_ID"]
    else:
        os.environ["ROS_DOMAIN_ID"] = before


@pytest.fixture
def robot_address() -> str:
    """A loopback address on which the robot's ports are free, for one simulated robot."""
    return free_address()


@pytest.fixture(scope="module")
def module_address() -> str:
    """The same for a robot that serves all tests of a module."""
    return free_address()


@pytest.fixture(scope="module")
def module_addresses() -> tuple[str, str]:
    """Two of them, for two robots in one world."""
    return free_address(), free_address()


def free_address() -> str:
    """Return a loopback address on which nobody listens, another one at every call."""
    for _ in range(LAST_HOST - FIRST_HOST):
        host = FIRST_HOST + (worker_number() + next(_handed_out)) % (LAST_HOST - FIRST_HOST)
        address = f"127.0.0.{host}"
        if all(is_free(address, port) for port in ROBOT_PORTS):
            return address
    raise RuntimeError("no loopback address with free robot ports is left")


def is_free(address: str, port: int) -> bool:
    """Return whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Fill run folders with small policies for Lift that were never trained; each kind of weights differs."""

    def make(
        name: str = "run",
        *,
        task: str = "lift",
        tuned: bool = False,
        evaluated: bool = True,
        data: dict[str, Any] | None = None,
        model: dict[str, Any] | None = None,
        env: dict[str, Any] | None = None,
    ) -> Path:
        from d2ppo_core.finetune import checkpoint as finetuned
        from d2ppo_core.pretrain import checkpoint as pretrained

        folder = tmp_path / name
        folder.mkdir()
        weights, origin = pretrained_checkpoint(name, task, data or {}, model or {})
        if tuned:
            after = finetuned_checkpoint(name, task, env or {}, origin, weights, evaluated=evaluated)
            finetuned.save_checkpoint(after, folder)
        else:
            pretrained.save_checkpoint(origin, folder)
        return folder

    return make


def pretrained_checkpoint(name: str, task: str, data: dict[str, Any], model: dict[str, Any]) -> tuple[list[Any], Any]:
    """Return five sets of weights, and a checkpoint of a clone that has the first two."""
    import torch

    from d2ppo_core.config import PretrainConfig, from_mapping
    from d2ppo_core.data.normalizer import Normalizer
    from d2ppo_core.models.build import Shapes, build_policy
    from d2ppo_core.pretrain.checkpoint import Checkpoint

    shapes = Shapes(state_dim=19, action_dim=7)
    given = {
        "model": {"hidden_dim": 16, "time_dim": 8} | model,
        "loss": {"dispersive_tap": "early"},
        "data": data,
    }
    config = from_mapping(PretrainConfig, {"name": name, "task": task, **given})
    torch.manual_seed(0)
    weights = [build_policy(config, shapes).state_dict() for _ in range(5)]
    ranges = {"state_center": [0.0] * 19, "state_half": [1.0] * 19, "action_center": [0.0] * 7}
    return weights, Checkpoint(
        config=config,
        normalizer=Normalizer.from_mapping({**ranges, "action_half": [1.0] * 7}),
        shapes=shapes,
        low_dim_sizes=(3, 4, 2, 10),
        dataset={"file": "lift.hdf5", "sha256": "0" * 64, "num_windows": 1, "num_episodes": 1},
        code={"commit": "c0ffee"},
        step=30,
        elapsed_s=1.0,
        model=weights[0],
        ema=weights[1],
        optimizer={},
        rng_state=torch.get_rng_state(),
    )


def finetuned_checkpoint(
    name: str, task: str, env: dict[str, Any], origin: Any, weights: list[Any], *, evaluated: bool
) -> Any:
    """Return a checkpoint of a fine-tuning that has the other three."""
    from d2ppo_core.config import FinetuneConfig, from_mapping
    from d2ppo_core.finetune.checkpoint import FinetuneCheckpoint

    given = {"chain": {"num_denoising_steps": 10, "finetuned_steps": 5}, "env": env}
    return FinetuneCheckpoint(
        config=from_mapping(FinetuneConfig, {"name": name, "task": task, **given}),
        origin=origin,
        code={"commit": "decaf"},
        iteration=4,
        env_steps=1000,
        elapsed_s=2.0,
        learner={"actor": weights[2], "ema": weights[3]},
        best={"success": 0.9, "iteration": 3, "weights": weights[4]} if evaluated else {},
    )


@pytest.fixture(scope="session")
def pair_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for Transport's two arms that nobody trained: both hands wander about where they begin."""
    return write_pair_bundle(tmp_path_factory.mktemp("bundles") / "wander")


HORIZON = 8


def write_pair_bundle(folder: Path) -> Path:
    """Write it: actions = gain (home - hands) + noise, of each arm in its base frame, grippers open."""
    import numpy as np

    from d2ppo_core.bundle import ActionSpec, Golden, Manifest, ObservationSpec, write_bundle
    from d2ppo_core.objects import OBJECT_PARTS, size_of
    from d2ppo_core.runtime.safety.cell import load_cell

    parts = (("eef_pos", 3), ("eef_quat", 4), ("gripper_qpos", 2))
    sizes = {f"robot{arm}_{key}": size for arm in (0, 1) for key, size in parts}
    sizes["object"] = size_of(OBJECT_PARTS["transport"])
    state_dim, gain = sum(sizes.values()), 4.0
    bases = np.array([load_cell(f"sim_transport_{arm}").T_world_base for arm in ("left", "right")])
    weights, offset, scale = np.zeros((state_dim, 14)), np.zeros(14), np.zeros(14)
    for arm, base in enumerate(bases):
        home_m = (base @ [0.47, 0.0, 0.11, 1.0])[:3]
        weights[9 * arm : 9 * arm + 3, 7 * arm : 7 * arm + 3] = -gain * base[:3, :3]
        offset[7 * arm : 7 * arm + 3] = gain * base[:3, :3].T @ home_m
        scale[7 * arm : 7 * arm + 3] = 0.3
        offset[7 * arm + 6] = -1.0
    state, noise = np.zeros((1, state_dim), np.float32), np.zeros((1, HORIZON, 14), np.float32)
    answer = np.tile(offset.clip(-1.0, 1.0).astype(np.float32), (1, HORIZON, 1))
    manifest = Manifest(
        name="wander",
        task="transport",
        observations=tuple(
            ObservationSpec(key=key, shape=(size,), dtype="float32", unit="m", frame="world")
            for key, size in sizes.items()
        ),
        action=ActionSpec(num_arms=2, dim=14),
        pred_horizon=HORIZON,
        action_horizon=HORIZON,
        num_denoising_steps=0,
        sampler="none",
        object_parts=OBJECT_PARTS["transport"],
        T_world_base=tuple(bases.ravel().tolist()),
        T_ee_site=(1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, -0.0069, 0.0, 0.0, 0.0, 1.0),
    )
    golden = Golden({"state": state, "noise": noise}, answer)
    write_bundle(folder, onnx=wander_graph(weights, offset, scale), manifest=manifest, golden=golden)
    return folder


def wander_graph(weights: Any, offset: Any, scale: Any) -> bytes:
    """Actions = clip(state @ weights + offset + scale * noise)."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    tensors = {"weights": weights, "offset": offset, "scale": scale, "low": -1.0, "high": 1.0}
    constants = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in tensors.items()]
    constants.append(numpy_helper.from_array(np.array([1, 1, 14], np.int64), "shape"))
    steps = [
        ("MatMul", ["state", "weights"], "pulled"),
        ("Add", ["pulled", "offset"], "wanted"),
        ("Reshape", ["wanted", "shape"], "mean"),
        ("Mul", ["noise", "scale"], "wander"),
        ("Add", ["mean", "wander"], "free"),
        ("Clip", ["free", "low", "high"], "actions"),
    ]
    shapes = {"state": [1, len(weights)], "noise": [1, HORIZON, 14], "actions": [1, HORIZON, 14]}
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    nodes = [helper.make_node(kind, inputs, [output]) for kind, inputs, output in steps]
    graph = helper.make_graph(nodes, "wander", [values["state"], values["noise"]], [values["actions"]], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())
