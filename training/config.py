"""Every option of a training run as frozen dataclasses, read from TOML and overridden by flags."""

from __future__ import annotations

import difflib
import json
import sys
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from getgan.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


TAUGHT = ("distil", "trunk")  # methods that learn from a trained generator, and with `transplant`


@dataclass(frozen=True)
class ModelConfig:
    """Networks. `method` names the system; CycleGAN's generator has shared_blocks + branch_blocks blocks.

    "distil" is a GET-GAN that learns from a trained one for smaller pictures, see methods/distil.py, and
    "trunk" one whose blocks and gate alone learn to see behind occluders, see methods/trunk.py.

    widths: channels of every generator at full size, H/2, H/4, ..., the last being the trunk's, where the
    blocks and the gate are; [] = CycleGAN's (ngf, 2 ngf, 4 ngf), else ngf is not used.
    """

    method: Literal["getgan", "cyclegan", "ugatit", "distil", "trunk"] = "getgan"
    ngf: int = 64
    shared_blocks: int = 6
    branch_blocks: int = 3
    reverse_blocks: int = 9  # of H
    gate: Literal["none", "1x1", "3x3", "channel"] = "1x1"
    up: Literal["transposed", "resize"] = "transposed"
    norm: Literal["instance", "batch"] = "instance"
    ndf: int = 64
    discriminator_layers: int = 3
    ugatit_blocks: int = 4
    ugatit_light: bool = True
    ugatit_global_layers: int = 7  # of the discriminators; 7 needs pictures of 96 pixels or more
    ugatit_local_layers: int = 5
    widths: tuple[int, ...] = ()
    stride: int = 1  # of the stems, 1 or 2; widths then begin at H / stride. Not U-GAT-IT
    discriminator_scales: int = 1  # 2, 3: further PatchGANs per domain see the picture at a half, a quarter


@dataclass(frozen=True)
class LossConfig:
    """Weights of the losses, and what the gradient weight W_e is made of.

    What is said of a distillation holds for method "trunk" too, of features in place of faces.

    weight: "sigmoid" is the talk to the letter, W_e in [0.5, 1); "rescaled" is 2 sigmoid(z) - 1, in [0, 1).
    weight_error: the X-domain error that g differentiates. "l1" is the talk's L_rec; its gradient carries
    the error's sign but not its size. "l2" is the mean square, whose gradient grows with the error.
    weight_blur: Gaussian blur of |g - mu| before it is normalised, sigma as a share of the image height;
    0 is the talk. An occluder is a region, a single pixel's gradient is mostly noise.
    weight_gain: z is multiplied by this before the sigmoid; 1 is the talk. More gives all of an occluder
    to y_e, not only its worst part.
    lambda_keep: weight of mean((1 - W_e) |x - H(y_*)|) in step 3, which ties y_* to x where W_e is
    small; 0 is the talk.
    weight_of: "gradient" is the talk. "residual" makes W_e of the blurred |x - H(y_*)| itself, over the mean
    and deviation that it had in the last hundred iterations; weight and weight_error are then not used.
    weight_floor: deviations above the mean from which on such a W_e rises. A face's features are never
    explained as well as its skin, and with 0 they go to y_e.
    cycle_noise: deviation of the noise on what the second generator of a cycle sees of the first one's
    picture, of the range -1 to 1; 0 is the talk. Without it the first can hide the answer in its picture.
    cycle_blur: x and H(...) are compared in step 3 after a Gaussian blur, sigma as a share of the image
    height; 0 is the talk. Without it H must not draw the grain that D_X wants, and G learns from scans
    without any.
    clean_x: D_X learns from the scans alone in which W_e calls next to nothing hidden. Otherwise H must draw
    hands, and hides what G has to know between their fingers. In a distillation the scans that get another
    one's occluder (`transplant`) are those in which the teacher finds next to none.
    transplant: in step 4, G sees x' with what W_e calls hidden in x laid over it, and must still give y. In a
    distillation every second scan has what hides the next one laid over it, and the teacher sees it without.
    teacher_sees: of a distillation, the teacher's face counts only where it finds that nothing hid it.
    hidden_gain: of a distillation with transplant, how many times as much as elsewhere the teacher's face
    counts under the occluder that was laid over the scan; the weights' mean stays 1.
    teacher_afar: of a distillation, weight of the difference from the teacher's face after means over a
    twentieth and a tenth of the height, beside the difference itself: an eye in a wrong place meets the right
    one there.
    hidden_rim: of a distillation, by how much more than the teacher finds counts as hidden, all around and as
    a share of the height; drawn between both anew for each iteration. Of what hides a face the teacher finds
    seven tenths, and without a rim the fingertips of laid-over hands are missing, and eyes look out from
    behind them that no hand of a real scan leaves free.
    hidden_gate: of method "trunk", from which 1 - s on a place is laid over another scan and does not count
    for the teacher's face: a threshold, drawn between both anew for each iteration, in place of y_e and gate
    together, with hidden_rim around it if there is one; (0, 0) = not so. Which scans have an occluder, and
    where the gate shall shut, is told by both as ever. A gate that this method has taught tells an occluder
    better than both do, and a wide rim around both hides up to two thirds of the visible face.
    disc_noise: of a distillation, deviation of the noise on what D_Y sees, of photos and of G's pictures, of
    the range -1 to 1. It is meant to hide a photo's grain, which G cannot draw, from D_Y. With method "trunk"
    of the noise on features, whose own deviation is 1.
    mirror: of a distillation, the teacher's face is its own, moved half the way to its answer to the scan's
    mirror image, and y_e and gate are the means of both answers: nothing else in the training corrects a
    generator that draws every face a little to one side. As with data.flip, the mirror image of a scan must
    be one that could be: no text, no ruler, no light that is always on one side.
    teacher_real: of a distillation to pictures of the teacher's size, D_Y's real pictures are the teacher's
    faces in place of photos. D_Y then wants no grain that the pupil cannot draw.
    lambda_gate: weight of the mean square between 1 - s and what W_e calls hidden; 0 is the talk.
    """

    lambda_rec: float = 10.0
    lambda_idt: float = 5.0
    lambda_error: float = 10.0  # a distillation takes a tenth of it
    weight: Literal["sigmoid", "rescaled"] = "rescaled"
    weight_eps: float = 1e-8
    weight_error: Literal["l1", "l2"] = "l1"
    weight_blur: float = 0.0
    weight_gain: float = 1.0
    lambda_keep: float = 0.0
    lambda_gan: float = 1.0
    lambda_cam: float = 1000.0  # U-GAT-IT only
    weight_of: Literal["gradient", "residual"] = "gradient"
    cycle_noise: float = 0.0
    transplant: bool = False
    lambda_gate: float = 0.0
    weight_floor: float = 0.0
    cycle_blur: float = 0.0
    clean_x: bool = False
    teacher_sees: bool = False
    hidden_gain: float = 1.0
    teacher_afar: float = 0.0
    hidden_rim: tuple[float, float] = (0.0, 0.0)
    disc_noise: float = 0.0
    hidden_gate: tuple[float, float] = (0.0, 0.0)
    mirror: bool = False
    teacher_real: bool = False
    lambda_teacher: float = 10.0  # of the difference from the teacher's face (or its features) and gate


@dataclass(frozen=True)
class OptimConfig:
    """Adam and its schedule. updates: "sequential" = an Adam step per training step, "joint" = one in all."""

    iterations: int = 100_000
    batch: int = 1  # per process
    lr: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999
    decay_from: float = 0.5  # share of the iterations after which lr falls linearly to 0
    updates: Literal["sequential", "joint"] = "sequential"
    pool: int = 50
    ema: float = 0.0  # decay of the averaged generator that checkpoints hold; 0 = the last weights


@dataclass(frozen=True)
class DataConfig:
    """Where images come from: rendered faces, or folders trainA trainB testA testB under root."""

    kind: Literal["faces", "folders"] = "faces"
    root: str = ""
    size: int = 256  # of the square crop that the networks see, pixels
    load_size: int = 286  # folders: shorter side is resized to this before the crop
    flip: bool = True
    count: int = 2000  # faces: pictures per domain; 0 = a new one every time
    first: int = 0  # faces: index of the first picture, so that runs can have data of their own
    yaw_x: tuple[float, float] = (-30.0, 30.0)  # faces: degrees
    yaw_y: tuple[float, float] = (-30.0, 30.0)
    occlusion: float = 0.75  # faces: share of ultrasounds with an occluder


@dataclass(frozen=True)
class RunConfig:
    """The machine and the rhythm of a run; intervals in iterations.

    graphs: on a GPU, an iteration is recorded as CUDA graphs and replayed. The kernels of small networks, or
    of one picture an iteration, are shorter than Python takes to launch them.
    workers: processes that render or read the next pictures meanwhile, each with PyTorch's 0.3 GB; 0 = none.
    """

    seed: int = 0
    device: str = "auto"  # auto, cpu, cuda, cuda:1
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"  # step 2 is FP32 always
    threads: int = 0  # CPU threads; 0 = all cores
    log_every: int = 50
    sample_every: int = 1000
    checkpoint_every: int = 1000
    probe_every: int = 1000
    probe_images: int = 32
    stop_after_minutes: float = 0.0  # of training time over all resumes; 0 = no limit
    clock: Literal["wall", "cpu"] = (
        "wall"  # of these minutes and the log's; cpu = this process's on all cores
    )
    graphs: bool = False
    workers: int = 0


@dataclass(frozen=True)
class TrainConfig:
    """One training run, whole."""

    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    data: DataConfig = field(default_factory=DataConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        _check(self)


T = TypeVar("T")


def load_config(path: Path | None, overrides: list[str] | None = None) -> TrainConfig:
    """The config of a TOML file (None: the defaults) with `section.key=value` overrides on top."""
    if path is None:
        text = ""
    else:
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ConfigError(f"no config file at {path}; see examples/ for one to start from") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {path}: {error}; wanted a UTF-8 TOML file") from error
    sections = _sections_from_toml_text(text, source=str(path or "defaults"))
    for item in overrides or []:
        _override(sections, item)
    return TrainConfig(**sections)  # checked here, when all is known: the order of the overrides is free


def config_from_toml_text(text: str, source: str = "config") -> TrainConfig:
    """The config that a TOML document states; an unknown key is an error that names the nearest known one."""
    return TrainConfig(**_sections_from_toml_text(text, source))


def _sections_from_toml_text(text: str, source: str) -> dict[str, Any]:
    try:
        document = tomllib.loads(text)
    except (
        ValueError,
        RecursionError,
    ) as error:  # too long a number is a ValueError, too deep a list the other
        raise ConfigError(f"{source} is not valid TOML: {error}") from error
    hints = get_type_hints(TrainConfig)
    sections: dict[str, Any] = {}
    for name, table in document.items():
        if name not in hints:
            raise ConfigError(f"{source}: unknown section [{name}]{_did_you_mean(name, hints)}")
        if not isinstance(table, dict):
            raise ConfigError(
                f"{source}: {name} is {table!r:.80}; wanted a section [{name}] with keys under it"
            )
        sections[name] = _section(hints[name], table, f"{source}: {name}")
    return sections


def config_to_toml_text(config: TrainConfig) -> str:
    """Every option of a run as TOML; `config_from_toml_text` gives the same config back."""
    lines: list[str] = []
    for section in fields(config):
        part = getattr(config, section.name)
        lines.append(f"[{section.name}]")
        lines += [f"{key.name} = {_toml_value(getattr(part, key.name))}" for key in fields(part)]
        lines.append("")
    return "\n".join(lines)


def _section(kind: type[T], table: dict[str, Any], where: str) -> T:
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in hints:
            raise ConfigError(f"{where}.{key} is no option{_did_you_mean(key, hints)}")
        values[key] = _typed(hints[key], value, f"{where}.{key}")
    return kind(**values)


def _typed(hint: Any, value: Any, where: str) -> Any:
    """The value as the field's type, or an error that says what was wanted."""
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            wanted = ", ".join(map(str, get_args(hint)))
            raise ConfigError(f"{where} is {value!r}; wanted one of {wanted}")
        return value
    if hint == tuple[int, ...]:
        if not isinstance(value, list) or not all(type(item) is int for item in value):
            raise ConfigError(f"{where} is {value!r}; wanted a list of integers, like [16, 32, 64, 96]")
        return tuple(value)
    if get_origin(hint) is tuple:
        if not isinstance(value, list) or len(value) != 2 or not all(map(_is_number, value)):
            raise ConfigError(f"{where} is {value!r}; wanted two numbers, [min, max]")
        return (_typed(float, value[0], where), _typed(float, value[1], where))
    if hint is float and _is_number(value):
        try:
            return float(value)
        except OverflowError:
            raise ConfigError(
                f"{where} has {len(str(value)):,} digits; wanted a number below 1e308"
            ) from None
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ConfigError(f"{where} is {value!r}; wanted {hint.__name__}")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _override(sections: dict[str, Any], item: str) -> None:
    """Put one `section.key=value` into the sections of a config that is still to be made."""
    name, equals, text = item.partition("=")
    section, dot, key = name.strip().partition(".")
    if not equals or not dot:
        raise ConfigError(f"override {item!r} has no value; wanted section.key=value, like loss.lambda_rec=5")
    hints = get_type_hints(TrainConfig)
    if section not in hints:
        raise ConfigError(f"override {item!r}: unknown section {section}{_did_you_mean(section, hints)}")
    try:
        value = tomllib.loads(f"v = {text.strip()}")["v"]
    except tomllib.TOMLDecodeError:
        value = text.strip()  # a bare word is a string
    keys = get_type_hints(hints[section])
    if key not in keys:
        raise ConfigError(f"override {item!r}: {section}.{key} is no option{_did_you_mean(key, keys)}")
    part = sections.get(section, hints[section]())
    sections[section] = replace(part, **{key: _typed(keys[key], value, f"override {item!r}")})


def _did_you_mean(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else f"; wanted one of {', '.join(known)}"


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)  # its escapes are TOML's
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    return repr(value)


def _check(config: TrainConfig) -> None:
    """Raise ConfigError for the first value out of its range."""

    def wanted(ok: bool, name: str, value: object, what: str) -> None:
        if not ok:
            raise ConfigError(f"{name} is {value!r}; wanted {what}")

    optim, data, loss, run, model = config.optim, config.data, config.loss, config.run, config.model
    wanted(optim.iterations >= 1, "optim.iterations", optim.iterations, "1 or more")
    wanted(optim.batch >= 1, "optim.batch", optim.batch, "1 or more")
    wanted(optim.lr > 0, "optim.lr", optim.lr, "a positive number")
    wanted(0 <= optim.beta1 < 1, "optim.beta1", optim.beta1, "a number in [0, 1)")
    wanted(0 <= optim.beta2 < 1, "optim.beta2", optim.beta2, "a number in [0, 1)")
    wanted(0 <= optim.decay_from <= 1, "optim.decay_from", optim.decay_from, "a share from 0 to 1")
    wanted(0 <= optim.ema < 1, "optim.ema", optim.ema, "a decay in [0, 1)")
    wanted(optim.pool >= 0, "optim.pool", optim.pool, "0 or more")
    # Here, because reading a config must not wait for PyTorch.
    from getgan.models.patchgan import smallest_side
    from getgan.models.resnet import ResnetConfig

    step = ResnetConfig(ngf=model.ngf, widths=model.widths, stride=model.stride).multiple_of
    wanted(model.stride == 1 or model.method != "ugatit", "model.stride", model.stride, "1 for U-GAT-IT")
    wanted(
        data.size >= 32 and data.size % step == 0, "data.size", data.size, f"a multiple of {step} from 32 on"
    )
    scales = model.discriminator_scales
    wanted(scales in (1, 2, 3), "model.discriminator_scales", scales, "1, 2 or 3")
    least = smallest_side(model.discriminator_layers, scales)  # two methods have others of their own
    wanted(
        data.size >= least or scales == 1 or model.method in ("ugatit", "trunk"),
        "model.discriminator_scales",
        scales,
        f"fewer, or data.size={least} or more",
    )
    wanted(data.count >= 0, "data.count", data.count, "0 (endless) or more")
    wanted(data.first >= 0, "data.first", data.first, "0 or more")
    wanted(0 <= data.occlusion <= 1, "data.occlusion", data.occlusion, "a share from 0 to 1")
    if data.kind == "folders":
        wanted(bool(data.root), "data.root", data.root, "the folder that holds trainA and trainB")
        wanted(
            data.load_size >= data.size, "data.load_size", data.load_size, f"data.size={data.size} or more"
        )
    for name, value in vars(loss).items():
        wanted(not name.startswith("lambda_") or value >= 0, f"loss.{name}", value, "0 or more")
    gated = model.gate != "none" or model.method != "getgan"
    wanted(loss.lambda_gate == 0 or gated, "loss.lambda_gate", loss.lambda_gate, "0 without a gate")
    taught = model.method in TAUGHT
    lost = model.method == "trunk" and model.gate == "none"
    wanted(not lost, "model.gate", model.gate, "a gate for method trunk")
    ungated = taught and model.gate == "none"
    wanted(not (loss.transplant and ungated), "loss.transplant", loss.transplant, "false without a gate")
    wanted(
        not (loss.teacher_sees and ungated), "loss.teacher_sees", loss.teacher_sees, "false without a gate"
    )
    wanted(0 < loss.hidden_gain <= 100, "loss.hidden_gain", loss.hidden_gain, "a number in (0, 100]")
    wanted(0 <= loss.disc_noise <= 1, "loss.disc_noise", loss.disc_noise, "a number from 0 to 1")
    narrow, wide = loss.hidden_rim
    wanted(
        0 <= narrow <= wide <= 0.25, "loss.hidden_rim", loss.hidden_rim, "two shares from 0 to 0.25, rising"
    )
    lowest, highest = loss.hidden_gate
    rising = 0 < lowest <= highest < 1 or lowest == highest == 0
    wanted(rising, "loss.hidden_gate", loss.hidden_gate, "two numbers between 0 and 1, rising, or [0, 0]")
    deaf = model.method == "distil" and highest > 0
    wanted(
        not deaf, "loss.hidden_gate", loss.hidden_gate, "[0, 0]: a distillation goes by y_e and gate together"
    )
    bare = taught and not loss.transplant
    idle = model.method == "trunk" and not loss.transplant
    wanted(not idle, "loss.transplant", loss.transplant, "true: method trunk learns from nothing else")
    wanted(not (loss.clean_x and bare), "loss.clean_x", loss.clean_x, "false without loss.transplant")
    wanted(0 <= loss.teacher_afar <= 100, "loss.teacher_afar", loss.teacher_afar, "a number from 0 to 100")
    far = model.method == "trunk" and loss.teacher_afar != 0
    wanted(not far, "loss.teacher_afar", loss.teacher_afar, "0: method trunk draws no face to compare")
    distilled = model.method == "distil"
    for name in ("mirror", "teacher_real"):
        told = getattr(loss, name)
        wanted(distilled or not told, f"loss.{name}", told, "false: method distil alone has a teacher's face")
    wanted(
        data.flip or not loss.mirror,
        "loss.mirror",
        loss.mirror,
        "false where data.flip is false: mirrored scans are not scans there",
    )
    unhidden = loss.hidden_gain != 1 and bare
    wanted(not unhidden, "loss.hidden_gain", loss.hidden_gain, "1 without loss.transplant")
    alone = taught and optim.batch < 2  # a scan has no next one in its batch
    wanted(not (loss.transplant and alone), "optim.batch", optim.batch, "2 or more for loss.transplant")
    wanted(optim.pool >= 1 or not loss.clean_x, "optim.pool", optim.pool, "1 or more for loss.clean_x")
    # Measured: with a mean-L1 loss the gradient's std is 1e-6..5e-6 at 256x256, so 1e-5 gives a dead W_e.
    wanted(0 < loss.weight_eps <= 1e-8, "loss.weight_eps", loss.weight_eps, "a number in (0, 1e-8]")
    wanted(0 <= loss.weight_blur <= 0.25, "loss.weight_blur", loss.weight_blur, "a share from 0 to 0.25")
    wanted(0 <= loss.cycle_noise <= 1, "loss.cycle_noise", loss.cycle_noise, "a number from 0 to 1")
    wanted(0 <= loss.cycle_blur <= 0.25, "loss.cycle_blur", loss.cycle_blur, "a share from 0 to 0.25")
    wanted(loss.weight_floor >= 0, "loss.weight_floor", loss.weight_floor, "0 or more")
    wanted(loss.weight_gain > 0, "loss.weight_gain", loss.weight_gain, "a positive number")
    for name in ("log_every", "sample_every", "checkpoint_every", "probe_every"):
        wanted(getattr(run, name) >= 1, f"run.{name}", getattr(run, name), "1 or more")
    wanted(run.probe_images >= 2, "run.probe_images", run.probe_images, "2 or more")
    wanted(run.seed >= 0, "run.seed", run.seed, "0 or more")
    wanted(run.threads >= 0, "run.threads", run.threads, "0 (all) or more")
    wanted(0 <= run.workers <= 256, "run.workers", run.workers, "0 (none) to 256")
    fixed = not taught  # what such a method computes hangs on what it finds in a scan
    wanted(fixed or not run.graphs, "run.graphs", run.graphs, f"false for method {model.method}")
    scaled = run.graphs and run.precision == "fp16"
    wanted(
        not scaled, "run.precision", run.precision, "bf16 or fp32 with run.graphs: fp16 looks at every loss"
    )
    if model.method == "ugatit" and not model.ugatit_light:
        wanted(data.size % 4 == 0, "data.size", data.size, "a multiple of 4")
