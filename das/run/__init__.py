"""Run: an experiment: settings, cells, plan, workers, and the folder that is its only state."""

from das import handing_on

__getattr__, __all__ = handing_on(
    __name__,
    {
        "settings": "Settings",
        "fit_settings": "FitSettings",
        "experiment": "Experiment",
        "folder": "Folder",
        "plan": "plan_of Plan",
    },
)
