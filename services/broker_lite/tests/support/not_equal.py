"""Recorded exchanges that this server answers differently, each with the reason. The test fails for a listed one that
has become equal, so this list cannot rot."""

_LOCATION = "The reference broker's Location has a misspelt path ('pacticpants'); ours leads to the resource."
_MERGED_SHA = (
    "After a merge the reference broker keeps the SHA of the added part alone; ours is the SHA of the merged content."
)
_PARSER_WORDS = "The sentence about malformed JSON is in the words of another parser."
_RUBY_OBJECT = "The reference broker shows an internal object here; ours says what was selected."
_NULL_BODY = "For no body the reference broker sends the text 'null' as a form; ours sends nothing."
_DIFF_END = "The reference broker's difference lacks the last closing brace."

NOT_EQUAL: dict[str, str] = {
    "05#9": _LOCATION,
    "22#2": _NULL_BODY,
    "22#3": "The error of a refused connection is in the words of another HTTP client; no body is sent as null.",
    "22#4": _NULL_BODY,
    "31#6": _RUBY_OBJECT,
    "31#7": "fallbackBranch has no effect in the reference broker; here it is used when nothing was found.",
    "31#33": _RUBY_OBJECT,
    "40#2": _DIFF_END,
    "40#3": _DIFF_END,
    "40#11": "An empty list of contracts is an error of the server there, and a 400 with a sentence here.",
    "40#13": _PARSER_WORDS,
    "41#3": _MERGED_SHA,
    "41#12": _MERGED_SHA,
    "41#16": _MERGED_SHA,
    "43#0": _LOCATION,
    "43#1": _LOCATION,
    "43#3": "No body and no Content-Type: an error of the server there, 415 here.",
    "43#28": "The reference broker loses the pacticipant's name in this list's links.",
    "45#13": _PARSER_WORDS,
    "50#12": _LOCATION,
    "50#14": _NULL_BODY,
    "45#14": "The reference broker's problem details call malformed JSON a server error (500) in an answer with 400.",
    "45#6": "A browser gets a page; in the recorded broker another part of the program serves it.",
}

_AMBIGUOUS_TAGS = (
    "The reference broker puts a tag of one selector on the consumer version of another; ours keeps them apart."
)
NOT_EQUAL_WEBHOOKS: dict[str, str] = {
    "/all/Prov?e=contract_published&v=1": _MERGED_SHA,
    "/all/Prov?e=contract_content_changed&v=1": _MERGED_SHA,
    "/all/WP?e=provider_verification_published&v=10": _AMBIGUOUS_TAGS,
    "/all/WP?e=provider_verification_published&v=11": _AMBIGUOUS_TAGS,
    "/all/WP?e=provider_verification_succeeded&v=10": _AMBIGUOUS_TAGS,
    "/all/WP?e=provider_verification_succeeded&v=11": _AMBIGUOUS_TAGS,
    "/vp": _AMBIGUOUS_TAGS,
}
"""Webhooks, by path, that arrive differently, each with the reason."""
