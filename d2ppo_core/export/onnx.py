"""From a finished run to a verified bundle: trace the fused policy, gate it, describe it, write it."""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from d2ppo_core.bundle import ActionSpec, Golden, Manifest, ObservationSpec, check_bundle_place, write_bundle
from d2ppo_core.config import PretrainConfig, config_hash, to_mapping
from d2ppo_core.data.image_fit import ImageFit, fit_of
from d2ppo_core.data.tasks import env_name_of
from d2ppo_core.data.windows import load_windows
from d2ppo_core.errors import ConfigError, DataError, ExportError
from d2ppo_core.export.fused import FusedPolicy
from d2ppo_core.export.parity import (
    Inputs,
    ParityReport,
    check_parity,
    dataset_inputs,
    open_session,
    random_inputs,
)
from d2ppo_core.finetune.runs import Run, load_run
from d2ppo_core.geometry import transform_from
from d2ppo_core.models import diffusion, gaussian
from d2ppo_core.models.policy import ChunkPolicy
from d2ppo_core.objects import KEY, OBJECT_PARTS_KEY, ObjectPart, recipe_from, recipe_of, size_of
from d2ppo_core.pretrain.checkpoint import Checkpoint
from d2ppo_core.pretrain.provenance import git_commit
from d2ppo_core.representations import FRAMES, SIZES

OPSET = 20
_GOLDEN_SEED = 2_024
_PARITY_SEED = 7


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export produced."""

    folder: Path
    bundle_hash: str
    weights: str
    parity: ParityReport
    size_bytes: int


@dataclass(frozen=True)
class _Graph:
    """A graph that passed the gate."""

    onnx: bytes
    times: tuple[int, ...]
    """Of its denoising steps, noisiest first; none for a Gaussian policy."""
    exact: bool
    """Whether the steps at which rounding counts are computed in float64."""
    parity: ParityReport


def to_onnx(fused: FusedPolicy, saved: Checkpoint) -> bytes:
    """Trace the policy into one graph with inputs `state`, `images` (image policies) and `noise`."""
    shapes = saved.shapes
    state = torch.zeros(1, shapes.state_dim)
    noise = torch.zeros(1, saved.config.data.pred_horizon, shapes.action_dim)
    arguments: tuple[torch.Tensor, ...] = (state, noise)
    names = ["state", "noise"]
    if shapes.num_cameras:
        arguments = (*arguments, torch.zeros(1, shapes.num_cameras, *shapes.camera_hw, 3, dtype=torch.uint8))
        names.append("images")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            fused.eval(),
            arguments,
            input_names=names,
            output_names=["actions"],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise ExportError("torch.onnx returned no program")
    model = program.model_proto
    for node in model.graph.node:  # source locations of this machine have no place in a bundle
        del node.metadata_props[:]
        node.doc_string = ""
    for value in chain(model.graph.value_info, model.graph.input, model.graph.output, model.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    return bytes(model.SerializeToString())


def _unit(key: str) -> tuple[str, str]:
    """Unit and frame of one of robomimic's low-dimensional observations."""
    if key.endswith("_quat"):
        return "1 (xyzw, sign canonical)", "world"
    if key.endswith("gripper_qpos"):
        return "m", "hand"
    return "m", "world"


def _observations(saved: Checkpoint) -> tuple[ObservationSpec, ...]:
    data, shapes = saved.config.data, saved.shapes
    low_dim = [
        ObservationSpec(key=key, shape=(size,), dtype="float32", unit=_unit(key)[0], frame=_unit(key)[1])
        for key, size in zip(data.low_dim_keys, saved.low_dim_sizes, strict=True)
    ]
    images = [
        ObservationSpec(
            key=key,
            shape=(*shapes.camera_hw, 3),
            dtype="uint8",
            unit="RGB 0..255",
            frame=key.removesuffix("_image"),
            camera=key.removesuffix("_image"),
            fit=str(fit_of(data, shapes.camera_hw)),
        )
        for key in data.image_keys
    ]
    return (*low_dim, *images)


def _object_parts(saved: Checkpoint) -> tuple[ObjectPart, ...]:
    """As the task has it, or the dataset of a task of the user's own."""
    size = dict(zip(saved.config.data.low_dim_keys, saved.low_dim_sizes, strict=True)).get(KEY, 0)
    own = recipe_from(saved.dataset.get(OBJECT_PARTS_KEY))
    return own if own and size_of(own) == size else recipe_of(saved.config.task, size)


def _placed(position_m: Sequence[float], yaw_rad: float = 0.0) -> tuple[float, ...]:
    return tuple(transform_from(position_m, Rotation.from_euler("z", yaw_rad)).ravel().tolist())


def bases_of(config: PretrainConfig, num_arms: int) -> tuple[float, ...]:
    """Bases of the arms, one 4×4 after the other. Raises ConfigError where not each arm has its place."""
    yaws, places = config.data.base_yaw_rad, np.reshape(config.deploy.base_position_m, (-1, 3))
    if not len(yaws) == len(places) == num_arms:
        raise ConfigError(
            f"deploy.base_position_m and data.base_yaw_rad: wanted the bases of {num_arms} arms, whose actions these "
            f"are, got {len(places)} places and {len(yaws)} turns"
        )
    return tuple(number for place, yaw in zip(places, yaws, strict=True) for number in _placed(place.tolist(), yaw))


def make_manifest(run: Run, weights: str, graph: _Graph, extra: dict[str, Any]) -> Manifest:
    """The bundle's contract and where it comes from, both stages; `extra` joins the provenance."""
    saved, config, parity = run.origin, run.config, graph.parity
    diffuses = config.model.kind == "diffusion"
    num_arms = saved.shapes.action_dim // SIZES[config.data.action_representation]
    provenance = {
        "config": to_mapping(config),
        "config_sha256": config_hash(config),
        "dataset": saved.dataset,
        "training": {
            "seed": config.seed,
            "steps": saved.step,
            "elapsed_s": round(saved.elapsed_s, 1),
            "threads": config.optim.threads,
            **saved.code,
            **({"gone_settings": list(saved.gone)} if saved.gone else {}),
        },
        **run.provenance(),
        "export": {
            "weights": weights,
            "commit": git_commit(),
            "torch": version("torch"),
            "onnx": version("onnx"),
            "onnxruntime": version("onnxruntime"),
            "opset": OPSET,
            "parity_samples": parity.samples,
            "parity_max_deviation": float(f"{parity.max_deviation:.3g}"),
            "float64_first_step": graph.exact,
            "parity_max_rounding": float(f"{parity.max_rounding:.3g}"),
        },
        **extra,
    }
    return Manifest(
        name=run.name,
        task=config.task,
        observations=_observations(saved),
        action=ActionSpec(
            representation=config.data.action_representation,
            frame=FRAMES[config.data.action_representation],
            num_arms=num_arms,
            dim=saved.shapes.action_dim,
            control_hz=config.deploy.control_hz,
            coupling=config.deploy.osc_coupling,
        ),
        pred_horizon=config.data.pred_horizon,
        action_horizon=config.data.action_horizon,
        num_denoising_steps=len(graph.times),
        sampler=diffusion.SAMPLERS[config.model.sampler_times] if diffuses else gaussian.SAMPLER,
        denoising_times=graph.times,
        object_parts=_object_parts(saved),
        T_world_base=bases_of(config, num_arms),
        T_ee_site=_placed(config.deploy.ee_site_offset_m),
        provenance=provenance,
    )


def export_run(
    folder: Path,
    out: Path,
    *,
    task: str | None = None,
    weights: str | None = None,
    data: Path | None = None,
    times: str | None = None,
    steps: int | None = None,
    samples: int = 200,
    extra: dict[str, Any] | None = None,
) -> Exported:
    """Export a policy of a run as a bundle.

    Args:
        folder: Of a run of either stage.
        out: Folder of the bundle; one that holds a bundle and nothing else, or nothing, is replaced.
        task: What the policy must be for; None accepts any.
        weights: `ema`, `raw` or `best`; None takes the best evaluated ones, or the averaged ones without an evaluation.
        data: Dataset from which half of the parity samples and the golden example come; None takes random ones.
        times: `trailing`, `leading` or `centred` sampler times for a clone, which can have any; None takes the run's.
        steps: K; None takes the run's. A fine-tuned policy can have a divisor of the number it was tuned in.
        samples: Number of parity samples.
        extra: Joins the manifest's provenance (measured success, say).

    Raises:
        ExportError: the graph deviates from the torch sampler.
        TrainingError: there is no checkpoint.
        ConfigError: the policy is for another task, was fine-tuned at other times or in other steps, the run has no
            such weights, or does not say where each of its arms stands.
        DataError: the dataset does not fit.
        BundleError: a bundle cannot describe such a policy.
        OutputError: `out` holds anything but a bundle, or cannot be written.
    """
    check_bundle_place(out)
    run = load_run(folder).sampled_at(times, steps)
    saved, shapes = run.origin, run.origin.shapes
    if task is not None and task != run.config.task:
        raise ConfigError(f"wanted a policy for {task}, got {folder} for {run.config.task}")
    weights = weights or run.preferred_weights
    policy = run.policy(weights)
    torch.set_num_threads(1)
    fit = fit_of(saved.config.data, shapes.camera_hw) if shapes.num_cameras else None
    _, example = _draw_inputs(policy, saved, samples, data)
    graph = _passing_graph(policy, saved, fit, lambda: _draw_inputs(policy, saved, samples, data)[0])
    golden = Golden(inputs=example, actions=open_session(graph.onnx).run(["actions"], example)[0])
    manifest = make_manifest(run, weights, graph, extra or {})
    return Exported(
        folder=out,
        bundle_hash=write_bundle(out, onnx=graph.onnx, manifest=manifest, golden=golden),
        weights=weights,
        parity=graph.parity,
        size_bytes=len(graph.onnx),
    )


def _passing_graph(
    policy: ChunkPolicy, saved: Checkpoint, fit: ImageFit | None, draw: Callable[[], Iterator[Inputs]]
) -> _Graph:
    """The graph in float32; where it does not pass for rounding at the first trailing time, in float64 there.

    Raises ExportError when neither passes.
    """
    for exact in (False, True):
        fused = FusedPolicy(policy, saved.normalizer, fit, exact=exact)
        onnx = to_onnx(fused, saved)
        try:
            parity = check_parity(open_session(onnx), policy, saved.normalizer, draw(), fit)
        except ExportError:
            if exact or not fused.faint:
                raise
        else:
            break
    return _Graph(onnx, fused.denoising_times, exact, parity)


def _draw_inputs(
    policy: ChunkPolicy, saved: Checkpoint, samples: int, data: Path | None
) -> tuple[Iterator[Inputs], Inputs]:
    """Draw the parity samples and the golden example: random ones, or half of the samples and the example from data."""
    shapes, normalizer = saved.shapes, saved.normalizer
    image_shape = (shapes.num_cameras, *shapes.camera_hw, 3) if shapes.num_cameras else None
    if data is None:
        drawn = random_inputs(policy, normalizer, image_shape, samples, _PARITY_SEED)
        return drawn, next(random_inputs(policy, normalizer, image_shape, 1, _GOLDEN_SEED))
    windows, _ = load_windows(data, saved.config.data, env_name=env_name_of(saved.config.task), fit=False)
    if windows.camera_hw != shapes.camera_hw:
        raise DataError(f"{data}: wanted pictures of {shapes.camera_hw} px, got {windows.camera_hw}")
    half = samples // 2
    both = chain(
        random_inputs(policy, normalizer, image_shape, samples - half, _PARITY_SEED),
        dataset_inputs(policy, windows, half, _PARITY_SEED),
    )
    return both, next(dataset_inputs(policy, windows, 1, _GOLDEN_SEED))
