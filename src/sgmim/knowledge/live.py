"""Which knowledge is cheap enough to be computed as a run goes (--data.live, data/live.py)."""

from sgmim.data.live import Live
from sgmim.knowledge.edges import edges

LIVE = {"edges": Live(edges)}
