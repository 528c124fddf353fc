"""A config reads back what it wrote, and names what is wrong with a bad one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from training_helpers import tiny

from getgan.errors import ConfigError
from getgan.training.config import (
    DataConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    TrainConfig,
    config_from_toml_text,
    config_to_toml_text,
    load_config,
)

OTHER = TrainConfig(
    ModelConfig("cyclegan", 8, 2, 1, 4, "channel", "resize", "batch", 16, 2, 3, False, 6, 4, (8, 12), 2, 2),
    LossConfig(
        9.0,
        4.0,
        8.0,
        "sigmoid",
        3e-9,
        "l2",
        0.05,
        2.0,
        0.5,
        1.5,
        900.0,
        "residual",
        0.1,
        True,
        2.0,
        0.5,
        0.02,
        True,
        True,
        3.0,
        1.5,
        (0.02, 0.1),
        0.1,
        (0.1, 0.3),
        False,
        False,
        5.0,
    ),
    OptimConfig(7, 2, 1e-4, 0.4, 0.99, 0.25, "joint", 3, 0.999),
    DataConfig("folders", 'C:\\a "b"\n\t\u00e9', 64, 70, False, 9, 3, (-10.0, 5.0), (0.0, 40.0), 0.5),
    RunConfig(3, "cpu", "bf16", 1, 2, 3, 4, 5, 6, 7.5, "cpu", True, 2),
)


# Options that one method alone has.
DISTILLED = TrainConfig(ModelConfig("distil"), LossConfig(mirror=True, teacher_real=True))


@pytest.mark.parametrize("config", [TrainConfig(), OTHER, DISTILLED])
def test_toml_gives_the_same_config_back(config: TrainConfig, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(config_to_toml_text(config), encoding="utf-8")
    assert load_config(path) == config


def test_other_configs_differ_in_every_option() -> None:
    """So that the round trip above leaves no option out."""
    for section in dataclasses.fields(TrainConfig):
        default, *others = (getattr(each, section.name) for each in (TrainConfig(), OTHER, DISTILLED))
        for key in dataclasses.fields(default):
            values = [getattr(other, key.name) for other in others]
            assert any(value != getattr(default, key.name) for value in values), f"{section.name}.{key.name}"


def test_missing_options_are_the_defaults_and_integers_may_stand_for_floats() -> None:
    config = config_from_toml_text("[loss]\nlambda_rec = 4\n[data]\nyaw_x = [-5, 5]\n")
    assert config == TrainConfig(
        loss=LossConfig(lambda_rec=4.0), data=dataclasses.replace(DataConfig(), yaw_x=(-5.0, 5.0))
    )
    assert isinstance(config.loss.lambda_rec, float)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[loss]\nlamda_rec = 5", ["loss.lamda_rec", "did you mean lambda_rec?"]),
        ("[optim]\nbatchsize = 5", ["optim.batchsize", "did you mean batch?"]),
        ("[run]\nzzz = 5", ["run.zzz", "wanted one of seed, device"]),
        ("[los]\nlambda_rec = 5", ["unknown section [los]", "did you mean loss?"]),
        ("[zzzz]\n", ["[zzzz]", "wanted one of model, loss, optim, data, run"]),
        ("lambda_rec = 5", ["unknown section"]),
        ("loss = 5", ["wanted a section [loss]"]),
        ("[loss\nlambda_rec = 5", ["not valid TOML", "line 1"]),
        ("[optim]\niterations = 1.5", ["optim.iterations is 1.5; wanted int"]),
        ("[optim]\niterations = true", ["optim.iterations is True; wanted int"]),
        ("[optim]\nlr = '2e-4'", ["optim.lr is '2e-4'; wanted float"]),
        ("[optim]\nlr = true", ["optim.lr is True; wanted float"]),
        ("[optim]\nlr = 1" + 400 * "0", ["optim.lr has 401 digits; wanted a number below 1e308"]),
        ("[data]\nyaw_x = [0, 1" + 400 * "0" + "]", ["data.yaw_x has 401 digits"]),
        ("[data]\nflip = 1", ["data.flip is 1; wanted bool"]),
        ("[data]\nroot = 1", ["data.root is 1; wanted str"]),
        ("[data]\nyaw_x = [1]", ["data.yaw_x is [1]; wanted two numbers"]),
        ("[data]\nyaw_x = [1, '2']", ["wanted two numbers"]),
        ("[data]\nyaw_x = 3", ["wanted two numbers"]),
        ("[model]\ngate = '2x2'", ["model.gate is '2x2'; wanted one of none, 1x1, 3x3, channel"]),
        ("[model]\nmethod = 3", ["wanted one of getgan, cyclegan, ugatit"]),
    ],
)
def test_a_wrong_toml_is_named(text: str, said: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        config_from_toml_text(text, "my.toml")
    message = str(error.value)
    assert "my.toml" in message
    assert "\n" not in message
    assert all(part in message for part in said), message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config file at .*none.toml"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_config(binary)


def test_overrides_go_over_the_file_in_order(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("[loss]\nlambda_rec = 4.0\nlambda_idt = 3.0\n")
    config = load_config(
        path,
        [
            "loss.lambda_rec=6",
            "loss.lambda_rec = 7",
            "loss.weight=sigmoid",
            "data.flip=false",
            'data.root="/a=b"',
            "data.yaw_y=[-1, 2.5]",
        ],
    )
    assert (config.loss.lambda_rec, config.loss.lambda_idt, config.loss.weight) == (7.0, 3.0, "sigmoid")
    assert (config.data.flip, config.data.root, config.data.yaw_y) == (False, "/a=b", (-1.0, 2.5))


def test_options_that_hang_together_are_checked_when_all_are_known(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('[data]\nkind = "folders"\nsize = 64\nload_size = 60\n')
    config = load_config(path, ["data.load_size=70", "data.root=here"])
    assert (config.data.root, config.data.load_size) == ("here", 70)
    assert load_config(None, ["data.kind=folders", "data.root=here"]).data.kind == "folders"
    with pytest.raises(ConfigError, match=r"data\.root"):
        load_config(path, ["data.load_size=70"])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("loss.lambda_rec", "wanted section.key=value"),
        ("lambda_rec=5", "wanted section.key=value"),
        ("los.lambda_rec=5", "did you mean loss?"),
        ("loss.lamda_rec=5", "did you mean lambda_rec?"),
        ("loss.lambda_rec=much", "wanted float"),
        ("optim.batch=1.5", "wanted int"),
        ("loss.weight=linear", "wanted one of sigmoid, rescaled"),
    ],
)
def test_a_wrong_override_is_named(override: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(None, [override])
    assert override in str(error.value)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("option", "bad", "good"),
    [
        ("optim.iterations", ["0"], "1"),
        ("optim.batch", ["0"], "1"),
        ("optim.lr", ["0", "-1e-4", "nan"], "1e-9"),
        ("optim.beta1", ["-0.1", "1.0"], "0.0"),
        ("optim.beta2", ["-0.1", "1.0"], "0.0"),
        ("optim.decay_from", ["-0.1", "1.1"], "1.0"),
        ("optim.ema", ["-0.1", "1.0"], "0.999"),
        ("optim.pool", ["-1"], "0"),
        ("data.size", ["28", "34", "0"], "36"),
        ("data.count", ["-1"], "0"),
        ("data.first", ["-1"], "0"),
        ("data.occlusion", ["-0.1", "1.1"], "1.0"),
        ("loss.lambda_rec", ["-1", "nan"], "0"),
        ("loss.lambda_idt", ["-1"], "0"),
        ("loss.lambda_error", ["-1"], "0"),
        ("loss.lambda_keep", ["-1"], "0"),
        ("loss.lambda_gan", ["-1"], "0"),
        ("loss.lambda_cam", ["-1"], "0"),
        ("loss.weight_eps", ["0", "1e-5", "2e-8"], "1e-12"),
        ("loss.weight_blur", ["-0.01", "0.26"], "0.25"),
        ("loss.weight_gain", ["0", "-1"], "0.1"),
        ("run.log_every", ["0"], "1"),
        ("run.sample_every", ["0"], "1"),
        ("run.checkpoint_every", ["0"], "1"),
        ("run.probe_every", ["0"], "1"),
        ("run.probe_images", ["1"], "2"),
        ("run.threads", ["-1"], "0"),
        ("run.seed", ["-1"], "0"),
    ],
)
def test_values_out_of_range_are_refused(option: str, bad: list[str], good: str) -> None:
    tiny(f"{option}={good}")
    for value in bad:
        with pytest.raises(ConfigError, match=f"{option} is .*; wanted "):
            tiny(f"{option}={value}")


def test_folders_want_a_root_and_a_load_size_of_the_crop() -> None:
    with pytest.raises(ConfigError, match=r"data\.root"):
        tiny("data.root=", "data.kind=folders")
    with pytest.raises(ConfigError, match=r"data\.load_size is 31; wanted data\.size=32 or more"):
        tiny("data.root=here", "data.load_size=31", "data.kind=folders")
    assert tiny("data.root=here", "data.load_size=32", "data.kind=folders").data.load_size == 32


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["loss.lambda_gate=-1"], r"loss\.lambda_gate is -1\.0; wanted 0 or more"),
        (["loss.lambda_gate=1", "model.gate=none"], r"loss\.lambda_gate is 1\.0; wanted 0 without a gate"),
        (["loss.clean_x=true", "optim.pool=0"], r"optim\.pool is 0; wanted 1 or more for loss\.clean_x"),
    ],
)
def test_losses_that_could_not_work_are_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(None, overrides)


@pytest.mark.parametrize(("scales", "layers", "size"), [(2, 3, 32), (3, 3, 64), (3, 2, 32)])
def test_a_picture_too_small_for_the_last_scale_is_said_at_once(scales: int, layers: int, size: int) -> None:
    nets = [f"model.discriminator_scales={scales}", f"model.discriminator_layers={layers}"]
    least = 3 * 2**layers * 2 ** (scales - 1)
    with pytest.raises(ConfigError, match=rf"discriminator_scales .* data\.size={least} or more"):
        load_config(None, [*nets, f"data.size={size}", "data.load_size=96"])
    load_config(None, [*nets, "data.size=96", "data.load_size=96"])
