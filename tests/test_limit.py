"""A guard's limit: what it promises holds, whether frames of a study are alike or strangers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from getgan.export.calibration import _first_half, _groups
from getgan.export.limit import fewest_for, limit_of


def names(count: int) -> list[str]:
    return [str(number) for number in range(count)]


@pytest.mark.parametrize("alike", [0.0, 0.5, 0.9, 1.0])
@pytest.mark.parametrize(("studies", "frames", "share"), [(2, 60, 0.048), (10, 10, 0.01), (20, 8, 0.1)])
def test_no_more_of_a_further_study_is_refused_than_was_promised(
    alike: float, studies: int, frames: int, share: float
) -> None:
    """A study's effect and a picture's noise; by pictures alone 4.8 % was 27 % with such studies."""
    rng = np.random.default_rng(7)
    shares, inside, promised = [], [], 0.0
    for _ in range(400):
        study = np.repeat(np.arange(studies), rng.integers(1, 2 * frames, studies))
        scores = math.sqrt(alike) * rng.standard_normal(studies)[study]
        scores += math.sqrt(1.0 - alike) * rng.standard_normal(len(study))
        found = limit_of(scores, [str(number) for number in study], share)
        shares.append(0.5 * math.erfc(found.score / math.sqrt(2.0)))  # the sum's deviation is 1
        inside.append(found.low <= shares[-1] <= found.high)
        promised = found.share
    assert promised == pytest.approx(max(share, 1.0 / (studies + 1)))
    error = np.std(shares) / math.sqrt(len(shares))
    assert np.mean(shares) <= promised + 2.0 * error
    assert np.mean(inside) >= 0.9 - 2.0 * math.sqrt(0.09 / len(inside))


def test_pictures_of_as_many_studies_have_the_limit_that_counts_them() -> None:
    """Vovk's: exceeded as often as was promised, no oftener and hardly more seldom."""
    rng = np.random.default_rng(1)
    shares = []
    for _ in range(200):
        scores = rng.exponential(size=199)
        found = limit_of(scores, names(199), 0.01)
        assert found.score == np.sort(scores)[197] and found.share == 0.01
        shares.append(math.exp(-found.score))
    assert 0.008 < np.mean(shares) <= 0.0115


def test_what_many_frames_of_a_study_say_counts_once() -> None:
    """One study of 100 frames scores 9, nine of one frame score 1: a tenth of the studies is above."""
    scores = np.array([9.0] * 100 + [1.0] * 9)
    studies = ["long"] * 100 + names(9)
    assert limit_of(scores, studies, 0.2).score == 1.0
    assert limit_of(scores, studies, 0.1).score == 9.0
    assert limit_of(scores, names(109), 0.2).score == 9.0


@pytest.mark.parametrize(("count", "share"), [(98, 1 / 99), (99, 0.01)])
def test_too_few_for_a_share_promise_what_they_can(count: int, share: float) -> None:
    found = limit_of(np.arange(float(count)), names(count), 0.01)
    assert found.score == count - 1.0 and found.share == pytest.approx(share)


@pytest.mark.parametrize("share", [0.01, 0.02, 0.03, 0.05, 0.1, 1 / 3, 0.4])
def test_so_many_studies_as_are_said_can_promise_a_share_and_fewer_cannot(share: float) -> None:
    count = fewest_for(share)
    assert share != 0.01 or count == 198  # as docs/guard.md says
    for studies, kept in ((count, True), (count - 2, False)):
        if tested := int((~_first_half(names(studies))).sum()):
            assert (limit_of(np.arange(float(tested)), names(tested), share).share == share) is kept


def test_the_limit_s_half_is_never_empty() -> None:
    for sizes in ([57, 1, 1, 1], [10, 50], [1, 99], [30, 30]):
        first = _first_half([str(study) for study, size in enumerate(sizes) for _ in range(size)])
        assert 0 < first.sum() < sum(sizes), sizes


def test_a_picture_of_no_known_study_is_its_own() -> None:
    assert len(set(_groups(["", "", ""]))) == 3
    assert len(set(_groups(["a", "a", "a"]))) == 3  # one study cannot be halved
    assert len(set(_groups(["a", "a", "b", "", ""]))) == 4
