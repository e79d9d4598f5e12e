"""English words that carry grammar rather than meaning: they may be typical of a text, and name nothing."""

from __future__ import annotations

_FUNCTION = """
    a an the this that these those such some any each every either neither both all another other others own same
    of in on at by to for from with without within into onto over under about above below between among through
    during before after against toward towards upon across along around behind beyond off out up down via per as like
    and or but nor so yet if then than because since while although though unless until whether when where why how
    what which who whom whose there here
    be is am are was were been being do does did doing done have has had having will would shall should can could may
    might must ought isn't aren't wasn't weren't doesn't didn't hasn't haven't hadn't wouldn't shouldn't couldn't
    not no also just only very too more most much many few less least even still already again ever never always
    often however therefore thus rather quite especially my our your his her its their e g s t re ve ll d m
"""
_PRONOUNS = """
    i me mine myself we us ours ourselves you yours yourself he him himself she hers herself it itself they them theirs
    themselves one ones someone something anyone anything everyone everything i'm i've i'd i'll we're we've we'd we'll
    you're you've you'd you'll he's she's it's it'll they're they've they'll that's there's here's what's let's
"""
#: nothing is named by these, alone or in a pair
FUNCTION = frozenset(_FUNCTION.split())
#: nothing is named by these alone, and a pair with them may be telling: "i can't", "let me"
PRONOUNS = frozenset(_PRONOUNS.split())
#: and a pair that begins with these is the rest of something: "let me know"
_OBJECTS = frozenset(("me", "us", "him", "them", "myself", "yourself", "himself", "herself", "itself", "themselves"))


def names_something(term: str) -> bool:
    """Whether a word, pair of words or mark tells a reader what a text is about or looks like."""
    words = term.split(" ")
    if words[0] in _OBJECTS or any(word in FUNCTION for word in words):
        return False
    return not all(word in PRONOUNS for word in words)
