"""Judge: what may be believed of an alignment: its scores beside baselines, the evidence for it, nulls, a verdict."""

from das import handing_on

__getattr__, __all__ = handing_on(
    __name__,
    {
        "evaluate": "examine Record",
        "evidence": "Scorecard scorecards",
        "failures": "failing_groups",
        "verdict": "judge Verdict VERDICTS",
    },
)
