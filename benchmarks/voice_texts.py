"""What the voices are compared on: sentences that a learner would read, and words that differ in one phoneme.

Written for this repository, before any voice had spoken them; none is from a corpus, and none was swapped afterwards.
"""

from __future__ import annotations

SENTENCES: tuple[str, ...] = (
    "Where did you put the keys to the blue car?",
    "My father makes fresh bread every Saturday morning.",
    "I'll call you as soon as the train arrives.",
    "Would you rather drink coffee or a cup of tea?",
    "The children were playing with a yellow ball in the yard.",
    "She usually watches television after she finishes her homework.",
    "Don't forget to bring your umbrella, because it might rain.",
    "He was at the bank for most of the afternoon.",
    "The noise from the street kept us awake all night.",
    "How much does it cost to mail this package?",
    "We've lived in the same house for a very long time.",
    "Turn left at the church, and you'll see the museum.",
    "The nurse told him to breathe slowly and stay calm.",
    "It was one of the best things that has ever happened to us.",
    "Is there a bathroom on the third floor?",
    "Fresh vegetables are cheaper at the village market.",
    "You shouldn't have to wait for more than an hour.",
    "The young woman wore a thick wool sweater and leather boots.",
    "They were going to go with us, but they couldn't.",
    "Please choose a job that you really enjoy.",
    "The sandwich costs $4.50 with a small drink.",
    "Our next meeting is on October 21st.",
    "Dr. Brown will see you in a few minutes.",
    "There are 18 students in my English class.",
    "What would you do if it were up to you?",
    "The boy threw a rock into the deep water.",
    "My brother works as a cook in a large hotel.",
    "Can I have a window seat, please?",
    "Although it was cold outside, nobody wanted to close the door.",
    "The judge asked a simple question about the money.",
)
"""Together they have all 39 phonemes; four have a price, a date, a title or a number."""

MINIMAL_PAIRS: tuple[tuple[str, str], ...] = (
    # vowels
    ("ship", "sheep"),
    ("bed", "bad"),
    ("cap", "cup"),
    ("full", "fool"),
    ("pen", "pain"),
    ("hat", "hot"),
    ("walk", "work"),
    # the first consonant
    ("vine", "wine"),
    ("think", "sink"),
    ("right", "light"),
    ("cold", "gold"),
    ("berry", "very"),
    ("pie", "buy"),
    ("chew", "shoe"),
    ("they", "day"),
    # a consonant inside a cluster, and the last one
    ("grass", "glass"),
    ("wing", "win"),
    ("mouth", "mouse"),
    ("seat", "seed"),
    ("back", "bag"),
)
"""Contrasts that textbooks of English pronunciation drill: ``(what is said, what should have been said)``."""
