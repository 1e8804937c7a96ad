"""The plots of the stories, a few to a module; `PLOTS` has them all, in a fixed order."""

from tinylm.text.stories.plots import home, outdoors, wonder, wood

PLOTS = (*home.PLOTS, *outdoors.PLOTS, *wood.PLOTS, *wonder.PLOTS)
