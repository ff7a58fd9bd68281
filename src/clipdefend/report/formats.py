"""Tables as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from clipdefend.report.escape import csv_cell, escape_latex, escape_markdown
from clipdefend.report.rows import RATIOS, SHARES, Row, Table

COLUMNS = ("ba", "asr")
"""Shares that every table has; robust accuracy stands beside them where it was measured."""
NOTE = 1000
"""Longest description of a table, in characters."""


def column_keys(table: Table) -> list[str]:
    """Return the keys of a table's columns: BA, ASR and, where they are known, RA and recovery at each k."""
    known = {key for row in table.rows for key in row.figures}
    keys = [f"{share}@{k}" for k in table.ks for share in (*SHARES, *RATIOS)]
    return [key for key in keys if key in known or key.startswith(COLUMNS)]


def describe_spread(table: Table) -> str:
    """Say what stands behind the figures of a table: intervals, or deviations over seeds."""
    several = any(row.seeds > 1 for row in table.rows)
    deviation = (
        "mean ± sample standard deviation where there are several seeds, else with" if several else "with"
    )
    return f"In percent, {deviation} [95 % Wilson interval]."


def describe_table(table: Table) -> str:
    """Say what the figures of a table are, in one paragraph."""
    triggered = sorted({row.figures[key].n for row in table.rows for key in row.figures if key[:3] == "asr"})
    counts = " to ".join(f"{n:,}" for n in dict.fromkeys(triggered[:1] + triggered[-1:])) or "no"
    keys = column_keys(table)
    robust = (
        " RA: accuracy on triggered images, higher is better."
        if any(key.startswith("ra") for key in keys)
        else ""
    )
    ratio = (
        " Recovery: RA as a share of the clean model's, higher is better."
        if any(key.startswith(RATIOS) for key in keys)
        else ""
    )
    return (
        f"{table.setting.title}; {counts} triggered images. {describe_spread(table)} BA: accuracy on clean images,"
        " higher is better; ASR: share of triggered images taken for the target, lower is"
        f" better.{robust}{ratio} Bold: best of its attack among the defences."
    )


def to_markdown(tables: Sequence[Table]) -> str:
    """Format tables as Markdown, in percent."""
    return "\n".join(_markdown(table) for table in tables)


def _markdown(table: Table) -> str:
    keys = column_keys(table)
    heads = ["attack", "defence", "seeds", *(key.upper() for key in keys)]
    lines = [
        escape_markdown(describe_table(table), NOTE),
        "",
        _line(heads),
        "|---|---|---:|" + "---:|" * len(keys),
    ]
    for row in table.rows:
        cells = [_cell(row, key, lambda text: f"**{text}**") for key in keys]
        lines.append(
            _line([escape_markdown(row.attack), escape_markdown(row.defence), str(row.seeds), *cells])
        )
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(row: Row, key: str, strong: Callable[[str], str]) -> str:
    figure = row.figures.get(key)
    if figure is None:
        return "-"
    return strong(figure.text()) if key in row.best else figure.text()


def to_csv(tables: Sequence[Table]) -> str:
    """Format tables as CSV: a line for each row and k, with shares as fractions."""
    parts = ("", "_low", "_high", "_sd")
    heads = ["evaluation", "attack", "defence", "seeds", "k"]
    heads += [f"{share}{part}" for share in SHARES for part in parts]
    heads += [f"{ratio}{part}" for ratio in RATIOS for part in ("", "_sd")]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*heads, "n_clean", "n_triggered", "best", "runs"])
    for table in tables:
        for row in table.rows:
            for k in table.ks:
                writer.writerow(_csv_line(table, row, k))
    return out.getvalue()


def _csv_line(table: Table, row: Row, k: int) -> list[object]:
    texts = [csv_cell(text) for text in (table.setting.title, row.attack, row.defence)]
    values: list[object] = []
    for share in SHARES:
        figure = row.figures.get(f"{share}@{k}")
        values += [figure.value, figure.low, figure.high, figure.sd] if figure else [None] * 4
    for ratio in RATIOS:
        figure = row.figures.get(f"{ratio}@{k}")
        values += [figure.value, figure.sd] if figure else [None] * 2
    ba, asr = row.figures.get(f"ba@{k}"), row.figures.get(f"asr@{k}")
    best = " ".join(key for key in sorted(row.best) if key.endswith(f"@{k}"))
    runs = " ".join(csv_cell(one.run.name) for one in row.members)
    return [*texts, row.seeds, k, *values, ba.n if ba else None, asr.n if asr else None, best, runs]


def to_latex(tables: Sequence[Table]) -> str:
    """Format tables as LaTeX, in percent, for the package booktabs."""
    return "\n".join(_latex(table) for table in tables)


def _latex(table: Table) -> str:
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering\small",
        rf"\caption{{{_plain_latex(describe_table(table))}}}",
        rf"\begin{{tabular}}{{ll{'r' * len(column_keys(table))}}}",
        r"\toprule",
        " & ".join(["Attack", "Defence", *(key.upper() for key in column_keys(table))]) + r" \\",
    ]
    for attack in table.attacks:
        lines.append(r"\midrule")
        for position, row in enumerate(table.of(attack)):
            cells = [_plain_latex(_cell(row, key, "\x01{}\x02".format)) for key in column_keys(table)]
            # LaTeX would take a bracket right after \midrule for the rule's optional argument.
            name = escape_latex(row.attack).replace("[", "{[}") if position == 0 else ""
            lines.append(" & ".join([name, escape_latex(row.defence), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def _plain_latex(text: str) -> str:
    """Escape text of our own for LaTeX: \x01 and \x02 enclose what is bold, spaces at the ends stay."""
    parts = text.replace("±", "\x03")
    escaped = "".join(
        sign if sign in "\x01\x02\x03" else escape_latex(sign) if sign != " " else sign for sign in parts
    )
    return escaped.replace("\x01", r"\textbf{").replace("\x02", "}").replace("\x03", r"$\pm$")
