"""What the benchmarks share: random networks and pairs, one training step of ours and of pyvene's, and how to measure.

Random weights and random tokens cost the same time as real ones. Lightning's trainer is left out of `grid_step`: it is timed
without loggers, checkpoints and the early stopping, but with the captures.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from das import Nested
from das.find.alignment import Cell
from das.find.grid import GridTrainer
from das.find.kinds import Kind
from das.find.schedule import Schedule
from das.find.unattended import Unattended
from das.interchange.engine import ResumeEngine
from das.network.lm import LM
from das.network.site import Site
from das.pairs.dataset import Dataset, Labelled
from das.task.encoded import Encoded

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
    return Unattended(cells, engine, data, data, dict.fromkeys(data.pairs, 1), Schedule(steps, batch), room)


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
    def hits(self, data: Dataset) -> Any:
        """On which pairs of the hypothesis the swap gives the counterfactual answer. (pairs,)"""
        pairs = data.pairs[self.hypothesis]
        parts = np.array_split(np.arange(len(pairs)), -(-len(pairs) // self.batch))
        hits = [self.logits(data, rows).argmax(-1).cpu().numpy() == pairs.label[rows] for rows in parts]
        return np.concatenate(hits)


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
