"""What English abbreviations are read as, where the normaliser has no reading or only one of several.

Readings are words separated by spaces; a letter with a full stop is that letter's name.
"""

from __future__ import annotations

# written with or without a full stop
ABBREVIATIONS: dict[str, tuple[str, ...]] = {
    "mr": ("mister",), "mrs": ("missus",), "ms": ("miz", "miss"), "mx": ("mix",), "messrs": ("messers",),
    "dr": ("doctor", "drive"), "prof": ("professor", "prof"), "jr": ("junior",), "sr": ("senior", "sister"),
    "etc": ("et cetera",), "vs": ("versus", "v. s."), "approx": ("approximately", "approx"),
    "inc": ("incorporated", "ink"), "ltd": ("limited", "l. t. d."), "corp": ("corporation", "corp"),
    "bros": ("brothers",), "ave": ("avenue", "ave"), "blvd": ("boulevard",), "rd": ("road",), "hwy": ("highway",),
    "dept": ("department",), "govt": ("government",), "assn": ("association",),
    "intl": ("international",), "capt": ("captain",), "sgt": ("sergeant",), "lt": ("lieutenant",), "cpl": ("corporal",),
    "pvt": ("private",), "maj": ("major",), "hon": ("honorable", "hon"), "mt": ("mount", "mountain"), "ft": ("feet",
    "foot", "fort"), "pp": ("pages",), "vol": ("volume",), "vols": ("volumes",), "nos": ("numbers",), "tel":
    ("telephone", "tel"), "jan": ("january",), "feb": ("february",), "apr": ("april",), "aug": ("august",),
    "sept": ("september",), "oct": ("october",), "nov": ("november",), "dec": ("december",), "mon": ("monday",),
    "tue": ("tuesday",), "tues": ("tuesday",), "thu": ("thursday",), "thur": ("thursday",), "thurs": ("thursday",),
    "fri": ("friday",), "st": ("saint", "street"), "hr": ("hour", "hours", "h. r."), "hrs": ("hours",),
    "lb": ("pounds", "pound", "l. b."), "lbs": ("pounds",), "oz": ("ounces", "ounce", "oz"), "yr": ("year",),
    "yrs": ("years",), "mins": ("minutes", "mins"), "secs": ("seconds", "secs"), "km": ("kilometers", "kilometer",
    "k. m."), "cm": ("centimeters", "centimeter", "c. m."), "mm": ("millimeters", "millimeter", "m. m.", "mm"),
    "kg": ("kilograms", "kilogram", "k. g."), "mph": ("miles per hour", "m. p. h."), "kph": ("kilometers per hour",
    "k. p. h."), "kmh": ("kilometers per hour",), "am": ("am", "a. m."), "pm": ("p. m.",), "tv": ("t. v.",
    "television"), "ok": ("okay",), "ie": ("that is", "i. e."), "eg": ("for example", "e. g."), "aka": ("a. k. a.",
    "also known as"), "w/o": ("without",), "w/": ("with",), "c/o": ("care of",), "n/a": ("n. a.",
    "not applicable"), "ph.d": ("p. h. d.", "doctor of philosophy"), "phd": ("p. h. d.",), "b.sc": ("b. s. c.",),
    "m.sc": ("m. s. c.",),
}  # fmt: skip

# words of their own, abbreviations only with the full stop; in a sentence's end the word is the likelier
DOTTED: dict[str, tuple[str, ...]] = {
    "no": ("number",), "in": ("inches", "inch"), "sun": ("sunday",), "sat": ("saturday",), "wed": ("wednesday",),
    "mar": ("march",), "jun": ("june",), "jul": ("july",), "fig": ("figure",), "figs": ("figures",),
    "gen": ("general",), "col": ("colonel",), "rep": ("representative",), "sen": ("senator",), "gov": ("governor",),
    "rev": ("reverend",), "pres": ("president",), "co": ("company", "county"), "est": ("established", "estimated"),
    "apt": ("apartment",), "ed": ("edition", "editor"), "eds": ("editors",), "ch": ("chapter",),
    "sec": ("section", "second", "seconds"),
    "min": ("minutes", "minute", "minimum"), "max": ("maximum",), "p": ("page",), "al": ("al",), "ex": ("example",),
    "cf": ("compare",), "ca": ("circa",), "c": ("circa",), "v": ("versus",), "eq": ("equation",), "mass":
    ("massachusetts",), "ext": ("extension",), "temp": ("temperature",), "avg": ("average",), "misc":
    ("miscellaneous",), "pt": ("part", "point"), "sq": ("square",), "fl": ("fluid", "florida"), "gal": ("gallons",
    "gallon"), "tsp": ("teaspoons", "teaspoon"), "tbsp": ("tablespoons", "tablespoon"),
}  # fmt: skip

# of those, the ones that stand before a name
TITLES = frozenset(("gen", "col", "rep", "sen", "gov", "rev", "pres"))

MONTHS: tuple[str, ...] = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
MONTH_NAMES: frozenset[str] = frozenset((*MONTHS, *(month[:3] for month in MONTHS), "sept"))

# what may be said for a symbol inside a word, likeliest first; "" is silence, which is all any other symbol gets
SYMBOLS: dict[str, tuple[str, ...]] = {
    "&": ("and",), "@": ("at",), "+": ("plus", "and"), "=": ("equals", "is"), "%": ("percent",), "‰": ("per mille",),
    "#": ("hashtag", "", "hash", "number"), "/": ("", "slash", "or"), "\\": ("", "backslash"), "_": ("", "underscore"),
    "*": ("", "times", "star", "asterisk"), "°": ("degrees",), "×": ("times", "by"), "÷": ("divided by",),
    "±": ("plus or minus",), "^": ("to the power of",), "~": ("about", "", "tilde"), "≈": ("about",),
    "<": ("less than",), ">": ("greater than",), "≤": ("at most", "less than or equal to"),
    "≥": ("at least", "greater than or equal to"), "→": ("to", ""), "²": ("squared",), "³": ("cubed",),
    "$": ("dollars", "dollar"), "€": ("euros", "euro"), "£": ("pounds", "pound"), "¥": ("yen",), "₹": ("rupees",),
    "₩": ("won",), "¢": ("cents", "cent"), ".": ("", "dot", "point"), "−": ("minus",), "µ": ("micro",),
    "№": ("number",), "|": ("", "or"),
}  # fmt: skip
