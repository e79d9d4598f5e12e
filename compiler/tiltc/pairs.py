"""Preference rows in the forms that trainers accept, brought into one: (prompt, chosen, rejected) with an identity."""

from __future__ import annotations

from tiltc.data.kinds import Row
from tiltc.data.messages import Message
from tiltc.data.pair import Pair, Text, ids_digest, plain_text
from tiltc.data.take import Taken, Wish, normalise, take

__all__ = ["Message", "Pair", "Row", "Taken", "Text", "Wish", "ids_digest", "normalise", "plain_text", "take"]
