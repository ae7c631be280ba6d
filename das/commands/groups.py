"""Groups: in what order `--help` shows the many settings of a run, what matters first at the top."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from das.use.options import Option

GROUPS = {
    "Settings": {
        "what matters first": "task lm out layers positions hypotheses subspace workers json",
        "where and what else to look for": "components beside closed_forms seeds chosen_seeds budget trace dead race",
        "prompts and pairs": "under pairs columns families train_pairs val_pairs test_pairs only_correct seed",
        "training": "steps batch loss check_every patience",
        "judging": "nulls measures shifts retrain",
        "the machine": "launcher shard calibrate machine device dtype threads memory logger",
    },
    "FitSettings": {
        "what matters first": "task out base steps",
        "the network": "width layers heads whole_numbers lora lorra rank dtype",
        "training": "batch lr warmup weight_decay clip mix exam seed",
        "the machine": "device threads",
    },
}
"""Class of settings → heading → names of options. What stands nowhere here comes at the end."""

REST = "more"


def grouped(options: Sequence[Option], settings: str | None) -> Iterator[tuple[str, list[Option]]]:
    """Headings and their options; of a command without settings, all under one."""
    if settings is None:
        yield "options", list(options)
        return
    left = {option.name: option for option in options}
    for heading, names in GROUPS[settings].items():
        yield heading, [left.pop(name) for name in names.split() if name in left]
    if left:
        yield REST, list(left.values())
