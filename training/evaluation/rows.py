"""The rows of a report: every metric, its unit, which way is better, and how to read it."""

from __future__ import annotations

from typing import Literal, NamedTuple

# Below this share of the true photos' spread, a model answers (almost) the same to every input.
COLLAPSED_BELOW = 0.35


class Metric(NamedTuple):
    """A row: its key, its group, what it is in words and unit, which way is better, decimals shown."""

    key: str
    group: str
    title: str
    unit: str
    better: Literal["higher", "lower", ""]
    decimals: int


def _likeness(group: str, region: str) -> tuple[Metric, ...]:
    return (
        Metric(f"psnr_{region}", group, "PSNR", "dB", "higher", 2),
        Metric(f"ssim_{region}", group, "SSIM", "", "higher", 3),
        Metric(f"lpips_{region}", group, "perceptual distance", "", "lower", 3),
    )


PLACES = "Eyes, nose and mouth where they belong"


def _places(part: str, title: str, hidden: str, visible: str) -> tuple[Metric, ...]:
    return (
        Metric(f"{part}_place", PLACES, title, "%", "higher", 1),
        Metric(f"{part}_place_hidden", PLACES, f"{title}, {hidden}", "%", "higher", 1),
        Metric(f"{part}_place_visible", PLACES, f"{title}, {visible}", "%", "higher", 1),
        Metric(f"{part}_distance", PLACES, f"{part}, median distance", "% of head", "lower", 2),
    )


OCCLUSION = "Where is the occlusion? AUROC inside the face"
METRICS: tuple[Metric, ...] = (
    *_likeness("Against the true photo: hidden part of the face", "hidden"),
    *_likeness("Against the true photo: visible part of the face", "visible"),
    *_likeness("Against the true photo: whole face", "face"),
    *_likeness("Against the true photo: face, input without occluder", "clean"),
    *_places("eyes", "both eyes", "one hidden or both", "none hidden"),
    Metric("eyes_missing", PLACES, "an eye missing", "%", "lower", 1),
    Metric("eyes_further", PLACES, "a third eye or more", "%", "lower", 1),
    Metric("eyes_offset", PLACES, "eyes, mean offset", "% of head", "lower", 2),
    *_places("nose", "nose", "hidden", "not hidden"),
    *_places("mouth", "mouth", "hidden", "not hidden"),
    Metric("dependence", "Does the answer depend on the input?", "dependence on the input", "", "higher", 2),
    Metric("trace", "Does the answer depend on the input?", "trace of the occluder", "of 2", "lower", 3),
    Metric("identity_top1", "Identity kept", "right photo found first", "%", "higher", 1),
    Metric("identity_rank", "Identity kept", "other photos beaten", "%", "higher", 1),
    Metric("yaw_r", "Pose kept", "yaw, correlation", "", "higher", 3),
    Metric("yaw_error", "Pose kept", "yaw, mean error", "deg", "lower", 1),
    Metric("pitch_r", "Pose kept", "pitch, correlation", "", "higher", 3),
    Metric("pitch_error", "Pose kept", "pitch, mean error", "deg", "lower", 1),
    Metric("far_yaw_r", "Pose kept, other yaw range", "yaw, correlation", "", "higher", 3),
    Metric("far_yaw_error", "Pose kept, other yaw range", "yaw, mean error", "deg", "lower", 1),
    Metric("far_pitch_r", "Pose kept, other yaw range", "pitch, correlation", "", "higher", 3),
    Metric("far_pitch_error", "Pose kept, other yaw range", "pitch, mean error", "deg", "lower", 1),
    Metric("kid", "Looks like the photos as a set", "KID x 1000", "", "lower", 1),
    Metric("auroc_gate", OCCLUSION, "gate, 1 - s", "", "higher", 3),
    Metric("auroc_error", OCCLUSION, "|y_e|", "", "higher", 3),
    Metric("auroc_weight", OCCLUSION, "W_e", "", "higher", 3),
    Metric("auroc_weight_blurred", OCCLUSION, "W_e, blurred", "", "higher", 3),
    Metric("auroc_cycle", OCCLUSION, "|x - H(y_*)|", "", "higher", 3),
    Metric("auroc_cycle_blurred", OCCLUSION, "|x - H(y_*)|, blurred", "", "higher", 3),
)

# How to read a row, for those who were not there.
NOTES: tuple[tuple[str, str], ...] = (
    (
        "columns",
        "'true photo' is the perfect answer: what it gets is the best that a row allows. 'input itself' "
        "answers with the ultrasound, 'mean photo' gives every input one face, as a collapsed model does.",
    ),
    (
        "PSNR",
        "Mean over the scenes, of 8-bit pictures; 100 stands for equal. A part of the face under 1 % of its "
        "picture is left out. PSNR likes a blurred average: see what the mean photo gets.",
    ),
    ("perceptual distance", "Shift-tolerant LPIPS (AlexNet), the mean of its map over the region."),
    (
        "eyes, nose, mouth",
        "Of y_* of the occluded input, by filters learned on rendered photos: there, and no further from the "
        "true place than 0.3 of the distance between the eyes; eyes also without a third one in the face. "
        "An eye is missing where none is found within 0.55 of that distance; what is left is misplaced. "
        "A part counts as hidden where the occluder covers half of it or more. Distance: of the parts that "
        "were found near their place, in per cent of the head's height. Mean offset: its length, of each eye "
        "over the scenes in which it was found near its place, then the mean of both eyes. A face that is "
        "always drawn to one side keeps it whole, and of what is off by chance little is left: of 60 scenes "
        "0.6 where an eye is 4 off each way, of 120 0.5.",
    ),
    (
        "dependence",
        "Mean L1 distance between the outputs for different inputs (without occluder), over the same between "
        f"their true photos. Below {COLLAPSED_BELOW} a model counts as collapsed.",
    ),
    (
        "trace",
        "mean |G(x) - G(same scene without occluder)| in the hidden part, pictures in [-1, 1]. A collapsed "
        "model leaves no trace because it looks at nothing: its trace stands in ( ) and means nothing.",
    ),
    (
        "identity",
        "Among the true photos of all scenes, is the right one most like y_*? By correlation of 16x16 grey "
        "pictures inside the face; pose counts as well as shape. By chance: 100 / scenes %, and 50 %.",
    ),
    (
        "pose",
        "Read off y_* by kernel ridge regression learned on rendered photos, against the scene's pose; the "
        "reader's own error stands in the column 'true photo'.",
    ),
    (
        "KID",
        "Unbiased, cubic kernel, on features of the perceptual AlexNet, against held-out photos; no figure "
        "for Inception's features compares.",
    ),
    ("AUROC", "Mean over the scenes; 0.5 is chance. Blurred: sigma 3 pixels at 64."),
)
