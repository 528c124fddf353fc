"""The doctor's look at the backends: each really computes, numpy's numbers and then a bundle's pictures."""

from __future__ import annotations

import ctypes
import importlib.util
import re
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from getgan.errors import GetganError
from getgan.runtime.backends import Candidate, Unsuitable
from getgan.runtime.backends.catalog import backend_of, candidates
from getgan.runtime.backends.tensorrt import TensorRt
from getgan.runtime.bundle import Bundle
from getgan.runtime.devices import Machine, library_version, machine
from getgan.runtime.doctor.check import Check
from getgan.runtime.doctor.probe import Probe, probe
from getgan.runtime.firstrun import graph_of
from getgan.runtime.guard.judge import Verdict
from getgan.runtime.guard.load import guard_of
from getgan.runtime.guard.promise import aspects_in_words, promise_in_words
from getgan.runtime.images import image_from_bytes
from getgan.runtime.pipeline import Pipeline, PipelineOptions
from getgan.runtime.session import Session, open_session

TENSORRT = TensorRt.name
RATE_FRAMES = 3
CUDA_REPAIR = "pip install -U 'onnxruntime-gpu[cuda,cudnn]'"


def checks(this: Machine) -> Iterator[tuple[Candidate, Check]]:
    """Run a few convolutions in each way that getgan knows, on each GPU.

    Not with TensorRT, which runs nothing that was not built before: `tensorrt.checks` tells of it.
    """
    gpus = [f"cuda:{number}" for number in range(max(1, len(this.gpus)))]
    for candidate in candidates([*gpus, "cpu"]):
        if candidate.backend != TENSORRT:
            yield candidate, _checked(candidate, probe(candidate))


def bundle_checks(path: Path, working: Sequence[Candidate], threads: int) -> Iterator[Check]:
    """Verify a bundle, and translate its golden image in every way that works here."""
    try:
        bundle = Bundle.open(path)
        size = bundle.verify()
        picture = image_from_bytes(bundle.read(bundle.manifest.golden[0].input))
    except GetganError as error:
        yield Check("bundle", "fault", str(error), "copy the bundle again, or getgan export it again")
        return
    manifest = bundle.manifest
    yield Check(
        "bundle",
        "ok",
        f"{manifest.model.name}, {len(manifest.files)} files, {size:,} bytes, every hash is right",
    )
    this = machine()
    yield _guard(bundle)
    for candidate in working:
        variants = [variant.name for variant in manifest.variants if variant.hint == candidate.precision]
        if not variants:
            lacking = f"the bundle holds no {candidate.precision}"
            yield Check(f"bundle on {candidate}", "none", lacking)
        for precision in variants:
            if lacking := _lacking(bundle, candidate, precision, this):
                yield Check(f"bundle on {candidate.backend} {candidate.device} {precision}", "none", lacking)
            else:
                yield _pictures(bundle, picture, candidate, precision, threads)


def _lacking(bundle: Bundle, candidate: Candidate, precision: str, this: Machine) -> str:
    """What a variant has not got for this way, in words: an engine; "" = nothing."""
    try:
        backend_of(candidate).key(graph_of(bundle, bundle.manifest.variant(precision)), candidate, this)
    except Unsuitable as reason:
        return str(reason)
    return ""


def _guard(bundle: Bundle) -> Check:
    """Whether the bundle has one, and what it promises; each session below lets it refuse a picture."""
    record = bundle.manifest.guard
    if record is None:
        return Check(
            "guard",
            "warn",
            "no guard: any picture becomes a face",
            "getgan export CKPT -o BUNDLE --calibration FOLDER",
        )
    try:
        guard_of(bundle)
    except GetganError as error:
        return Check("guard", "fault", str(error), "copy the bundle again, or getgan export it again")
    pictures = f"{record.fitted + record.tested} pictures ({record.about})"
    shapes = f"{aspects_in_words(record)} (others want --fit crop, --region, or an own calibration)"
    promise = f"refuses {promise_in_words(record)}"
    return Check("guard", "ok", f"calibrated with {pictures}, {shapes}; {promise}")


def _verdict(bundle: Bundle, session: Session) -> Verdict | None:
    """On the picture that every machine must refuse; None without a guard, or where it gave no picture."""
    guard, record = guard_of(bundle), bundle.manifest.guard
    if guard is None or record is None:
        return None
    refused = image_from_bytes(bundle.read(record.refused))
    pipeline = Pipeline(session, bundle.manifest.contract, guard=guard)
    return pipeline.translate([refused])[0].verdict


def _pictures(
    bundle: Bundle, picture: NDArray[np.uint8], candidate: Candidate, precision: str, threads: int
) -> Check:
    """How fast a variant translates a picture in one way, and how well its self-test went."""
    backend, device = candidate.backend, candidate.device
    name = f"bundle on {backend} {device} {precision}"
    try:
        with open_session(
            bundle, device=device, precision=precision, backend=backend, threads=threads
        ) as session:
            pipeline = Pipeline(session, bundle.manifest.contract, PipelineOptions(guard="off"))
            totals = [pipeline.translate([picture])[0].timings.total for _ in range(RATE_FRAMES)]
            test = session.info.self_test
            verdict = _verdict(bundle, session)
    except GetganError as error:
        return Check(name, "fault", str(error), f"getgan verify {bundle.path}")
    rate = 1.0 / statistics.median(totals)
    sides = f"{picture.shape[1]}x{picture.shape[0]}"
    found = f"{rate:.2f} pictures/s at {sides}; golden image: {test.psnr:.1f} dB, {test.max_levels} levels"
    if record := bundle.manifest.guard:
        if verdict is None or verdict.kind != "refused":
            kind = "no picture" if verdict is None else verdict.kind
            found = f"the guard takes {record.refused}, which it must refuse, for {kind}"
            return Check(name, "fault", found, f"getgan verify {bundle.path}")
        found += f"; the guard refuses a picture without a face, as it must (score {verdict.score:.1f})"
    return Check(name, "ok", found)


def missing_cuda_library() -> str:
    """The soname that ONNX Runtime's CUDA provider wants and the loader does not find; "" = none."""
    spec = importlib.util.find_spec("onnxruntime")
    places = spec.submodule_search_locations if spec else None
    for place in places or ():
        provider = Path(place) / "capi" / "libonnxruntime_providers_cuda.so"
        if provider.exists():
            try:
                ctypes.CDLL(str(provider))
            except OSError as error:
                return missing_soname(str(error))
    return ""


def missing_soname(message: str) -> str:
    """The library in the loader's "libcudnn.so.9: cannot open shared object file"; "" if there is none."""
    found = re.search(r"([\w.+-]+\.so[.\d]*): cannot open shared object file", message)
    return found[1] if found else ""


def _checked(candidate: Candidate, result: Probe) -> Check:
    name = str(candidate)
    if result.ok:
        return Check(name, "ok", result.found)
    if result.unsuitable:
        return Check(name, "none", result.found)
    if candidate.device != "cpu":
        missing = missing_cuda_library()
        found = f"{result.found}; the loader does not find {missing}" if missing else result.found
        return Check(name, "fault", found, CUDA_REPAIR)
    distributions = backend_of(candidate).distributions
    installed = next(filter(library_version, distributions), distributions[0])
    return Check(name, "fault", result.found, f"pip install --force-reinstall {installed}")
