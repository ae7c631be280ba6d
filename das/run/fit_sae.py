"""Fit SAE: a sparse autoencoder of a network's activations at one spot, trained while the network reads."""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from das.errors import DasError, shown
from das.find.autoencoder import Autoencoder, Law
from das.find.train import Checkpoints, Progress, go_on
from das.ground.checks import folder, number, whole
from das.interchange.sae import SAE, quality
from das.interchange.saelens import Kept, hook_of, read, write
from das.interchange.selftest import make_engine
from das.network.given import Given
from das.network.lm import LM
from das.network.net import Net
from das.network.quiet import quiet
from das.network.site import Spot, parse_component
from das.progress import Reporter, silent
from das.run.activations import Activations, Window
from das.run.begun import begin
from das.run.reading import reading
from das.run.settings import name_of
from das.task.task import Task

MOST = 2**20
"""No dictionary has so many latents, no text so long a context."""

WARM, COOL = 0.1, 0.2
"""The first share of the steps, over which what is paid for activity grows; the last one, over which the rate falls to 0."""


@dataclass(frozen=True)
class SaeSettings:
    """What a training goes by; see `fit_sae`."""

    law: Law
    tokens: int
    steps: int
    batch: int
    lr: float
    context: int
    seed: int

    def __post_init__(self) -> None:
        whole("latents", self.law.latents, 2, MOST)
        whole("k", self.law.k, 1, self.law.latents)
        number("l1", self.law.l1, 0, 10**6)
        whole("tokens", self.tokens, 1, 10**10)
        for name, most in (("steps", 10**8), ("batch", 10**6), ("context", MOST)):
            whole(name, getattr(self, name), 1, most)
        whole("seed", self.seed, 0, 2**31)
        number("lr", self.lr, 0, 1, above=True)


def fit_sae(
    site: str | int | Spot, lm: str | Path | LM, text: str | Path | Task, out: str | Path, *, kind: str = "batchtopk",
    latents: int = 2048, k: int = 32, l1: float = 5.0, tokens: int = 200_000, steps: int = 2000, batch: int = 512,
    lr: float = 1e-3, context: int = 128, seed: int = 0, dtype: str = "float32", device: str = "auto",
    report: Reporter = silent,
) -> Kept:  # fmt: skip
    """Trains a sparse autoencoder and writes it into a folder in SAELens' layout (see `das.interchange.saelens`); a killed
    training goes on where it was.

    site: a layer's number, whose output is taken, or `mlp_output[3]`; vectors are those of all tokens, so it has no position.
    text: a file or a folder of files with text, or a task, whose prompts are drawn.
    kind: `batchtopk`, `topk`, `jumprelu` or `l1`. latents: how many; k: of them active in a vector; l1: what activity costs
        where the kind is that. tokens: of the text, at most; each is seen steps · batch / tokens times. context: tokens of a
        text that are read together.

    Returns the dictionary, its `about` with what it is worth on held-out activations: `explained` (variance), `l0`, `dead`
    (share of latents). DasError where the folder is there already, or a setting is not what it may be.
    """
    settings = SaeSettings(Law(kind, latents, k, l1), tokens, steps, batch, lr, context, seed)
    path, spot, network, started = folder("out", out), _spot(site), Given(lm, dtype, device), time.time()
    named = {"model_name": name_of(lm), "context_size": context, "kind": kind, "steps": steps}
    if path.exists():
        raise DasError(f"{path} exists already: give another folder, or remove it")
    _check(network, spot, lm)
    source = reading(text, network.tokenizer, tokens, context, seed)
    work = path.with_name(f"{path.name}.partial")
    begin(work, {**asdict(settings), "spot": list(spot), "lm": name_of(lm), "text": source.name})
    some = source.held_at(0)
    engine = make_engine(network.lm, components=[spot[0]], length=some.width, prompts=some, layers=[spot[1]])
    stream = Activations(engine, spot, source, report)
    made = _train(stream, settings, work, report).frozen()
    write(work / "dictionary", made, spot, named | _worth(made, stream) | {"seconds": round(time.time() - started)})
    (work / "dictionary").rename(path)
    shutil.rmtree(work)
    return read(path)


def _worth(made: SAE, stream: Activations) -> dict[str, Any]:
    """What a dictionary is worth on held-out activations, and what it was trained on."""
    source = stream.source
    of = {"dataset_path": source.name, "training_tokens": source.batches * source.tokens, "left_out": stream.left_out}
    return of | asdict(quality(made, stream.held))


def _spot(given: str | int | Spot) -> Spot:
    """A spot as a user names it."""
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], str) and isinstance(given[1], int):
        return given
    found = re.fullmatch(r"(?:([^\[\]]+)\[)?(\d{1,6})(\])?", str(given).replace(" ", ""))
    if isinstance(given, bool) or not found or (found[1] is None) != (found[3] is None):
        raise DasError(f"site {shown(given)}: expected a layer, such as 3, or a component and its layer, such as mlp_output[3]")
    return found[1] or "block_output", int(found[2])


def _check(network: Given, spot: Spot, lm: Any) -> None:
    """DasError where there is no such place, or a network that reads no words; before its weights are loaded."""
    component, layer = spot
    if isinstance(network.net, Net):
        raise DasError(f"{network.net.name} takes tensors: a dictionary is trained on the activations of a network that reads")
    if layer >= network.layers:
        raise DasError(f"layer {layer} does not exist: {name_of(lm)} has layers 0 to {network.layers - 1}")
    parse_component(component)
    if component != "block_output":
        network.skeleton.tap(component, layer)


class _FitSAE(pl.LightningModule):
    def __init__(self, model: Autoencoder, window: Window, settings: SaeSettings) -> None:
        super().__init__()
        self.model, self.settings, self.note = model, settings, ""
        self.draw = window.draw

    def training_step(self, _: Any, index: int) -> Tensor:
        rows = self.draw(self.global_step).to(self.device)
        loss = self.model.loss(rows, min(1.0, self.global_step / (WARM * self.settings.steps)))
        self.note = f"loss {float(loss.detach()) / rows.shape[1]:.3f}"
        return loss

    def configure_optimizers(self) -> Any:
        s = self.settings
        optimizer = torch.optim.Adam(self.parameters(), s.lr)
        rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (1 - step / s.steps) / COOL))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rate, "interval": "step"}}

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(range(self.settings.steps - self.global_step), batch_size=None)  # type: ignore[arg-type]


def _train(stream: Activations, settings: SaeSettings, work: Path, report: Reporter) -> Autoencoder:
    """Trains on the stream, with some ten checkpoints or more on the way."""
    quiet()
    s, window = settings, Window(stream, settings.steps, settings.batch, settings.seed, report)
    module = _FitSAE(Autoencoder(s.law, stream.at(0), s.seed), window, s)
    with report.task(f"dictionary: {s.law.latents} latents of {hook_of(stream.spot)}", s.steps) as step:
        trainer = pl.Trainer(
            max_steps=s.steps, accelerator="cpu", logger=False, callbacks=[Checkpoints(work, max(1, min(500, s.steps // 10))),
            Progress(step)], enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        go_on(trainer, module, work, "dictionary", report)
    if not all(bool(p.isfinite().all()) for p in module.model.parameters()):
        shutil.rmtree(work)
        raise DasError(f"the training diverged, its weights are not numbers any more: lr is {s.lr:g}, give a lower one")
    return module.model


def folder_name(lm: str | Path, site: str | int | Spot) -> str:
    """A name for a dictionary's folder, of letters, digits and `._-`."""
    component, layer = _spot(site)
    return re.sub(r"[^\w.-]+", "_", f"{Path(lm).name}-{component}-{layer}")
