"""On a GPU, a part of an iteration as a CUDA graph: one launch, where each kernel would wait for Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

Answer = TypeVar("Answer")

# Calls before the recording. In them libraries allocate what they keep, and Adam its moments.
WARM_UP = 3


class Recorded:
    """Records functions of tensors after WARM_UP calls of each, and from then on replays what was recorded.

    A function must do the same whatever is in its tensors, whose shapes stay, and must read and write besides
    them only what stays in its place: networks, optimizers, PyTorch's own generator of noise. Its answer lies
    in the same memory each time, so a caller has done with it when it calls again; it has no gradient.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._memory = torch.cuda.graph_pool_handle()  # one for all: they run one after the other
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def __call__(self, function: Callable[..., Answer]) -> Callable[..., Answer]:
        """The function, recorded."""
        calls = 0
        graph: torch.cuda.CUDAGraph | None = None
        inputs: list[Tensor] = []
        answer: list[Answer] = []

        def recorded(*tensors: Tensor) -> Answer:
            nonlocal calls, graph
            if calls < WARM_UP:
                calls += 1
                return self._beside(function, tensors)
            if graph is None:
                inputs.extend(tensor.clone() for tensor in tensors)
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, pool=self._memory, stream=self._stream):
                    answer.append(function(*inputs))
            for place, tensor in zip(inputs, tensors, strict=True):
                if place.shape != tensor.shape:  # copy_ would spread it
                    raise ValueError(
                        f"a recorded function got {tuple(tensor.shape)}, not {tuple(place.shape)}"
                    )
                place.copy_(tensor)
            graph.replay()
            return answer[0]

        return recorded

    def _beside(self, function: Callable[..., Answer], tensors: tuple[Tensor, ...]) -> Answer:
        """A call on the stream that is recorded later, as PyTorch wants it."""
        now = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(now)
        with torch.cuda.stream(self._stream):
            answer = function(*tensors)
        now.wait_stream(self._stream)
        return answer
