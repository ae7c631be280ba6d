"""Task: the question in words: prompts with their positions and answers, other ways to put them, and hypotheses about what
computes the answer."""

from das import handing_on

__getattr__, __all__ = handing_on(
    __name__,
    {
        "prompt": "Prompt Encoded Tokenizer expand_positions",
        "shifts": "Shift Reword Given Context FewShot Chat Offset",
        "task": "Task Hypothesis load_task",
        "tokenizer": "make_tokenizer",
    },
)
