"""Pairs from CSV, TSV, JSON lines and Parquet, good and hostile."""

from __future__ import annotations

import csv
import gzip
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipdefend.data.decode import ImageError
from clipdefend.data.pairs import Pairs, open_pairs
from clipdefend.data.tables import csv_quotes
from clipdefend.data.tables.text_columns import MAX_CAPTION_BYTES
from clipdefend.errors import DataError
from data_samples import number_of, numbered

MakeFolder = Callable[[int], Path]


def opened(path: Path, text: str | bytes, cache: Path, **options: object) -> Pairs:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return open_pairs(str(path), cache=cache, **options)  # type: ignore[arg-type]


def test_rows_captions_and_images_belong_together(pair_folder: MakeFolder, cache: Path) -> None:
    folder = pair_folder(5)
    text = "image,caption\n" + "".join(f"images/{n}.png,photo {n}\n" for n in range(5))
    pairs = opened(folder / "pairs.csv", text, cache)
    assert len(pairs) == 5
    assert pairs.captions() == [f"photo {n}" for n in range(5)]
    assert pairs.captions([4, 0, 4]) == ["photo 4", "photo 0", "photo 4"]
    assert [number_of(pairs.image(row)) for row in range(5)] == list(range(5))
    assert pairs.image_ref(3) == "images/3.png"
    assert pairs.spec == str(folder / "pairs.csv")
    assert list(pairs.iter_captions(2)) == [
        (0, ["photo 0", "photo 1"]),
        (2, ["photo 2", "photo 3"]),
        (4, ["photo 4"]),
    ]
    for word in ("CSV", "pairs.csv", "','", "'image'", "'caption'", "5 rows"):
        assert word in pairs.recognised
    with pytest.raises(IndexError):
        pairs.caption(5)


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize(
    "columns", [("filepath", "title"), ("image", "caption"), ("image_path", "text"), ("path", "title")]
)
def test_delimiters_and_columns_are_recognised(
    delimiter: str, columns: tuple[str, str], pair_folder: MakeFolder, cache: Path
) -> None:
    folder = pair_folder(2)
    with open(folder / "pairs.txt", "w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["id", columns[1], "note, with; all| \t", columns[0]])
        writer.writerow(["1", "a red, green; and blue| thing\twith tabs", "", "images/0.png"])
        writer.writerow(["2", "second", "", "images/1.png"])
    pairs = open_pairs(str(folder / "pairs.txt"), cache=cache)
    assert pairs.captions() == ["a red, green; and blue| thing\twith tabs", "second"]
    assert number_of(pairs.image(1)) == 1


def test_the_first_known_name_wins_in_any_case(pair_folder: MakeFolder, cache: Path) -> None:
    folder = pair_folder(1)
    text = "path,Image,TEXT,Title\nnowhere.png,images/0.png,wrong,right\n"
    pairs = opened(folder / "a.csv", text, cache)
    assert pairs.captions() == ["right"]
    assert number_of(pairs.image(0)) == 0


def test_flags_override_recognition(pair_folder: MakeFolder, cache: Path) -> None:
    folder = pair_folder(1)
    text = "image:words:file\nwrong.png:the words:images/0.png\n"
    pairs = opened(folder / "a.csv", text, cache, image_key="file", caption_key="words", delimiter=":")
    assert pairs.captions() == ["the words"]
    assert number_of(pairs.image(0)) == 0
    tabs = opened(folder / "b.csv", "image\tcaption\nimages/0.png\ta, b\n", cache, delimiter="\\t")
    assert tabs.captions() == ["a, b"]


def test_bom_crlf_quotes_and_line_breaks(pair_folder: MakeFolder, cache: Path) -> None:
    folder = pair_folder(3)
    text = (
        '\ufeffimage,caption\r\nimages/0.png,"two\r\nlines, and a ""quote"""\r\n\r\n'
        'images/1.png,  outer blanks  \r\nimages/2.png,"Überzug äöü 猫"'
    )
    pairs = opened(folder / "a.csv", text, cache)
    assert pairs.captions() == ['two\r\nlines, and a "quote"', "outer blanks", "Überzug äöü 猫"]


def test_words_such_as_na_and_numbers_stay_words(pair_folder: MakeFolder, cache: Path) -> None:
    pairs = opened(
        pair_folder(1) / "a.csv",
        "image,caption\nimages/0.png,NA\nimages/0.png,007\nimages/0.png,null\n",
        cache,
    )
    assert pairs.captions() == ["NA", "007", "null"]


def test_unusable_captions_are_empty_and_rows_keep_their_place(pair_folder: MakeFolder, cache: Path) -> None:
    folder = pair_folder(1)
    lines = [
        b"image,caption",
        b"images/0.png,",
        b"images/0.png,   ",
        b"images/0.png,caf\xe9",
        b"images/0.png,good",
    ]
    lines.append(b"images/0.png," + b"x" * (MAX_CAPTION_BYTES + 1))
    lines.append(b"images/0.png," + b"y" * MAX_CAPTION_BYTES)
    captions = opened(folder / "a.csv", b"\n".join(lines), cache).captions()
    assert captions[:5] == ["", "", "", "good", ""]
    assert len(captions[5]) == MAX_CAPTION_BYTES


def test_rows_of_another_width_are_skipped_and_counted(pair_folder: MakeFolder, cache: Path) -> None:
    text = "image,caption\nimages/0.png,one\nimages/0.png,two,three\nimages/0.png\nimages/0.png,four\n"
    pairs = opened(pair_folder(1) / "a.csv", text, cache)
    assert pairs.captions() == ["one", "four"]
    assert pairs.skipped == 2
    assert pairs.bad_rows(1.0).summary()["count"] == 2
    assert "has 3 columns, not 2" in pairs.skip_reasons[0]
    assert "2 samples skipped" in pairs.recognised


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"image,caption\n", "no usable pair"),
        (b"image,caption", "no usable pair"),
        (b"url,words\nhttp://x,y\n", r"none of the columns 'url', 'words' is known .*--csv-img-key"),
        (b"image,words\na,y\n", r"--csv-caption-key"),
        (b"image,image,caption\na,b,c\n", "2 columns named 'image'"),
        (b"\xff\xfei\0m\0a\0g\0e\0", "not UTF-8 text"),
        (b"image,caption\nimages/0.png,a,b\n", r"no usable pair.*has 3 columns"),
        (
            b"image,caption\nabsent/0.png,a\nabsent/1.png,b\n",
            r"first 2 images .* row 0, 'absent/0.png': file not found",
        ),
        (b"image,caption\n../../etc/passwd,a\n", "outside"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not UTF-8 text"),
        (b",".join(b"c%d" % n for n in range(5000)) + b"\n", "5,000 columns"),
    ],
)
def test_wrong_csv_files(content: bytes, words: str, pair_folder: MakeFolder, cache: Path) -> None:
    with pytest.raises(DataError, match=words) as caught:
        opened(pair_folder(1) / "a.csv", content, cache)
    assert "\n" not in str(caught.value)
    assert not [path for path in cache.glob("*") if path.suffix == ".tmp"]


@pytest.mark.parametrize("block", [150, 2000, csv_quotes.BLOCK_BYTES])
@pytest.mark.parametrize(
    "others",
    [
        {},
        {300: '"Hello" on a wall'},
        {300: 'a sign that says ""open""'},
        {300: 'a pipe of 12"'},
        {300: '"another that is not closed'},
        {300: '"closed, with a comma"'},
    ],
)
def test_a_quote_that_is_never_closed_costs_its_own_line(
    block: int, others: dict[int, str], pair_folder: MakeFolder, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_quotes, "BLOCK_BYTES", block)
    captions = {number: f"photo {number}" for number in range(600)} | {150: '"big cat'} | others
    text = "image,caption\n" + "".join(f"images/0.png,{caption}\n" for caption in captions.values())
    pairs = opened(pair_folder(1) / "a.csv", text, cache)
    unclosed = [
        number for number, caption in captions.items() if caption.startswith('"') and caption.count('"') == 1
    ]
    assert len(pairs) + pairs.skipped == 600
    assert [reason.split(":")[0] for reason in pairs.skip_reasons] == [
        f"a.csv, line {n + 2}" for n in unclosed
    ]
    assert all("never closed" in reason for reason in pairs.skip_reasons)
    found = pairs.captions()
    assert found[:150] == [f"photo {number}" for number in range(150)]
    assert found[-299:] == [f"photo {number}" for number in range(301, 600)]
    if others == {300: '"closed, with a comma"'}:
        assert found[299] == "closed, with a comma"


@pytest.mark.parametrize("block", [80, 200, csv_quotes.BLOCK_BYTES])
def test_quoted_line_breaks_across_blocks(
    block: int, pair_folder: MakeFolder, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_quotes, "BLOCK_BYTES", block)
    captions = [f'{n} lines,\n""{"x" * n}""\n' for n in range(40)]
    text = "image,caption\n" + "".join(f'images/0.png,"{caption}."\n' for caption in captions)
    pairs = opened(pair_folder(1) / "a.csv", text, cache)
    assert pairs.captions() == [caption.replace('""', '"') + "." for caption in captions]
    assert pairs.skipped == 0


def test_a_line_longer_than_a_block_is_counted(
    pair_folder: MakeFolder, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_quotes, "BLOCK_BYTES", 100)
    text = f"image,caption\nimages/0.png,a\nimages/0.png,{'x' * 1000}\nimages/0.png,b\n"
    pairs = opened(pair_folder(1) / "a.csv", text, cache)
    assert pairs.captions() == ["a", "b"]
    assert pairs.skip_reasons == ("a.csv, line 3: is longer than 100 bytes",)


@pytest.mark.parametrize("before", ["\n", "\n\n", "\r\n", "  \n,,\n", "\ufeff\n"])
def test_empty_lines_before_the_header(before: str, pair_folder: MakeFolder, cache: Path) -> None:
    text = f"{before}image,caption\nimages/0.png,a\n\nimages/0.png,b\n"
    pairs = opened(pair_folder(1) / "a.csv", text, cache)
    assert (pairs.captions(), pairs.skipped) == (["a", "b"], 0)


def test_lines_that_end_in_carriage_returns_alone(pair_folder: MakeFolder, cache: Path) -> None:
    pairs = opened(pair_folder(1) / "a.csv", "image,caption\rimages/0.png,a\rimages/0.png,b\r", cache)
    assert (pairs.captions(), pairs.skipped) == (["a", "b"], 0)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "a.tsv",
            "a red cat\thttp://example.org/1.jpg\na dog\thttp://example.org/2.jpg\n",
            "its first line is a row",
        ),
        ("a.tsv", "images/0.png\ta red cat\nimages/0.png\ta dog\n", "its first line is a row"),
        ("a.csv", "image,caption\nhttp://example.org/1.jpg,a\n", "web addresses.*img2dataset"),
        ("a.csv", "url,caption\nhttp://example.org/1.jpg,a\n", "'url' holds web addresses.*img2dataset"),
        (
            "a.csv",
            "url,caption,key,status\nhttp://x,a,0,success\n",
            "table of addresses that img2dataset writes",
        ),
    ],
)
def test_what_a_table_is_and_what_to_do(
    name: str, content: str, words: str, pair_folder: MakeFolder, cache: Path
) -> None:
    with pytest.raises(DataError, match=words):
        opened(pair_folder(1) / name, content, cache)


def test_wrong_column_names_and_delimiters(pair_folder: MakeFolder, cache: Path) -> None:
    folder = pair_folder(1)
    text = "image,caption\nimages/0.png,a\n"
    with pytest.raises(DataError, match=r"no column 'captoin' \(--csv-caption-key\). Did you mean 'caption'"):
        opened(folder / "a.csv", text, cache, caption_key="captoin")
    with pytest.raises(DataError, match="--csv-separator ',,'"):
        opened(folder / "a.csv", text, cache, delimiter=",,")
    with pytest.raises(DataError, match="none of the columns 'image,caption'"):
        opened(folder / "a.csv", text, cache, delimiter=";")


def test_one_bad_image_names_its_row(pair_folder: MakeFolder, cache: Path) -> None:
    folder = pair_folder(2)
    (folder / "images" / "1.png").write_bytes(b"")
    pairs = opened(
        folder / "a b.csv", "image,caption\nimages/0.png,a\nimages/1.png,b\nimages/2.png,c\n", cache
    )
    assert number_of(pairs.image(0)) == 0
    with pytest.raises(ImageError, match=r"Row 1 of a b.csv, image 'images/1.png': the file is empty"):
        pairs.image(1)
    with pytest.raises(ImageError, match=r"Row 2 of a b.csv, image 'images/2.png': file not found"):
        pairs.image(2)


def test_image_root_for_absolute_paths(pair_folder: MakeFolder, cache: Path, tmp_path: Path) -> None:
    folder = pair_folder(1)
    table = tmp_path / "tables" / "a.csv"
    table.parent.mkdir()
    text = f"filepath\ttitle\n{folder}/images/0.png\ta\n"
    with pytest.raises(DataError, match="--image-root"):
        opened(table, text, cache)
    assert number_of(opened(table, text, cache, image_root=folder).image(0)) == 0


def test_several_tables_are_one_set(pair_folder: MakeFolder, cache: Path) -> None:
    folder = pair_folder(4)
    for part in range(2):
        lines = [f"images/{n}.png,photo {n}" for n in (2 * part, 2 * part + 1)]
        (folder / f"part-{part}.csv").write_text("\n".join(["image,caption", *lines]) + "\n")
    pairs = open_pairs(f"{folder}/part-{{0..1}}.csv", cache=cache)
    assert pairs.captions() == [f"photo {n}" for n in range(4)]
    assert [number_of(pairs.image(row)) for row in range(4)] == [0, 1, 2, 3]
    (folder / "part-2.jsonl").write_text("{}")
    with pytest.raises(DataError, match="files of one format"):
        open_pairs(f"{folder}/part-0.csv::{folder}/part-2.jsonl", cache=cache)


def test_json_lines_with_bad_lines(pair_folder: MakeFolder, cache: Path) -> None:
    folder = pair_folder(2)
    lines: list[bytes] = [
        json.dumps({"file_name": "images/0.png", "text": "first", "extra": [1, {"a": None}]}).encode(),
        b"{not json",
        b"",
        b'["a", "list"]',
        b"[" * 100_000,
        b'{"file_name": "images/1.png", "text": "' + b"x" * 2**21 + b'"}',
        b'{"file_name": "images/1.png", "text": null}',
        b'{"file_name": "images/1.png", "text": "\\ud800 half a pair"}',
        b'{"file_name": 7, "text": "no path"}',
        json.dumps({"text": "last", "file_name": "images/1.png"}).encode(),
    ]
    pairs = opened(folder / "a.jsonl", b"\n".join(lines), cache)
    assert pairs.captions() == ["first", "", "", "no path", "last"]
    assert number_of(pairs.image(4)) == 1
    assert pairs.skipped == 4
    assert [reason.split(":")[0] for reason in pairs.skip_reasons] == [
        f"a.jsonl, line {n}" for n in (2, 4, 5, 6)
    ]
    with pytest.raises(ImageError, match="no usable image path"):
        pairs.image(3)


def test_json_that_is_not_a_table(pair_folder: MakeFolder, cache: Path) -> None:
    folder = pair_folder(1)
    with pytest.raises(DataError, match="one object a line"):
        opened(folder / "a.jsonl", "nothing\n", cache)
    with pytest.raises(DataError, match="makes lines of a JSON array"):
        opened(folder / "a.json", '[{"image": "x", "text": "y"}]\n', cache)
    with pytest.raises(DataError, match="--csv-img-key"):
        opened(folder / "a.jsonl", '{"url": "x", "text": "y"}\n', cache)


def write_parquet(path: Path, columns: dict[str, pa.Array], **options: object) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def test_parquet_with_paths(pair_folder: MakeFolder, cache: Path) -> None:
    folder = pair_folder(3)
    captions = pa.array(["a", None, "c"]).dictionary_encode()
    path = write_parquet(
        folder / "a.parquet", {"image": pa.array([f"images/{n}.png" for n in range(3)]), "caption": captions}
    )
    pairs = open_pairs(str(path), cache=cache)
    assert pairs.captions() == ["a", "", "c"]
    assert [number_of(pairs.image(row)) for row in range(3)] == [0, 1, 2]
    assert pairs.image_ref(2) == "images/2.png"


@pytest.mark.parametrize("kind", ["struct", "binary"])
def test_parquet_with_images_inside(kind: str, pair_folder: MakeFolder, cache: Path) -> None:
    folder = pair_folder(1)
    images: list[object] = [numbered(n) for n in range(200)]
    if kind == "struct":
        images = [{"bytes": image, "path": f"{n}.png"} for n, image in enumerate(images)]
        images[7] = {"bytes": None, "path": "images/0.png"}
        images[8] = None
    else:
        images[8] = None
    columns = {"image": pa.array(images), "text": pa.array([f"photo {n}" for n in range(200)])}
    path = write_parquet(folder / "train.parquet", columns, row_group_size=30)
    pairs = pickle.loads(pickle.dumps(open_pairs(str(path), cache=cache)))
    assert [number_of(pairs.image(row)) for row in (199, 0, 42)] == [199, 0, 42]
    assert number_of(pairs.image(7)) == (0 if kind == "struct" else 7)
    assert pairs.image_ref(42) == ("42.png" if kind == "struct" else "train.parquet/42")
    with pytest.raises(ImageError, match=r"Row 8 of train.parquet.*img2dataset writes for failed downloads"):
        pairs.image(8)


def test_parquet_without_usable_columns(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, {"image": pa.array([1, 2]), "caption": pa.array(["a", "b"])})
    with pytest.raises(DataError, match="column 'image' is of type int64"):
        open_pairs(str(path), cache=cache)
    write_parquet(path, {"image": pa.array(["a.png"]), "caption": pa.array([["a", "b"]])})
    with pytest.raises(DataError, match="captions must be text"):
        open_pairs(str(path), cache=cache)
    path.write_bytes(b"PAR1 but no more")
    with pytest.raises(DataError, match="not a Parquet file"):
        open_pairs(str(path), cache=cache)


def test_damaged_parquet_pages(pair_folder: MakeFolder, cache: Path) -> None:
    folder = pair_folder(1)
    columns = {
        "image": pa.array(["images/0.png"] * 5000),
        "caption": pa.array([f"words {n}" for n in range(5000)]),
    }
    path = write_parquet(folder / "a.parquet", columns, compression="gzip", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[200:3000] = bytes(2800)
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="damaged"):
        open_pairs(str(path), cache=cache)
    assert not list(cache.glob("*.arrow"))


def test_pipes_are_not_waited_for(tmp_path: Path, cache: Path) -> None:
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(DataError, match="pipe or a device"):
        open_pairs(str(tmp_path / "a.csv"), cache=cache)


def test_parquet_with_repeated_images_as_a_dictionary(pair_folder: MakeFolder, cache: Path) -> None:
    images = pa.array([numbered(3), numbered(4), numbered(3)]).dictionary_encode()
    path = write_parquet(pair_folder(1) / "a.parquet", {"jpg": images, "caption": pa.array(["a", "b", "c"])})
    pairs = open_pairs(str(path), cache=cache)
    assert [number_of(pairs.image(row)) for row in range(3)] == [3, 4, 3]


@pytest.mark.parametrize("name", ["a.xlsx", "a", "a.webp"])
def test_unknown_endings(name: str, tmp_path: Path, cache: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=r"files ending in .* give files of one format .*\.csv"):
        open_pairs(str(tmp_path / name), cache=cache)


@pytest.mark.parametrize("name", ["a.csv.gz", "a.tar.gz", "a.TGZ", "a.jsonl.zst", "a.zip"])
def test_compressed_files_are_refused_by_name(name: str, tmp_path: Path, cache: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=f"{name}' is compressed, .* unpack it"):
        open_pairs(str(tmp_path / name), cache=cache)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_compressed_tables_are_refused_by_content(name: str, tmp_path: Path, cache: Path) -> None:
    (tmp_path / name).write_bytes(gzip.compress(b"image,caption\n", mtime=0))
    with pytest.raises(DataError, match=f"{name}' is compressed: unpack it"):
        open_pairs(str(tmp_path / name), cache=cache)


def test_a_nul_byte_costs_its_own_row_wherever_it_is(pair_folder: MakeFolder, cache: Path) -> None:
    rows = [b"images/0.png,one", b"images/1.png,t\0wo", b"images/1\0.png,three", b"images/3.png,four"]
    pairs = opened(pair_folder(4) / "a.csv", b"image,caption\n" + b"\n".join(rows), cache)
    assert pairs.captions() == ["one", "", "three", "four"]
    with pytest.raises(ImageError, match="no usable image path"):
        pairs.image(2)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_line_that_is_skipped_ends_at_its_own_line_end(
    end: str, pair_folder: MakeFolder, cache: Path
) -> None:
    """A caption with a line feed does not make a file of carriage returns one long line."""
    lines = ["image,caption", 'images/0.png,"one\nmore"', 'images/1.png,"not closed', "images/2.png,three"]
    pairs = opened(pair_folder(3) / "a.csv", end.join(lines).encode(), cache)
    assert (pairs.captions(), pairs.skipped) == (["one\nmore", "three"], 1)
