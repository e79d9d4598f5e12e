"""The audit's constants. The paper's were chosen for 260,000 pairs; here they are functions of the data's size that
give the paper's values there and something sensible from 300 pairs up.

    what                          300      2,000    15,000   260,000    paper
    data clusters                   9         28        93       512    512
    rows of a data cluster         33         71       161       508    508 on average
    rows selected per prompt       33         71       161       508    not said
    rows a feature must fire on     8         20       150       200    200
    label swaps                   200        200  ...           20      none
"""

from __future__ import annotations

from dataclasses import dataclass

#: rows ** POWER * FACTOR clusters: 512 at 260,000 rows
POWER, FACTOR = 0.6, 0.29
MOST_CLUSTERS = 512


@dataclass(frozen=True)
class Scale:
    """Everything that an audit chooses by a number.

    Attributes:
        tau: a response expresses a feature when it fires on more than this share of its tokens (paper section 4.5).
        silent: share of rows, those of least activity, left out of the feature view (4.6).
        data_clusters: contexts of the feature view (4.7).
        clusters: prompt clusters and response-delta clusters at most (5.5).
        n_top: rows of a prompt cluster that are tested (5.7).
        fewest_rows, fewest_features: smaller contexts and clusters are not tested (4.11).
        fewest_members: smaller communities are dropped (4.4).
        most_members: larger communities are split again: a concept sits in tens of features, not in hundreds.
        fires_in: rows on which a feature must fire to take part (5.3).
        geometry_rows: rows from which clusters of features are made; every row enters the tests (5.4).
        components: dimensions of the feature embedding (5.4).
        edges, most_degree: share of feature pairs that become edges (4.4), and the mean degree at which that ends.
        resolution: of modularity in Leiden.
    """

    data_clusters: int
    clusters: int
    n_top: int
    fires_in: int
    tau: float = 0.01
    silent: float = 0.05
    fewest_rows: int = 25
    fewest_features: int = 10
    fewest_members: int = 4
    most_members: int = 100
    geometry_rows: int = 30_000
    components: int = 128
    edges: float = 0.01
    most_degree: int = 64
    resolution: float = 1.0
    most_swaps: int = 200
    resamples: int = 1000
    reported: int = 200
    seed: int = 0


def scaled(rows: int) -> Scale:
    """The defaults for so many usable rows."""
    contexts = max(2, min(MOST_CLUSTERS, round(FACTOR * rows**POWER)))
    return Scale(
        data_clusters=contexts,
        clusters=min(MOST_CLUSTERS, 2 * contexts),
        n_top=max(25, round(rows / contexts)),
        fires_in=max(8, min(200, round(0.01 * rows))),
    )
