"""Arms: runs that differ in nothing but their seeds, and what to call them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sgmim.reports.lineage import Link, value_told
from sgmim.reports.trials import Trial, trial_of

NOTHING = "no pre-training"
LONGEST = 48  # letters of a name that is made of options
FIRST = ("called", "began from", "pretrain")  # asked before all other differences
THEN = ("name", "knowledge")  # who somebody is, before how they are set
PARTS = ("method", "task", "head")  # of which the same holds

Signature = dict[str, Any]  # what tells an arm from others, by option


@dataclass
class Arm:
    """Chains of runs that differ only in seeds."""

    name: str
    tips: list[Link] = field(default_factory=list)  # the last run of each chain

    @property
    def links(self) -> list[Link]:
        """All of its runs, each once."""
        return list(dict.fromkeys(link for tip in self.tips for link in tip.chain))


def arms_of(links: Sequence[Link]) -> list[Arm]:
    """Who is compared, in the order in which they were given."""
    begun_from = {id(link.before) for link in links}
    tips = [link for link in links if id(link) not in begun_from]
    tips += [link for link in links if link.label and link not in tips and not _shown(link, tips)]
    signatures = signatures_of(tips, links)
    grouped: dict[str, tuple[Signature, list[Link]]] = {}
    for tip, signature in zip(tips, signatures, strict=True):
        grouped.setdefault(repr(sorted(signature.items(), key=str)), (signature, []))[1].append(tip)
    names = names_of([signature for signature, _ in grouped.values()])
    chains = [members for _, members in grouped.values()]
    return [Arm(*each) for each in zip(unlike(names, chains), chains, strict=True)]


def signatures_of(tips: Sequence[Link], links: Sequence[Link]) -> list[Signature]:
    """What tells each chain from the others: what it began from; and, where that is not all, how
    it was fine-tuned otherwise than most."""
    first = [link for link in links if link not in tips or link.run.command == "pretrain"]
    varied = varying([link.options for link in first])
    starts = [_start(tip, varied) for tip in tips]
    trials: dict[Trial, list[int]] = {}
    for place, tip in enumerate(tips):
        if tip.run.command == "finetune":
            trials.setdefault(trial_of(tip), []).append(place)
    found = [dict(start) for start in starts]
    for places in trials.values():
        own = [tips[place].options for place in places]
        differ = varying(own)
        alike = all(starts[place] == starts[places[0]] for place in places)
        usual = {} if alike else {o: _usual(each.get(o) for each in own) for o in differ}
        for place, options in zip(places, own, strict=True):
            if not tips[place].label:
                found[place] |= {
                    option: options.get(option)
                    for option in differ
                    if option not in usual or options.get(option) != usual[option]
                }
    return found


def varying(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Options that differ among those who have them; later versions have some that others lack."""
    options = dict.fromkeys(option for config in configs for option in config)
    values = {o: {repr(config[o]) for config in configs if o in config} for o in options}
    return [option for option, seen in values.items() if len(seen) > 1]


def names_of(signatures: Sequence[Signature]) -> list[str]:
    """The fewest words that tell them apart: the first difference, and within those who share
    it the next, and so on. Where that makes a long name, what each has that is not usual, if that
    tells all apart: the one that has all as usual is called by its method."""
    words: list[list[str]] = [[] for _ in signatures]
    _split(list(range(len(signatures))), signatures, words)
    names = [", ".join(said) or _whole(each) for said, each in zip(words, signatures, strict=True)]
    if max(map(len, names), default=0) > LONGEST:
        short = _unusual(signatures)
        return short if len(set(short)) == len(short) else names
    return names


def _unusual(signatures: Sequence[Signature]) -> list[str]:
    """What each has that most have otherwise."""
    options = sorted(dict.fromkeys(o for each in signatures for o in each), key=_rank)
    usual = {option: _usual(each.get(option) for each in signatures) for option in options}
    return [
        ", ".join(
            word
            for option in options
            if each.get(option) != usual[option]
            for word in _said(option, each)
        )
        or _whole(each)
        for each in signatures
    ]


def unlike(names: Sequence[str], chains: Sequence[Sequence[Link]]) -> list[str]:
    """Names of their own for all; where options make none that is short, those of the folders."""
    folders = _folders([chain[0] for chain in chains])
    short = [
        name if len(name) <= LONGEST else folder
        for name, folder in zip(names, folders, strict=True)
    ]
    counts = Counter(short)
    return [
        f"{name} ({folder})" if counts[name] > 1 else name
        for name, folder in zip(short, folders, strict=True)
    ]


def _folders(links: Sequence[Link]) -> list[str]:
    """The ends of their folders' paths, as long as it takes to tell them apart."""
    paths = [link.run.folder.resolve().parts for link in links]
    for length in range(1, max(map(len, paths), default=1) + 1):
        ends = ["/".join(parts[-length:]) for parts in paths]
        if len(set(ends)) == len(ends):
            return ends
    return [f"{'/'.join(parts)} {place}" for place, parts in enumerate(paths, 1)]


def _shown(link: Link, tips: Sequence[Link]) -> bool:
    return any(link in tip.chain and tip.called == link.label for tip in tips)


def _start(tip: Link, varied: Sequence[str]) -> Signature:
    """What a chain is known by before its labels are seen."""
    if tip.called:
        return {"called": tip.called}
    first = tip if tip.run.command == "pretrain" else tip.before
    if first is None:
        return {"pretrain": tip.weights or NOTHING}
    own = {option: first.options[option] for option in varied if option in first.options}
    own.pop(first.run.command, None)
    origin = _start(first.before, varied) if first.before else {}
    origin = origin or ({"pretrain": first.weights} if first.weights else {})
    earlier = {"began from": " -> ".join(map(str, origin.values()))} if origin else {}
    return {"pretrain": first.what} | own | earlier


def _usual(values: Iterable[Any]) -> Any:
    """The value that most have."""
    values = list(values)
    most = Counter(map(repr, values)).most_common(1)[0][0]
    return next(value for value in values if repr(value) == most)


def _split(
    places: Sequence[int], signatures: Sequence[Signature], words: Sequence[list[str]]
) -> None:
    options = dict.fromkeys(option for place in places for option in signatures[place])
    for option in sorted(options, key=_rank):
        parts: dict[str, list[int]] = {}
        for place in places:
            parts.setdefault(repr(signatures[place].get(option)), []).append(place)
        if len(parts) > 1:
            for part in parts.values():
                said = _said(option, signatures[part[0]])
                for place in part:
                    words[place] += said
                _split(part, signatures, words)
            return


def _rank(option: str) -> tuple[int, bool, bool]:
    """What says who somebody is comes before how they are set, and the method before the rest."""
    place = FIRST.index(option) if option in FIRST else len(FIRST)
    return place, not option.endswith(THEN), not option.startswith(PARTS)


def _said(option: str, signature: Signature) -> list[str]:
    value = signature.get(option)
    if option not in signature:
        return []
    if option in FIRST or option.endswith(".name"):
        return [str(value)]
    return [f"{option.rpartition('.')[2]} {value_told(value)}"]


def _whole(signature: Signature) -> str:
    return next((str(signature[o]) for o in FIRST if o in signature), "all")
