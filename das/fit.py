"""Train a small language model from scratch on a task, so that there is a network whose answers are known to be right."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from das.errors import DasError, unknown
from das.prompt import Encoded, Tokenizer, answer_tokens, encode
from das.settings import FitSettings
from das.task import Task, load_task

Mix = Mapping[str, float]


# --- the tokenizer ---


def make_tokenizer(texts: Sequence[str], whole_numbers: bool = False) -> Tokenizer:
    """A tokenizer of words, numbers (by digit, or whole), punctuation marks and line ends that knows exactly `texts`."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<unk>", "<s>"]
    number = r"\d+" if whole_numbers else r"\d"
    split = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[^\S\n]+"), "removed"),
            pre_tokenizers.Split(Regex(rf"{number}|\n|[^\W\d]+|[^\w\s]"), "isolated"),
        ]
    )
    words = sorted({piece for text in texts for piece, _ in split.pre_tokenize_str(text)})
    vocabulary = {word: index for index, word in enumerate(special + words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([])
    tokenizer.pre_tokenizer = split
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", vocabulary["<s>"])])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", padding_side="left"
    )


def variants(task: Task) -> list[str]:
    """Everything that can be mixed into a batch: the base prompt, shifts, siblings."""
    return ["base", *task.shifts, *task.siblings]


def sample_texts(task: Task, variant: str, rng: np.random.Generator, n: int) -> list[tuple[str, str]]:
    """`n` (prompt, answer) texts of a variant."""
    prompt, model, inputs = task.variant(variant)
    columns = model.run(inputs.sample(rng, n))
    return list(zip(prompt.render(columns).texts, prompt.answer_texts(columns[model.output]), strict=True))


def _corpus(task: Task) -> list[str]:
    rng = np.random.default_rng(0)
    texts = []
    for variant in variants(task):
        _, model, inputs = task.variant(variant)
        n = min(model.size or 5000, 5000)
        texts += [a + b for a, b in sample_texts(task, variant, rng, n)]
        if inputs.size is not None and inputs.size <= 20_000:
            prompt, columns = task.variant(variant)[0], model.run(inputs.enumerate())
            texts += prompt.render(columns).texts + prompt.answer_texts(columns[model.output])
    return texts


# --- training ---


class _Batches:
    """Batches by step number: the same step of the same seed is always the same batch."""

    def __init__(self, task: Task, tokenizer: Tokenizer, settings: FitSettings) -> None:
        self.task, self.tokenizer, self.settings = task, tokenizer, settings
        self.mix = dict(sorted(settings.mix.items())) or {0: dict.fromkeys(variants(task), 1.0)}
        for name in (name for phase in self.mix.values() for name in phase):
            if name not in variants(task):
                raise unknown("variant in the mix", name, variants(task))
        if 0 not in self.mix:
            raise DasError("mix: expected a first phase that begins at step 0")

    def draw(self, variant: str, rng: np.random.Generator, n: int) -> tuple[Encoded, Tensor]:
        """`n` prompts of one variant and the tokens that answer them."""
        prompt, model, inputs = self.task.variant(variant)
        columns = model.run(inputs.sample(rng, n))
        rendered = prompt.render(columns)
        answers = answer_tokens(self.tokenizer, rendered.texts[0], prompt.answer_texts(columns[model.output]))
        return encode(rendered, self.tokenizer), torch.from_numpy(answers)

    def at(self, step: int) -> tuple[Encoded, Tensor]:
        rng = np.random.default_rng([self.settings.seed, step])
        phase = self.mix[max(start for start in self.mix if start <= step)]
        shares = np.array(list(phase.values()), float)
        counts = rng.multinomial(self.settings.batch, shares / shares.sum())
        parts = [self.draw(name, rng, int(n)) for name, n in zip(phase, counts, strict=True) if n]
        return Encoded.concat([prompts for prompts, _ in parts]), torch.cat([answers for _, answers in parts])


def answer_logits(model: nn.Module, prompts: Encoded) -> Tensor:
    """Logits after each prompt's last token, (rows, vocabulary); the prefix that all prompts share is run once."""
    rows, width = prompts.ids.shape
    shared = min(prompts.common_prefix(), int(prompts.lengths.min()) - 1)
    start = width - int(prompts.lengths.max()) + shared
    ids, lengths = torch.from_numpy(prompts.ids), torch.from_numpy(prompts.lengths)
    head = torch.from_numpy(prompts.ids[:1, width - prompts.lengths[0] :][:, :shared])
    cache = model.get_decoder()(head, use_cache=True).past_key_values
    cache.batch_repeat_interleave(rows)
    position = torch.arange(start, width) - (width - lengths)[:, None]
    keep = torch.cat([torch.ones(rows, shared, dtype=torch.long), (position >= shared).long()], 1)
    out = model(
        ids[:, start:], past_key_values=cache, attention_mask=keep, position_ids=position.clamp(min=0), logits_to_keep=1
    )
    return out.logits[:, -1].float()


class _Fit(pl.LightningModule):
    def __init__(self, model: nn.Module, batches: _Batches) -> None:
        super().__init__()
        self.model, self.batches, self.settings = model, batches, batches.settings

    def training_step(self, _: Any, index: int) -> Tensor:
        prompts, answers = self.batches.at(self.global_step)
        logits = answer_logits(self.model, prompts)
        loss = nn.functional.cross_entropy(logits, answers)
        accuracy = (logits.argmax(-1) == answers).float().mean()
        self.log_dict({"loss": loss, "accuracy": accuracy}, prog_bar=True, batch_size=len(answers))
        return loss

    def configure_optimizers(self) -> Any:
        s = self.settings
        optimizer = torch.optim.AdamW(self.parameters(), s.lr, weight_decay=s.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, s.lr, total_steps=s.steps, pct_start=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(range(self.settings.steps - self.global_step), batch_size=None)  # type: ignore[arg-type]


def _new_model(tokenizer: Tokenizer, settings: FitSettings) -> nn.Module:
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


@torch.no_grad()
def accuracies(model: nn.Module, batches: _Batches, n: int = 2000) -> dict[str, float]:
    """The network's accuracy on freshly drawn prompts of every variant."""
    model.eval()
    table = {}
    for index, variant in enumerate(variants(batches.task)):
        rng = np.random.default_rng([10**6, index])
        right = 0
        for _ in range(n // 200):
            prompts, answers = batches.draw(variant, rng, 200)
            right += int((answer_logits(model, prompts).argmax(-1) == answers).sum())
        table[variant] = right / (n // 200 * 200)
    return table


def fit(settings: FitSettings) -> dict[str, float]:
    """Train, save to `settings.out` and return the accuracy per variant. A killed run goes on where it was."""
    out, work = Path(settings.out), Path(f"{settings.out}.partial")
    if out.exists():
        raise DasError(f"{out} exists already: give another folder, or remove it")
    task = load_task(settings.task)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    tokenizer = make_tokenizer(_corpus(task), settings.whole_numbers)
    task.check(tokenizer)
    batches = _Batches(task, tokenizer, settings)
    model, started = _new_model(tokenizer, settings), time.time()
    checkpoint = pl.callbacks.ModelCheckpoint(work, save_last=True, every_n_train_steps=200, save_top_k=0)
    trainer = pl.Trainer(
        max_steps=settings.steps, accelerator="cpu", precision=settings.precision, logger=False, log_every_n_steps=10,
        callbacks=[checkpoint, pl.callbacks.RichProgressBar(leave=True)], enable_model_summary=False,
    )  # fmt: skip
    last = work / "last.ckpt"
    trainer.fit(_Fit(model, batches), ckpt_path=str(last) if last.exists() else None, weights_only=True)
    scores = accuracies(model, batches)
    card = asdict(settings) | {"accuracy": scores, "seconds": round(time.time() - started)}
    _save(model, tokenizer, card, work, out)
    return scores


def _save(model: nn.Module, tokenizer: Tokenizer, card: Mapping[str, Any], work: Path, out: Path) -> None:
    model.save_pretrained(work)
    tokenizer.save_pretrained(work)
    (work / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    for checkpoint in work.glob("*.ckpt"):
        checkpoint.unlink()
    work.rename(out)
