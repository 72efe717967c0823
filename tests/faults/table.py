"""Put the figures of a run of the fault suite into docs/reliability.md.

python tests/faults/table.py REPORT docs/reliability.md
"""

import json
import sys
from pathlib import Path

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def main(report: Path, page: Path) -> None:
    rows = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    last = {(row["risk"], row["promise"]): row for row in rows}  # of what was run twice
    head = ["| risk | promise | kept | of | seconds |", "|---|---|---:|---:|---:|"]
    body = [
        f"| {risk} | {promise} | {row['kept']:,} | {row['count']:,} | {row['seconds']:.0f} |"
        for (risk, promise), row in sorted(last.items())
    ]
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    table = "\n".join([BEGIN, "", *head, *body, "", END])
    page.write_text(before + table + after, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
