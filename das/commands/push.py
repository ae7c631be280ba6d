"""`das push`: an alignment to others."""

from __future__ import annotations


def push(
    run: str, cell: str, folder: str | None = None, repo: str | None = None, form: str = "das", token: str | None = None,
    private: bool = False,
) -> None:  # fmt: skip
    """Share an alignment: into a folder, or to the Hugging Face hub, with a card that says what was claimed and found.

    Args:
        run: The run's folder.
        cell: A cell by its id, or a hypothesis, whose chosen cell is meant.
        folder: A new folder to write to.
        repo: A repository of the hub to push to, such as me/left-boundary; needs a login there.
        form: das (safetensors and a model card, which also say how to do without das), or mib, a featurizer of the Mechanistic
            Interpretability Benchmark; that one into a folder only.
        token: With mib, what the benchmark calls the position, such as last_token; by default as das calls it.
        private: Whether a repository that is made is private.
    """
    from das.errors import DasError
    from das.use.run import Run
    from das.use.share import to_folder

    if (folder is None) == (repo is None) or (repo is not None and form != "das"):
        raise DasError("das push: give either --folder, or --repo (which takes --form das only)")
    alignment = Run.open(run).share(cell)
    if repo is not None:
        print(alignment.push_to_hub(repo, private=private))
    elif folder is not None:
        print(to_folder(alignment, folder, form, token))
