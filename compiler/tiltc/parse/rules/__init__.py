"""What can be said about a typed spec from its files alone. A rule yields its findings; the order is of no account."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tiltc.diagnostics import Diagnostic
from tiltc.parse.rules.allows import unknown_allows
from tiltc.parse.rules.contrasts import missing_questions, unknown_keepers, unusable_contrasts
from tiltc.parse.rules.definitions import blank_definitions, misread_clusters, missing_examples, odd_names
from tiltc.parse.rules.features import features_without_sae
from tiltc.parse.rules.meant import misread_definitions
from tiltc.parse.rules.names import circular_parents, unknown_names, unknown_parents, wrong_side
from tiltc.parse.rules.patterns import unsound_patterns
from tiltc.parse.rules.references import unpinned_references
from tiltc.parse.rules.releases import unknown_releases
from tiltc.parse.rules.signals import idle_amplify, nobody_apart, repeated_signals, two_readouts, unclear_target
from tiltc.parse.rules.verify import missing_prompts
from tiltc.parse.specfile import SpecFile

RULES: tuple[Callable[[SpecFile], Iterator[Diagnostic]], ...] = (
    unknown_names,
    unknown_parents,
    circular_parents,
    wrong_side,
    repeated_signals,
    two_readouts,
    idle_amplify,
    unclear_target,
    nobody_apart,
    odd_names,
    blank_definitions,
    missing_examples,
    unusable_contrasts,
    unknown_keepers,
    missing_questions,
    misread_clusters,
    unsound_patterns,
    misread_definitions,
    unpinned_references,
    unknown_releases,
    features_without_sae,
    missing_prompts,
    unknown_allows,
)
