"""Draw: pictures and console tables; each is a function of what lies in a run folder."""

from das import handing_on

__getattr__, __all__ = handing_on(
    __name__,
    {
        "gallery": "figures",
        "heatmaps": "heatmap",
        "paper": "paper_table",
    },
)
