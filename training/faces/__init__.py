"""Synthetic babies' faces in two unpaired domains, 3-D ultrasound and photo, with the hidden truth kept."""

from getgan.training.faces.config import DOMAINS, OCCLUDER_KINDS, SPLITS, Pose, SceneConfig, seed_of
from getgan.training.faces.identity import Identity, identity_from_int
from getgan.training.faces.landmarks import Landmarks, landmarks_of
from getgan.training.faces.scene import Photo, Scene, render_photo, render_truth, render_ultrasound

__all__ = [
    "DOMAINS",
    "OCCLUDER_KINDS",
    "SPLITS",
    "Identity",
    "Landmarks",
    "Photo",
    "Pose",
    "Scene",
    "SceneConfig",
    "identity_from_int",
    "landmarks_of",
    "render_photo",
    "render_truth",
    "render_ultrasound",
    "seed_of",
]
