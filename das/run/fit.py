"""Train a small language model from scratch on a task, so that there is a network whose answers are known to be right."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from das.causal.columns import Column
from das.errors import DasError, unknown
from das.find.train import Checkpoints, Progress, go_on
from das.ground.checks import folder
from das.interchange.accuracy import task_accuracy
from das.network.adapter import adapted, save
from das.network.asking import whole_input
from das.network.lm import LM
from das.network.parts import tokens
from das.network.quiet import quiet
from das.progress import Reporter, silent
from das.run.begun import begin
from das.run.fit_settings import FitSettings
from das.run.lorra import Lorra
from das.run.representations import Representations
from das.run.settings import name_of
from das.task.encoded import Encoded
from das.task.files import load_task
from das.task.form import Form
from das.task.shifts import in_words
from das.task.task import Task
from das.task.tokenizer import Tokenizer, make_tokenizer
from das.task.variant import BASE
from das.text import count

Mix = Mapping[str, float]


def variants(task: Task) -> list[str]:
    """Everything that can be mixed into a batch: the base prompt, shifts, siblings."""
    return [BASE, *task.shifts, *task.siblings]


def corpus(task: Task) -> list[str]:
    """Prompts and answers of every variant, counterfactual answers among them: everything that the tokenizer must know."""
    rng, texts = np.random.default_rng(0), []
    for variant in variants(task):
        asked = task.variant(variant)
        few = asked.inputs.size is not None and asked.inputs.size <= 20_000
        drawn = asked.inputs.enumerate() if few else asked.inputs.sample(rng, 5000)
        columns = asked.run(drawn)
        texts += asked.prompt.render(columns).names + _said(asked.prompt, columns[asked.model.output])
    for _ in range(10):
        texts += _said(task.prompt, task.outputs(task.model.sample(rng, 5000)))
    return texts


def _said(prompt: Form, outputs: Column) -> list[str]:
    return [text for forms in prompt.answer_forms(outputs) for text in forms]


def _check_mix(task: Task, mix: Mapping[int, Mix]) -> None:
    """DasError on an unknown variant, or where no phase begins at step 0."""
    for name in (name for phase in mix.values() for name in phase):
        if name not in variants(task):
            raise unknown("variant in the mix", name, variants(task))
    if mix and 0 not in mix:
        raise DasError("mix: expected a first phase that begins at step 0")


def _check_ends(task: Task, tokenizer: Tokenizer) -> None:
    """DasError where an answer begins another: what follows an answer is not trained, so it would end at random."""
    for name in variants(task):
        if task.draw(name, tokenizer, np.random.default_rng(0), 1).answers.going_on.size:
            raise DasError(
                f"{task.name}: an answer is the beginning of another, and nothing would teach a network where it ends. End all "
                "answers with something that none of them holds, such as a full stop or a line end"
            )


class _Batches:
    """Batches by step number: the same step of the same seed is always the same batch."""

    def __init__(self, task: Task, tokenizer: Tokenizer, settings: FitSettings) -> None:
        self.task, self.tokenizer, self.settings = task, tokenizer, settings
        self.mix = dict(sorted(settings.mix.items())) or {0: dict.fromkeys(variants(task), 1.0)}

    def at(self, step: int) -> tuple[Encoded, Tensor]:
        """Prompts, each followed by its answer but for the last token, and the answers' tokens (rows, steps), −1 where an
        answer has no more."""
        rng = np.random.default_rng([self.settings.seed, step])
        phase = self.mix[max(start for start in self.mix if start <= step)]
        shares = np.array(list(phase.values()), float)
        counts = rng.multinomial(self.settings.batch, shares / shares.sum())
        drawn = [(name, int(n)) for name, n in zip(phase, counts, strict=True) if n]
        parts = [self.task.draw(name, self.tokenizer, rng, n, alone=True) for name, n in drawn]
        spelled = [asked.answers.spelling(asked.numbers) for asked in parts]
        steps = max(said.shape[1] for said in spelled)
        told = [tokens(asked.alone()).forced(said[:, :-1].clip(0)) for asked, said in zip(parts, spelled, strict=True)]
        whole = [np.pad(said, ((0, 0), (0, steps - said.shape[1])), constant_values=-1) for said in spelled]
        return Encoded.concat(told), torch.from_numpy(np.concatenate(whole))


def answer_logits(model: Any, prompts: Encoded) -> Tensor:
    """Logits after each prompt's last token, and of every step of the answer behind it, (rows, steps, vocabulary); the prefix
    that all prompts share is run once."""
    rows, width = prompts.ids.shape
    shared = min(prompts.common_prefix(), int(prompts.lengths.min()) - prompts.steps)
    start = width - int(prompts.lengths.max()) + shared
    ids, lengths = torch.from_numpy(prompts.ids), torch.from_numpy(prompts.lengths)
    head = torch.from_numpy(prompts.ids[:1, width - prompts.lengths[0] :][:, :shared])
    cache = model.get_decoder()(head, use_cache=True).past_key_values
    cache.batch_repeat_interleave(rows)
    position = torch.arange(start, width) - (width - lengths)[:, None]
    keep = torch.cat([torch.ones(rows, shared, dtype=torch.long), (position >= shared).long()], 1)
    with whole_input(model):
        out = model(
            ids[:, start:], past_key_values=cache, attention_mask=keep, position_ids=position.clamp(min=0),
            logits_to_keep=prompts.steps,
        )  # fmt: skip
    logits: Tensor = out.logits[:, -prompts.steps :].float()
    return logits


class _Fit(pl.LightningModule):
    strict_loading = False  # a checkpoint holds what is trained, no more

    def __init__(self, model: nn.Module, batches: _Batches) -> None:
        super().__init__()
        self.model, self.batches, self.settings = model, batches, batches.settings
        self.recent: list[float] = []
        self.note = ""

    def training_step(self, _: Any, index: int) -> Tensor:
        prompts, answers = self.batches.at(self.global_step)
        logits = answer_logits(self.model, prompts)
        each = nn.functional.cross_entropy(logits.flatten(0, 1), answers.flatten(), ignore_index=-1, reduction="sum")
        loss, right = each / len(answers), ((logits.argmax(-1) == answers) | (answers < 0)).all(1)
        self.recent = [*self.recent[-49:], float(right.float().mean())]
        self.note = f"loss {float(loss.detach()):.3f} · accuracy {np.mean(self.recent):.3f}"
        return loss

    def configure_optimizers(self) -> Any:
        s = self.settings
        trained = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, s.lr, weight_decay=s.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, s.lr, total_steps=s.steps, pct_start=s.warmup)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        checkpoint["state_dict"] = {name: value for name, value in checkpoint["state_dict"].items() if name in trained}

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(range(self.settings.steps - self.global_step), batch_size=None)  # type: ignore[arg-type]


class _Adapt(_Fit):
    """Trains an adapter towards representations."""

    def __init__(self, model: nn.Module, batches: _Batches, towards: Representations) -> None:
        super().__init__(model, batches)
        self.towards = towards

    def training_step(self, _: Any, index: int) -> Tensor:
        loss = self.towards.distance(self.global_step)
        self.note = f"distance {float(loss.detach()):.3f}"
        return loss


def _new_model(tokenizer: Tokenizer, settings: FitSettings) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(settings.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=settings.width,
            intermediate_size=settings.width * 8 // 3 // 16 * 16,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads,
            num_key_value_heads=settings.heads,
            max_position_embeddings=512,
            tie_word_embeddings=False,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=None,
        )
    )


def fit(settings: FitSettings, report: Reporter = silent) -> dict[str, float]:
    """Train, save to `settings.out` and return the accuracy per variant. A killed run goes on where it was."""
    task, started = load_task(settings.task), time.time()
    out = folder("out", f"models/{task.name}" if settings.out is None else settings.out)
    if out.exists():
        raise DasError(f"{out} exists already: give another folder, or remove it")
    _check_mix(task, settings.mix)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    in_words(task.variant(BASE))  # a das.Net is trained by the file that makes it
    model, tokenizer, towards = _network(task, settings)
    task.check(tokenizer)
    for change in [*task.shifts.values(), *task.siblings.values()]:
        task.check_shift(change, tokenizer)
    _check_ends(task, tokenizer)
    batches = _Batches(task, tokenizer, settings)
    work = out.with_name(f"{out.name}.partial")
    begin(work, plain(settings))
    _train(_Adapt(model, batches, towards) if towards else _Fit(model, batches), work, report)
    _check_finite(model, settings, work)
    if settings.lora:
        save(model, work / "network")
    else:
        model.save_pretrained(work / "network")
        tokenizer.save_pretrained(work / "network")
    scores = _exam(task, LM.load(str(work / "network")), settings.exam, report)
    near = {"distance": [towards.approach(before=True), towards.approach()]} if towards else {}
    _finish(plain(settings) | near | {"accuracy": scores, "seconds": round(time.time() - started)}, work, out)
    return scores


def _network(task: Task, settings: FitSettings) -> tuple[Any, Tokenizer, Representations | None]:
    """The network to be trained, with its tokenizer, and the representations that it is trained towards, if it is."""
    if settings.base is None:
        tokenizer = make_tokenizer(corpus(task), settings.whole_numbers)
        return _new_model(tokenizer, settings), tokenizer, None
    lm = LM.load(settings.base, settings.dtype)
    torch.manual_seed(settings.seed)
    if settings.lorra is not None:
        towards = Representations(task, lm, Lorra.of(settings.lorra), settings.base, settings.seed)
        return towards.model, lm.tokenizer, towards
    model = adapted(lm.model, settings.rank, settings.base) if settings.lora else lm.model.requires_grad_(True)
    return model, lm.tokenizer, None


def _train(module: _Fit, work: Path, report: Reporter) -> None:
    """Trains a network in place, with some ten checkpoints or more on the way."""
    quiet()
    model, batches, s = module.model, module.batches, module.settings
    keep = Checkpoints(work, max(1, min(200, s.steps // 10)))
    name = f"{batches.task.name}: {sum(p.numel() for p in model.parameters() if p.requires_grad):,} parameters"
    with report.task(name, s.steps) as step:
        trainer = pl.Trainer(
            max_steps=s.steps, accelerator="cpu", gradient_clip_val=s.clip, logger=False,
            callbacks=[keep, Progress(step)], enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        go_on(trainer, module, work, batches.task.name, report)


def _check_finite(model: nn.Module, settings: FitSettings, work: Path) -> None:
    """DasError where the training has diverged; the working folder goes, for nothing can go on from it."""
    if all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters()):
        return
    shutil.rmtree(work)
    raise DasError(f"the training diverged, its weights are not numbers any more: lr is {settings.lr:g}, give a lower one")


def _exam(task: Task, lm: LM, n: int, report: Reporter) -> dict[str, float]:
    """Variant → the accuracy on `n` prompts of it."""
    names = variants(task)
    scores: dict[str, float] = {}
    with report.task(f"{task.name}: accuracy on {n} prompts of {count(len(names), 'variants')}", len(names)) as step:
        for done, name in enumerate(names, 1):
            scores |= task_accuracy(task, lm, n, [name])
            step(done, f"{name} {scores[name]:.3f}")
    return scores


def plain(settings: FitSettings) -> dict[str, Any]:
    """The settings as JSON holds them."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(replace(settings, task=name_of(settings.task)))))
    return values


def _finish(card: Mapping[str, Any], work: Path, out: Path) -> None:
    """Writes what is known of the network beside it, moves it to `out` whole, and removes the rest."""
    (work / "network" / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    (work / "network").rename(out)
    shutil.rmtree(work)
