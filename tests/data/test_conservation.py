"""What is read plus what is counted is what is there: over generated sources of every format.

Each source is made of numbered rows with faults as people's files have them. A row that is read must be one that was
written, with its own image; every other row must be counted as skipped. Rows whose image or caption turns out to be bad
when it is read are rows (the reader counts those itself).
"""

from __future__ import annotations

import csv
import io
import json
import random
import re
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipdefend.data.decode import ImageError
from clipdefend.data.labelled.labelled_images import LabelledImages
from clipdefend.data.labelled.open_labelled import open_labelled
from clipdefend.data.pairs import Pairs, open_pairs
from clipdefend.data.tables import csv_quotes
from data_samples import number_of, numbered, write_tar

SEEDS = range(24)
Make = Callable[[random.Random, Path], int]
"""Write a source into a folder and return the number of its rows."""


def images(folder: Path, count: int) -> None:
    (folder / "images").mkdir(parents=True)
    for number in range(count):
        (folder / "images" / f"{number}.png").write_bytes(numbered(number))


def caption(draw: random.Random, number: int) -> str:
    words = [
        "a cat",
        'a "cat"',
        'a 12" pipe',
        "two, three",
        "über 猫",
        "tab\there",
        "line\nbreak",
        "it's; a|b",
        "x" * 300,
    ]
    return f"photo {number} {draw.choice(words)}"


def table_line(draw: random.Random, number: int, delimiter: str, quoting: int, text: str) -> str:
    """One row, sometimes written by hand: joined without quoting, unclosed, cut or too long."""
    path = f"images/{number}.png"
    plain = f"photo {number} of a cat"
    match draw.randrange(14):
        case 0:
            return f'{path}{delimiter}"{plain}'
        case 1:
            return f"{path}{delimiter}{plain}{delimiter} and more"
        case 2:
            return path
        case 3:
            return f'{path}{delimiter}"photo" {number} at the end"'
        case 4:
            return f'{path}{delimiter}photo {number} with a mark"'
        case 5:
            return f"images/absent.png{delimiter}{plain}"
        case 6:
            return f"{path}{delimiter}"
        case 7:
            return f"{path}{delimiter}{plain}\0 and more"
        case 8:
            return f"images/{number}\0.png{delimiter}{plain}"
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter, quoting=quoting, lineterminator="\n").writerow([path, text])  # type: ignore[arg-type]
    return buffer.getvalue().removesuffix("\n")


def write_table(
    draw: random.Random, path: Path, delimiter: str, header: str, text: Callable[[int], str]
) -> int:
    count = draw.randrange(20, 60)
    if not (path.parent / "images").exists():
        images(path.parent, count)
    quoting = draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    lines = [table_line(draw, number, delimiter, quoting, text(number)) for number in range(count)]
    lines[0] = f"images/0.png{delimiter}photo 0"  # something can be read
    ends = draw.choice([["\n"], ["\r\n"], ["\r"], ["\n", "\r\n", "\r"]])
    end = ends[0]
    blank = [draw.choice(["", "", "", end]) for _ in lines]
    body = "".join(f"{line}{draw.choice(ends)}{more}" for line, more in zip(lines, blank, strict=True))
    start = draw.choice(["", "\ufeff", end, end + "  " + end])
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(
            start + header.replace(",", delimiter) + end + (body if draw.random() < 0.7 else body.rstrip())
        )
    return count


def make_csv(draw: random.Random, folder: Path) -> int:
    return write_table(draw, folder / "pairs.csv", ",", "image,caption", lambda number: caption(draw, number))


def make_tsv(draw: random.Random, folder: Path) -> int:
    return write_table(
        draw, folder / "pairs.tsv", "\t", "image,caption", lambda number: caption(draw, number)
    )


def make_metadata(draw: random.Random, folder: Path) -> int:
    if draw.random() < 0.5:
        return write_table(
            draw, folder / "metadata.csv", ",", "file_name,text", lambda number: caption(draw, number)
        )
    return write_jsonl(draw, folder / "metadata.jsonl")


def make_jsonl(draw: random.Random, folder: Path) -> int:
    return write_jsonl(draw, folder / "pairs.jsonl")


def write_jsonl(draw: random.Random, path: Path) -> int:
    count = draw.randrange(20, 60)
    images(path.parent, count)
    lines = []
    for number in range(count):
        record: object = {"file_name": f"images/{number}.png", "text": caption(draw, number)}
        faults = [
            "{not json",
            "[1, 2]",
            '"text"',
            '{"file_name": "images/0.png", "text": null}',
            '{"text": "photo 1"}',
            '{"file_name": "images/0.png", "text": "photo 1 \0 and more"}',
            '{"file_name": "images/0.png", "text": "photo 1 \\u0000 and more"}',
            '{"file_name": "images/0\\u0000.png", "text": "photo 0"}',
        ]
        line = json.dumps(record) if number == 0 or draw.random() < 0.7 else draw.choice(faults)
        lines.append(line + draw.choice(["", "", "\n", "\r"]))
    text = draw.choice(["\n", "\r\n", "\r"]).join(lines) + draw.choice(["", "\n"])
    path.write_text(draw.choice(["", "\ufeff"]) + text, encoding="utf-8", newline="")
    return count


def make_parquet(draw: random.Random, folder: Path) -> int:
    count = draw.randrange(20, 60)
    images(folder, count)
    captions = [None if draw.random() < 0.1 else caption(draw, number) for number in range(count)]
    kept = [number == 0 or draw.random() < 0.85 for number in range(count)]
    if draw.random() < 0.5:
        column = pa.array([f"images/{n}.png" if keep else None for n, keep in enumerate(kept)], pa.string())
    else:
        column = pa.array([numbered(n) if keep else None for n, keep in enumerate(kept)], pa.binary())
    table = pa.table({"image": column, "caption": pa.array(captions, pa.string())})
    pq.write_table(table, folder / "pairs.parquet", row_group_size=draw.choice([7, 100]))
    return count


def make_files(draw: random.Random, folder: Path) -> int:
    """img2dataset's ``files`` layout, with hidden files, statistics, names with dots, and files that are missing."""
    count = draw.randrange(20, 60)
    for number in range(count):
        place = folder / draw.choice([".", "00000", "00001", "00001/deep"])
        place.mkdir(parents=True, exist_ok=True)
        stem = draw.choice([f"{number:05d}", f"{number}.v2.final"])
        parts = {
            "png": numbered(number),
            "txt": f"photo {number}".encode(),
            "json": b'{"caption": "photo %d"}' % number,
        }
        parts |= {} if draw.random() < 0.9 else {"jpg": numbered(number)}
        lost = (
            draw.choice([(), (), (), ("txt",), ("json",), ("txt", "json"), ("png", "jpg")]) if number else ()
        )
        for ending in parts.keys() - set(lost):
            (place / f"{stem}.{ending}").write_bytes(parts[ending])
        count += {"png", "jpg"} <= parts.keys() - set(lost)  # two images of one name are two rows
    (folder / "00000_stats.json").write_text("{}")
    for name in (
        ".DS_Store",
        "._00001.png",
        ".ipynb_checkpoints/1.png",
        "__MACOSX/._1.png",
        "__MACOSX/1.txt",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"photo")
    return count


ODD = (
    "a b/{}",
    "line\nbreak {}",
    "back\\slash {}",
    "über/猫 {}",
    "'\"$(x)* {}",
    "{}\udcff",
    "{}\udcfe",
    "tab\t{}",
)
"""Names of members as people's tools write them; the surrogates stand for bytes that are not UTF-8."""


def members(
    draw: random.Random, numbers: Iterable[int], slots: Callable[[int], dict[str, bytes]]
) -> list[tuple[str, bytes]]:
    """Members of samples, some of which lack one or repeat a name; in order, kind by kind, or in disorder."""
    found: list[tuple[str, bytes]] = []
    arrange = draw.choice(["in order", "by kind", "disorder"])
    again = ""  # key of the last sample, if it is whole; in disorder nobody could tell what belongs together
    for number in numbers:
        parts = slots(number)
        key = draw.choice(["{:06d}", "./{}.a.b", "dir.d/{}", *ODD]).format(number)
        if again and draw.random() < 0.2:
            key = again
        elif number:
            for ending in draw.sample(sorted(parts), draw.choice([0, 0, 0, 1])):
                del parts[ending]
        again = key if number and len(parts) == 2 and arrange != "disorder" else ""
        found += [(f"{key}.{ending}", data) for ending, data in parts.items()]
    if arrange == "by kind":
        found.sort(key=lambda member: member[0].rpartition(".")[2])
    elif arrange == "disorder":
        draw.shuffle(found)
    return [*found, ("__MACOSX/._x.jpg", b""), ("dataset.info", b"")]


def write_shards(
    draw: random.Random, folder: Path, slots: Callable[[int], dict[str, bytes]]
) -> tuple[int, int]:
    """Rows, and shards; some shards have a member with a damaged header."""
    folder.mkdir(parents=True, exist_ok=True)
    count, shards = 0, draw.randrange(1, 4)
    for shard in range(shards):
        numbers = range(count, count := count + draw.randrange(5, 20))
        kept = members(draw, numbers, slots)
        path = write_tar(
            folder / f"{shard}.tar", kept, draw.choice([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT])
        )
        if draw.random() < 0.4:
            damage(draw, path, kept)
    return count, shards


def damage(draw: random.Random, path: Path, kept: list[tuple[str, bytes]]) -> None:
    """Break the header of one member of a sample that has another one, which tells that there was a sample.

    Not of the first: something must be left to read.
    """
    keys = [name.rpartition(".")[0] for name, _ in kept]
    whole = [
        name
        for (name, _), key in zip(kept, keys, strict=True)
        if keys.count(key) == 2 and not re.search(r"\b0+(\.a\.b)?\.", name)
    ]
    if whole:
        data = bytearray(path.read_bytes())
        with tarfile.open(path) as archive:
            data[archive.getmember(draw.choice(whole)).offset + 3] ^= 1
        path.write_bytes(bytes(data))


def make_shards(draw: random.Random, folder: Path) -> int:
    def slots(number: int) -> dict[str, bytes]:
        return {"jpg": numbered(number), "txt": f"photo {number}".encode()}

    return write_shards(draw, folder, slots)[0]


def make_labels(draw: random.Random, folder: Path) -> int:
    (folder / "classes.txt").write_text("\n".join(f"class {number}" for number in range(60)))
    count = draw.randrange(20, 60)
    images(folder, count)
    lines = []
    for number in range(count):
        path = f"images/{number}.png"
        good = f"{path},{number}"
        faults = [f'{path},"{number}', f"{good},more", path, f'"{good}']
        lines.append(good if number == 0 or draw.random() < 0.7 else draw.choice(faults))
    end = draw.choice(["\n", "\r\n", "\r"])
    start = draw.choice(["", "\ufeff", end, end + "\n"])
    text = end.join([start + "image,label", *lines, *draw.choice([[], [""]])])
    (folder / "labels.csv").write_text(text, encoding="utf-8", newline="")
    return count


def make_class_folders(draw: random.Random, folder: Path) -> int:
    count = draw.randrange(20, 60)
    for number in range(count):
        place = folder / f"class_{number}" / draw.choice([".", ".", "images", "deeper/still"])
        place.mkdir(parents=True, exist_ok=True)
        name = draw.choice(["x.png", "x.png", "x.b.PNG", "x.heic", "x"])
        (place / (name if number else "x.png")).write_bytes(numbered(number))
        (place / draw.choice([".hidden.png", "._x.png", "notes.txt", "Thumbs.db"])).touch()
    (folder / "class_0" / "x.png").write_bytes(numbered(0))
    (folder / "class_0" / "first").mkdir(exist_ok=True)
    for kind in (".ipynb_checkpoints", "__MACOSX"):
        (folder / kind).mkdir()
        (folder / kind / "x.png").write_bytes(numbered(0))
    if draw.random() < 0.3:
        (folder / "stray.png").write_bytes(numbered(0))
        count += 1
    return count + sum(1 for _ in (folder / "class_0").rglob("[!.]*.png")) - 1


def make_class_shards(draw: random.Random, folder: Path) -> int:
    def slots(number: int) -> dict[str, bytes]:
        return {"webp": numbered(number), "cls": str(number).encode()}

    count, shards = write_shards(draw, folder / "test", slots)
    (folder / "test" / "nshards.txt").write_text(str(shards))
    (folder / "classnames.txt").write_text("\n".join(f"class {number}" for number in range(60)))
    return count


PAIRS = {
    "csv": (make_csv, "pairs.csv"),
    "tsv": (make_tsv, "pairs.tsv"),
    "jsonl": (make_jsonl, "pairs.jsonl"),
    "parquet": (make_parquet, "pairs.parquet"),
    "metadata": (make_metadata, ""),
    "files": (make_files, ""),
    "tar": (make_shards, "*.tar"),
}
LABELLED = {"labels": make_labels, "class folders": make_class_folders, "class shards": make_class_shards}


def check(found: Pairs | LabelledImages, rows: int, told: Callable[[int], int | None]) -> None:
    """Nothing is lost, and what is read belongs together."""
    assert len(found) + found.skipped == rows
    seen = []
    for row in range(len(found)):
        number = told(row)
        try:
            image = number_of(found.image(row))
        except ImageError:
            continue
        assert number in (None, image)
        seen.append(image)
    assert seen, "the first row is always good"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", PAIRS)
def test_pairs(kind: str, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, name = PAIRS[kind]
    folder = tmp_path / "set"
    folder.mkdir()
    draw = random.Random(f"{kind} {seed}")
    rows = make(draw, folder)
    monkeypatch.setattr(csv_quotes, "BLOCK_BYTES", draw.choice([700, 4000, csv_quotes.BLOCK_BYTES]))
    pairs = open_pairs(str(folder / name), cache=tmp_path / "cache")

    def told(row: int) -> int | None:
        match = re.match(r'"?photo"? (\d+)', pairs.caption(row))
        return int(match[1]) if match else None

    check(pairs, rows, told)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", LABELLED)
def test_labelled_images(kind: str, seed: int, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    rows = LABELLED[kind](random.Random(f"{kind} {seed}"), folder)
    found = open_labelled(str(folder))
    check(found, rows, lambda row: int(found.classes[found.label(row)].split()[1]))
