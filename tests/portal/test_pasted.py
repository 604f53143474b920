from core.actions.domains import Added
from core.net.lists import read_list
from core.net.names import Listed
from portal.pasted import MOST_BAD, MOST_GOOD, results, wanted


def _added(text: str, outcomes: dict[str, str]) -> tuple[Added, ...]:
    return tuple(
        Added(listed, outcomes.get(listed.name, "added"), "" if outcomes.get(listed.name) == "refused" else "ref", "Too many.")
        for listed in wanted(read_list(text))
    )


def test_each_line_is_told_and_the_bad_ones_are_kept_as_typed() -> None:
    text = "a.example\n# a comment\nbad name # why\nhttps://b.example/x\nc.example\nA.EXAMPLE.\nd.example\na.example"
    told = results(read_list(text), _added(text, {"b.example": "restored", "c.example": "here", "d.example": "refused"}))
    assert (
        told.summary == "1 added, 1 restored from the bin, 1\u00a0was here already, 1 given more than once, 2\u00a0lines need a correction."
    )
    assert told.bad_text == "bad name\nd.example"
    assert not told.all_taken
    assert [(item.state, item.word, item.name or item.text) for item in told.items] == [
        ("bad", "Was line 3", "bad name"),
        ("bad", "Was line 7", "d.example"),
        ("ok", "Added", "a.example"),
        ("ok", "Restored", "b.example"),
        ("unk", "Was here", "c.example"),
    ]
    assert "given 3 times" in told.items[2].sentence
    assert sum("given" in item.sentence for item in told.items) == 1, "what was given twice is told once"


def test_long_results_are_counted_and_not_all_listed() -> None:
    text = "\n".join([f"n{n}.example" for n in range(300)] + [f"bad {n}" for n in range(500)])
    told = results(read_list(text), _added(text, {}))
    assert len(told.items) == MOST_BAD + MOST_GOOD
    assert told.unlisted == 500
    assert told.bad_text.count("\n") == 499, "every bad line can be corrected"
    assert told.summary == "300 added, 500\u00a0lines need a correction."


def test_names_are_asked_for_once_in_their_order() -> None:
    lines = read_list("b.example\na.example:8443\nb.example:443\nbad name")
    assert wanted(lines) == (Listed("b.example", 443), Listed("a.example", 8443))
