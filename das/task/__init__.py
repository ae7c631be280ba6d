"""Task: the question in words: prompts with their positions and answers, other ways to put them, and hypotheses about what
computes the answer."""

from das import handing_on

__getattr__, __all__ = handing_on(
    __name__,
    {
        "prompt": "Prompt",
        "positions": "Position expand_positions",
        "encoded": "Encoded",
        "shifts": "Shift Reword Given Context FewShot Chat Offset",
        "hypothesis": "Hypothesis",
        "task": "Task ask",
        "tensors": "Tensors",
        "files": "load_task",
        "names": "task_file task_names",
        "tokenizer": "Tokenizer make_tokenizer",
    },
)
