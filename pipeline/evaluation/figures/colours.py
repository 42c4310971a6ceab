"""The colours of regions, in figures and on pages."""

RED, YELLOW = "#ff2d2d", "#ffe119"
# By the order of the regions; after the sixth chosen to differ most from those before, black and
# grey in CIELAB.
COLOURS = (
    *(RED, YELLOW, "#37c6ff", "#5fe36b", "#ff7de9", "#ff9b3d"),
    *("#3d5cff", "#ffffff", "#99993d", "#a6ffe1", "#ff00ff", "#bf4d60"),
)
FILL = 0.16  # opacity: the vessels stay visible
