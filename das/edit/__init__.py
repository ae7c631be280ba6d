"""Edit: weights changed by a little, so that a network answers one thing otherwise; as patches that can be taken out again."""

from das import handing_on

__getattr__, __all__ = handing_on(
    __name__,
    {
        "memory": "Memory",
        "covariance": "Moment second_moments",
        "patch": "Patch Change",
        "files": "patch_folder undo_folder patches_in",
        "rome": "Association Settings associate",
        "tuned": "tune",
    },
)
