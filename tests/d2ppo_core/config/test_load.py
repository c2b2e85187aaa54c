from pathlib import Path

import pytest

from d2ppo_core.config import PretrainConfig, from_mapping, load_config, save_config, to_mapping
from d2ppo_core.config.load import built_in_names
from d2ppo_core.errors import ConfigError


@pytest.mark.parametrize("name", built_in_names())
def test_shipped_configurations_load_and_carry_their_own_name(name: str) -> None:
    assert load_config(name).name == name


def test_there_is_a_shipped_configuration_for_lift_from_images() -> None:
    assert load_config("lift_image").data.image_keys == ("robot0_eye_in_hand_image",)


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
    with pytest.raises(ConfigError, match="not readable as YAML") as caught:
        load_config(tmp_path / "bad.yaml")
    assert "\n" not in str(caught.value)
