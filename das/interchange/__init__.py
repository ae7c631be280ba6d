"""Interchange: the swap. What is swapped, what the network made of the prompts, what it answers after a swap, how often that is
what the causal model says."""

from das import handing_on

__getattr__, __all__ = handing_on(
    __name__,
    {
        "subspace": "Subspace",
        "engine": "ResumeEngine HookEngine",
        "selftest": "make_engine self_test",
        "score": "predictions",
        "accuracy": "task_accuracy",
    },
)
