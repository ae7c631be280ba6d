"""What the benchmarks share: random networks and pairs, one training step of ours and of pyvene's, and how to measure.

Random weights and random tokens cost the same time as real ones. Lightning's trainer is left out of `grid_step`: it is timed
without loggers, checkpoints and the early stopping, but with the captures.
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from das import Nested
from das.alignment import Cell
from das.dataset import Dataset, Labelled
from das.engine import ResumeEngine
from das.grid import GridTrainer, Schedule
from das.kinds import Kind
from das.lm import LM
from das.prompt import Encoded
from das.site import Site

Key = TypeVar("Key", bound=Hashable)

# --- networks and pairs ---


def network(
    d: int, layers: int, heads: int, kv_heads: int, intermediate: int, vocab: int, dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> LM:  # fmt: skip
    """A Llama with random weights, made on the device in its dtype without a copy elsewhere. It has no tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocab, hidden_size=d, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=kv_heads,
        intermediate_size=intermediate, tie_word_embeddings=False, pad_token_id=None, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    with torch.device(device):
        return LM(LlamaForCausalLM._from_config(config, dtype=dtype), None, f"random-{d}x{layers}")  # type: ignore[arg-type]


def position_names(count: int) -> list[str]:
    """`last-2`, `last-1`, `last`: the last positions of a prompt."""
    return [f"last-{back}" if back else "last" for back in range(count)][::-1]


def dataset(
    hypotheses: int, pairs: int, length: int = 82, prefix: int = 60, positions: int = 13, vocab: int = 1000, seed: int = 0
) -> Dataset:
    """Pairs of random prompts of equal length, no prompt twice, that share their first tokens; labels are random tokens."""
    rng = np.random.default_rng(seed)
    rows = 2 * hypotheses * pairs
    ids = rng.integers(3, vocab, (rows, length))
    ids[:, :prefix] = ids[0, :prefix]
    columns = {name: np.full((rows, 1), length - positions + i) for i, name in enumerate(position_names(positions))}
    table = {}
    for h, (base, source) in enumerate(np.arange(rows).reshape(hypotheses, 2, pairs)):
        labels = rng.integers(3, vocab, (3, pairs))
        table[f"hypothesis {h}"] = Labelled(base, source[None], *labels)
    return Dataset(Encoded(ids, np.full(rows, length), columns), table)


# --- one training step of ours ---


class _Alone(GridTrainer):
    """A grid trainer that goes without Lightning's."""

    steps_done = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.to(self.data[0].lm.device)
        made = self.configure_optimizers()
        self._parts = made["optimizer"], made["lr_scheduler"]["scheduler"]

    @property
    def global_step(self) -> int:  # type: ignore[override]
        return self.steps_done

    def optimizers(self, *_: Any) -> Any:
        return self._parts[0]

    def lr_schedulers(self) -> Any:
        return self._parts[1]

    def manual_backward(self, loss: Tensor, *_: Any, **__: Any) -> None:
        loss.backward()

    def log_dict(self, *_: Any, **__: Any) -> None:
        pass


def trainer(
    lm: LM, data: Dataset, layers: Sequence[int], positions: Sequence[str], kind: Kind | None = None, batch: int = 64,
    seeds: int = 1, steps: int = 300, room: float = 0.0, hypotheses: int | None = None,
) -> GridTrainer:  # fmt: skip
    """The whole grid (hypotheses × layers × positions × seeds), resuming over what all prompts begin with.

    room: bytes to keep captures in; with none every step captures its prompts anew. hypotheses: only so many of them.
    """
    sites = [Site(layer, position) for layer in layers for position in positions]
    names = list(data.pairs)[:hypotheses]
    cells = [Cell(name, site, kind or Nested(), seed) for name in names for site in sites for seed in range(seeds)]
    engine = ResumeEngine(lm, data.shared_prefix())
    return _Alone(cells, engine, data, data, dict.fromkeys(data.pairs, 1), Schedule(steps, batch), room)


def grid_step(module: Any) -> None:
    """One optimiser step of every cell, captures included."""
    module.step_on(module.capture())
    module.steps_done += 1


# --- one training step of pyvene's ---


class PyveneCell:
    """Boundless DAS for one cell the way pyvene's tutorial trains it, on pairs of prompts of equal length.

    Full forwards of base and source, a d × d rotation, Adam at 1e-3 and at 1e-2 for the boundary, both rising over the first
    tenth of the steps and falling to 0 thereafter, temperature 50 → 0.1, cross-entropy of the last token plus the boundary.
    """

    def __init__(
        self, lm: LM, data: Dataset, layer: int, position: str, batch: int = 64, steps: int = 300, hypothesis: str = ""
    ) -> None:
        from transformers import get_linear_schedule_with_warmup

        self.lm, self.position, self.batch, self.hypothesis = lm, position, batch, hypothesis or next(iter(data.pairs))
        self.data, self.steps, self.done = data, steps, 0
        self.model = _intervenable(lm, layer)
        self.swap = next(iter(self.model.interventions.values()))
        groups = [{"params": self.swap.rotate_layer.parameters()}, {"params": self.swap.intervention_boundaries, "lr": 1e-2}]
        self.optimizer = torch.optim.Adam(groups, lr=1e-3)
        self.schedule = get_linear_schedule_with_warmup(self.optimizer, steps // 10, steps)
        self.temperatures = torch.linspace(50.0, 0.1, steps)

    def logits(self, data: Dataset, rows: Any) -> Tensor:
        """After the last token, with the swap as it is now; rows: of the hypothesis' pairs."""
        pairs = data.pairs[self.hypothesis]
        column = int(data.prompts.positions[self.position][0, 0])
        base, source = ({"input_ids": _ids(self.lm, data, at[rows])} for at in (pairs.base, pairs.sources[0]))
        out = self.model(base, [source], {"sources->base": column})[1]
        logits: Tensor = out.logits[:, -1].float()
        return logits

    def step(self) -> float:
        """One optimiser step on the next pairs; the loss."""
        pairs = self.data.pairs[self.hypothesis]
        rows = np.arange(self.done * self.batch, (self.done + 1) * self.batch) % len(pairs)
        self.model.set_temperature(self.temperatures[self.done % self.steps].to(self.lm.device))
        label = torch.from_numpy(pairs.label[rows]).to(self.lm.device)
        loss = torch.nn.functional.cross_entropy(self.logits(self.data, rows), label) + self.swap.intervention_boundaries.sum()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.done += 1
        return float(loss.detach())

    @torch.no_grad()
    def iia(self, data: Dataset) -> float:
        """On all pairs of the hypothesis."""
        pairs = data.pairs[self.hypothesis]
        parts = np.array_split(np.arange(len(pairs)), -(-len(pairs) // self.batch))
        hits = [self.logits(data, rows).argmax(-1).cpu().numpy() == pairs.label[rows] for rows in parts]
        return float(np.concatenate(hits).mean())


def pyvene_step(lm: LM, data: Dataset, layer: int, position: str, batch: int = 64, steps: int = 300) -> Callable[[], float]:
    """One training step of a cell, as a function that returns the loss. Every call takes the next pairs."""
    return PyveneCell(lm, data, layer, position, batch, steps).step


def _ids(lm: LM, data: Dataset, rows: Any) -> Tensor:
    return torch.from_numpy(data.prompts.ids[rows]).to(lm.device)


def _intervenable(lm: LM, layer: int) -> Any:
    """pyvene's model with one boundless intervention at a layer's output; the network keeps no gradients."""
    with contextlib.redirect_stdout(io.StringIO()):
        import pyvene  # says what it has not found

    where = pyvene.RepresentationConfig(layer, "block_output", "pos", 1)
    kind = pyvene.BoundlessRotatedSpaceIntervention
    model = pyvene.IntervenableModel(pyvene.IntervenableConfig([where], kind), lm.model)
    model.set_device(lm.device)
    model.disable_model_gradients()
    return model


# --- measuring ---


def synchronize() -> None:
    """Waits for a CUDA device to finish, where there is one in use."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def seconds(function: Callable[[], Any]) -> float:
    """Seconds of one call."""
    synchronize()
    start = time.perf_counter()
    function()
    synchronize()
    return time.perf_counter() - start


def medians(functions: Mapping[Key, Callable[[], Any]], repeats: int, warm: int = 1) -> dict[Key, float]:
    """Median seconds of each; one call of each in turn, so that what else the machine does falls on all alike."""
    for function in functions.values():
        for _ in range(warm):
            function()
    times: dict[Key, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            times[name].append(seconds(function))
    return {name: statistics.median(values) for name, values in times.items()}


def operations(function: Callable[[], Any], warm: int = 1) -> float:
    """Floating-point operations of one call, after so many to warm up: matrix products, attention and the formulas below.

    torch's counter knows no matrix exponential, QR, triangular solve, nor the CPU's fused attention. A matrix exponential's
    backward is another one, of a matrix of twice the size; a QR's is products and triangular solves.
    """
    for _ in range(warm):
        function()
    with FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter:
        function()
    return float(counter.get_total_flops())


PRODUCTS = {1.192092800768788e-07: 0, 5.978858893805233e-04: 1, 5.116619363445086e-02: 2, 5.800524627688768e-01: 3,
            1.461661507209034e00: 4, 3.010066362817634e00: 5}  # fmt: skip
"""How many matrix products torch's matrix exponential takes, by the largest 1-norm for which that many do (fp32); beyond the
last it scales down and squares."""


def _exponential(matrix: Tensor, *_: Any, **__: Any) -> int:
    """2n³ a product; as many products as the norms of the matrices ask for."""
    n, total = matrix.shape[-1], 0
    for norm in torch.linalg.matrix_norm(matrix.detach(), 1).flatten().tolist():
        last = max(PRODUCTS)
        squarings = max(0, int(np.ceil(np.log2(max(norm, 1e-30) / last))))
        few = next((count for bound, count in PRODUCTS.items() if norm <= bound), PRODUCTS[last])
        total += 2 * n**3 * (few + squarings)
    return total


_exponential._get_raw = True  # type: ignore[attr-defined]


def _qr(shape: Sequence[int], *_: Any, **__: Any) -> int:
    """Householder, reduced, of m × n: 2mn² − ⅔n³ for R and as much again for Q."""
    *many, m, n = shape
    n, m = min(m, n), max(m, n)
    return int(np.prod(many)) * (4 * m * n**2 - 4 * n**3 // 3)


def _triangular(a: Sequence[int], b: Sequence[int], *_: Any, **__: Any) -> int:
    """n² for each right-hand side of n numbers."""
    return int(np.prod(b)) * a[-1]


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(gradient, query, key, value))


_FORMULAS: dict[Any, Any] = {
    torch.ops.aten.linalg_matrix_exp: _exponential,
    torch.ops.aten.linalg_qr: _qr,
    torch.ops.aten.linalg_solve_triangular: _triangular,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def peak_memory_mb(function: Callable[[], Any]) -> float:
    """The most memory (MB) that a fresh process had resident while it ran a function, which must be one that pickle knows by
    name or a `functools.partial` of one. What the libraries take is in it: compare with that of a function that does nothing.
    """
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(function, send, torch.get_num_threads()))
    process.start()
    send.close()
    try:
        return float(receive.recv())
    except EOFError as error:
        raise RuntimeError(f"{function} failed in a process of its own") from error
    finally:
        process.join()


def _measured(function: Callable[[], Any], send: Any, threads: int) -> None:
    torch.set_num_threads(threads)
    function()
    send.send(_high_water())


def _high_water() -> float:
    """This process' largest resident size (MB). Linux' `ru_maxrss` would count the process that started this one too."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


# --- reporting ---


def table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints rows as aligned columns, one for every key; numbers to the right."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    texts = [names, *[[_text(row.get(name, "")) for name in names] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    left = [any(isinstance(row.get(name), str) for row in rows) for name in names]
    for line in texts:
        cells = zip(line, widths, left, strict=True)
        print("  ".join(text.ljust(w) if is_left else text.rjust(w) for text, w, is_left in cells).rstrip(), flush=True)


def _text(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def write_json(path: Path | None, rows: Sequence[Mapping[str, Any]], **more: Any) -> None:
    """`{"rows": […], "machine": "…", …}`; nothing without a path."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"rows": list(rows), "machine": machine(), **more}, indent=1) + "\n")


def machine() -> str:
    """What the figures were taken on, in words."""
    info = Path("/proc/cpuinfo")
    lines: Iterator[str] = iter(info.read_text().splitlines() if info.exists() else [])
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    parts = [name or platform.machine(), f"{os.cpu_count()} cores", f"{torch.get_num_threads()} threads used"]
    if torch.cuda.is_initialized():
        parts.append(torch.cuda.get_device_name())
    return ", ".join([*parts, f"torch {torch.__version__}"])
