from pathlib import Path

import pytest

from d2ppo_core.config import PretrainConfig, from_mapping, load_config, save_config, to_mapping
from d2ppo_core.config.load import built_in_names
from d2ppo_core.errors import ConfigError


@pytest.mark.parametrize("name", built_in_names())
def test_shipped_configurations_load_and_carry_their_own_name(name: str) -> None:
    assert load_config(name).name == name


TASKS = ("lift", "can", "square", "transport")
STATE_DIMS = {"lift": 19, "can": 23, "square": 23, "transport": 59}
OBJECT_DIMS = {"lift": 10, "can": 14, "square": 14, "transport": 41}
CAMERAS = {
    "lift": ("robot0_eye_in_hand_image",),
    "can": ("robot0_eye_in_hand_image",),
    "square": ("agentview_image",),
    "transport": ("shouldercamera0_image", "shouldercamera1_image"),
}
SIZES = {"eef_pos": 3, "eef_quat": 4, "gripper_qpos": 2}


_TERM, _PUBLISHED = "loss.dispersive=infonce_l2", "loss.dispersive_form=published"


def state_dim(config: PretrainConfig) -> int:
    keys = config.data.low_dim_keys
    return sum(OBJECT_DIMS[config.task] if key == "object" else SIZES[key.partition("_")[2]] for key in keys)


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_a_state_configuration_of_the_published_sizes(task: str) -> None:
    config = load_config(f"{task}_state")
    horizon = 8 if task == "transport" else 4
    assert (config.task, state_dim(config), config.data.image_keys) == (task, STATE_DIMS[task], ())
    assert (config.data.pred_horizon, config.data.action_horizon) == (horizon, horizon)
    assert config.model.hidden_dim == (512 if task in ("lift", "can") else 1024)
    assert config.model.num_train_steps == 20 and config.optim.batch_size == 256
    assert config.loss.dispersive_tap == ("early" if task in ("lift", "can") else "late")
    assert config.loss.noise_samples_per_obs == 1


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_an_image_configuration_of_the_published_sizes(task: str) -> None:
    config = load_config(f"{task}_image")
    horizon = 8 if task == "transport" else 4
    assert (config.task, config.data.image_keys) == (task, CAMERAS[task])
    assert state_dim(config) == (18 if task == "transport" else 9)
    assert (config.data.pred_horizon, config.data.action_horizon) == (horizon, horizon)
    assert (config.model.hidden_dim, config.model.num_train_steps) == (768, 100)


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        (
            "lift_state",
            [_TERM, "loss.dispersive_tap=encoder"],
            "without images, got 'encoder', which is the raw state there",
        ),
        ("lift_image", ["loss.dispersive_tap=front"], "wanted one of encoder, early, mid, late, got 'front'"),
        (
            "lift_state",
            ["loss.dispersive_form=free"],
            "of scale_free, batch_max, raw, published, got 'free'",
        ),
        ("lift_state", ["loss.margin=0"], "loss.margin: wanted > 0, got 0.0"),
        (
            "lift_state",
            ["loss.weight_mode=balanced"],
            "loss: unknown key weight_mode; allowed: dispersive,",
        ),
        ("lift_image", [_PUBLISHED], "wanted loss.dispersive_tap among early, mid, late, got 'encoder'"),
        ("lift_state", [_TERM, _PUBLISHED, "loss.dispersive_equal_t=true"], "dispersive_equal_t=false, got true"),
        ("lift_state", [_TERM, _PUBLISHED, "loss.noise_samples_per_obs=4"], "loss.noise_samples_per_obs=1, got 4"),
        ("lift_image", ["loss.dispersive_equal_t=true"], "behind the encoder, which sees no time, got 'encoder'"),
        (
            "lift_state",
            ["loss.dispersive=covariance", "loss.dispersive_form=batch_max"],
            "for batch_max, got 'cov",
        ),
        ("lift_state", ["optim.device=tpu"], "optim.device: wanted one of cpu, cuda, got 'tpu'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(name: str, override: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(name, override)


@pytest.mark.parametrize("off", ["loss.dispersive=none", "loss.dispersive_weight=0"])
def test_without_the_term_its_tap_does_not_matter(off: str) -> None:
    assert not load_config("lift_state", [off, "loss.dispersive_tap=encoder"]).loss.active


def test_an_unknown_key_is_an_error_that_lists_the_allowed_ones() -> None:
    with pytest.raises(ConfigError, match=r"optim: unknown key learning_rate; allowed: steps, batch_size, lr"):
        from_mapping(PretrainConfig, {"name": "a", "task": "lift", "optim": {"learning_rate": 1}})


def test_a_missing_required_key_is_named() -> None:
    with pytest.raises(ConfigError, match="task"):
        from_mapping(PretrainConfig, {"name": "a"})


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.steps=many", "optim.steps: wanted int, got 'many'"),
        ("optim.steps=1.5", "optim.steps: wanted int, got 1.5"),
        ("optim.steps=true", "optim.steps: wanted int, got True"),
        ("data.image_keys=robot0", r"data.image_keys: wanted a list"),
        ("seed.deep=1", "seed: wanted int|seed is not a section"),
        ("steps", "wanted key=value"),
        ("model.stem=conv", "model.stem: wanted one of plain, overlap, got 'conv'"),
        ("data.tails=cut", "data.tails: wanted one of hold, drop, got 'cut'"),
        ("data.action_target=clean", "data.action_target: wanted one of expert, executed, got 'clean'"),
        ("optim.lr=-1", "optim.lr: wanted > 0, got -1.0"),
        ("model.num_denoising_steps=3", "wanted num_denoising_steps to divide num_train_steps, got 3 and 20"),
    ],
)
def test_a_bad_override_names_the_key_and_what_it_got(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("lift_state", [override])


def test_overrides_reach_nested_values_and_keep_the_rest() -> None:
    config = load_config("lift_image", ["optim.lr=1e-4", "loss.dispersive_weight=0", "seed=3"])
    assert (config.optim.lr, config.loss.dispersive_weight, config.seed) == (1e-4, 0.0, 3)
    assert config.data == load_config("lift_image").data


def test_a_saved_configuration_reads_back_equal(tmp_path: Path) -> None:
    config = load_config("lift_image", ["optim.lr=0.00012345678901234"])
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_the_mapping_holds_plain_values_only() -> None:
    assert to_mapping(load_config("lift_image"))["data"]["image_keys"] == ["robot0_eye_in_hand_image"]


def test_a_missing_file_lists_the_shipped_configurations() -> None:
    with pytest.raises(ConfigError, match="nowhere.yaml: no such configuration.*lift_image"):
        load_config("nowhere.yaml")


def test_broken_yaml_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("a: [1\nb: }")
    with pytest.raises(ConfigError, match="not a YAML file") as caught:
        load_config(tmp_path / "bad.yaml")
    assert "\n" not in str(caught.value)
