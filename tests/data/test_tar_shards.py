"""Tar shards: img2dataset's layout, and archives made to do harm."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipdefend.data.decode import ImageError
from clipdefend.data.pairs import open_pairs
from clipdefend.data.store import tar, tar_samples
from clipdefend.data.store.shards import open_shard
from clipdefend.errors import DataError
from data_samples import number_of, numbered, write_tar


def sample(number: int, key: str | None = None, image: str = "jpg") -> list[tuple[str, bytes]]:
    key = key or f"{number:09d}"
    record = json.dumps({"caption": f"json {number}", "key": key}).encode()
    return [
        (f"{key}.{image}", numbered(number)),
        (f"{key}.json", record),
        (f"{key}.txt", f"photo {number}".encode()),
    ]


def shards(folder: Path, *counts: int) -> str:
    folder.mkdir(exist_ok=True)
    number = 0
    for shard, count in enumerate(counts):
        members = [member for n in range(number, number + count) for member in sample(n)]
        write_tar(folder / f"{shard:05d}.tar", members)
        number += count
    return f"{folder}/{{00000..{len(counts) - 1:05d}}}.tar"


def test_shards_of_unequal_size(tmp_path: Path, cache: Path) -> None:
    spec = shards(tmp_path / "set", 3, 0, 7, 1)
    pairs = pickle.loads(pickle.dumps(open_pairs(spec, cache=cache)))
    assert pairs.captions() == [f"photo {n}" for n in range(11)]
    assert [number_of(pairs.image(row)) for row in range(11)] == list(range(11))
    assert pairs.image_ref(4) == "00002.tar/000000004.jpg"
    assert pairs.spec == spec
    assert pairs.skipped == 0
    for other in (
        f"{tmp_path}/set/*.tar",
        f"{tmp_path}/set",
        f"{tmp_path}/set/00000.tar::{tmp_path}/set/0000[1-3].tar",
    ):
        assert open_pairs(other, cache=cache).captions() == pairs.captions()


def test_more_shards_than_files_are_kept_open(tmp_path: Path, cache: Path) -> None:
    pairs = open_pairs(shards(tmp_path / "set", *[1] * 40), cache=cache)
    for _ in range(2):
        assert [number_of(pairs.image(row)) for row in range(40)] == list(range(40))
    assert len(pairs.ranges._open) <= 32  # type: ignore[attr-defined]


def test_captions_from_json_where_the_text_is_missing_or_empty(tmp_path: Path, cache: Path) -> None:
    members = [
        ("a.png", numbered(1)),
        ("a.json", b'{"caption": " from json "}'),
        ("b.webp", numbered(2)),
        ("b.txt", b"  "),
        ("b.json", b'{"caption": "instead"}'),
        ("c.JPEG", numbered(3)),
        ("c.txt", b"\xef\xbb\xbfwith mark\n"),
    ]
    pairs = open_pairs(str(write_tar(tmp_path / "a.tar", members)), cache=cache)
    assert pairs.captions() == ["from json", "instead", "with mark"]
    assert number_of(pairs.image(1)) == 2


def test_members_may_be_apart_and_further_fields_are_not_samples(tmp_path: Path, cache: Path) -> None:
    members = [("dir.d/a.jpg", numbered(1)), ("b.jpg", numbered(2)), ("b.seg.png", b"mask"), ("README", b"x")]
    members += [
        ("dir.d/a.txt", b"one"),
        ("b.txt", b"two"),
        ("c.d.jpg", b"of no caption"),
        ("c.txt", b"of no image"),
    ]
    pairs = open_pairs(str(write_tar(tmp_path / "a.tar", members)), cache=cache)
    assert {pairs.caption(row): number_of(pairs.image(row)) for row in range(2)} == {"one": 1, "two": 2}
    assert len(pairs) == 2
    assert pairs.skip_reasons == ("a.tar/c.d: has no caption (.txt or .json)", "a.tar/c: has no image")


def test_incomplete_and_unusable_samples_are_counted(tmp_path: Path, cache: Path) -> None:
    members = [
        *sample(0),
        ("1.jpg", numbered(1)),
        ("2.txt", b"alone"),
        ("3.jpg", numbered(3)),
        ("3.txt", b"\xff\xfe"),
    ]
    members += [
        ("4.jpg", numbered(4)),
        ("4.txt", b"x" * 2_000_000),
        ("5.jpg", numbered(5)),
        ("5.json", b"[" * 99_999),
    ]
    members += [("6.json", b'{"caption": "neither image nor text"}'), *sample(7)]
    pairs = open_pairs(str(write_tar(tmp_path / "a.tar", members)), cache=cache)
    assert pairs.captions() == ["photo 0", "photo 7"]
    assert pairs.skipped == 6
    text = " ".join(pairs.skip_reasons)
    for words in (
        "a.tar/1: has no caption",
        "a.tar/2: has no image",
        "a.tar/3: has no usable",
        "a.tar/4: has no usable",
    ):
        assert words in text
    with pytest.raises(DataError, match=r"6 of 8 rows"):
        pairs.bad_rows(0.01).check(len(pairs))


def test_a_second_image_of_the_same_key_is_another_sample(tmp_path: Path, cache: Path) -> None:
    pairs = open_pairs(str(write_tar(tmp_path / "a.tar", [*sample(1, "k"), *sample(2, "k")])), cache=cache)
    assert [(pairs.caption(row), number_of(pairs.image(row))) for row in range(2)] == [
        ("photo 1", 1),
        ("photo 2", 2),
    ]


def test_names_that_lead_elsewhere_are_only_names(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "inner").mkdir()
    keys = ["../evil", "/abs/olute", "../../../../tmp/x", "a/../../b"]
    members = [member for number, key in enumerate(keys) for member in sample(number, key)]
    before = sorted(path for path in tmp_path.rglob("*"))
    path = write_tar(tmp_path / "inner" / "a.tar", members)
    pairs = open_pairs(str(path), cache=cache)
    assert [number_of(pairs.image(row)) for row in range(4)] == [0, 1, 2, 3]
    assert pairs.image_ref(0) == "a.tar/../evil.jpg"
    after = sorted(
        found for found in tmp_path.rglob("*") if cache not in found.parents and found not in (cache, path)
    )
    assert after == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
@pytest.mark.parametrize("member", ["jpg", "txt"])
def test_links_and_devices_are_never_followed(kind: bytes, member: str, tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, content in sample(0):
            info = tarfile.TarInfo(name)
            if name.endswith(member):
                info.type, info.linkname = kind, "/etc/hostname"
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        for name, content in sample(1):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    pairs = open_pairs(str(path), cache=cache)
    assert pairs.captions() == ["photo 1"]
    assert "link or a device" in pairs.skip_reasons[0]


def test_a_truncated_shard_keeps_what_is_whole(tmp_path: Path, cache: Path) -> None:
    spec = shards(tmp_path / "set", 4, 2)
    first = tmp_path / "set" / "00000.tar"
    data = first.read_bytes()
    with tarfile.open(first) as archive:
        cut = archive.getmember("000000002.jpg").offset_data + 10
    first.write_bytes(data[:cut])
    pairs = open_pairs(spec, cache=cache)
    assert pairs.captions() == ["photo 0", "photo 1", "photo 4", "photo 5"]
    assert pairs.skipped == 1
    assert "00000.tar: cut off at byte" in pairs.skip_reasons[0]


def damage(path: Path, *names: str) -> None:
    """Change one letter in the headers of some members."""
    data = bytearray(path.read_bytes())
    with tarfile.open(path) as archive:
        for name in names:
            data[archive.getmember(name).offset + 3] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("names", "lost"),
    [
        (["000000001.jpg"], [1]),
        (["000000000.jpg"], [0]),
        (["000000001.txt", "000000001.json"], [1]),
        (["000000001.jpg", "000000001.json", "000000001.txt"], [1]),
        (["000000001.jpg", "000000002.jpg"], [1, 2]),
        (["000000002.jpg", "000000002.json", "000000002.txt"], [2]),
    ],
)
def test_reading_goes_on_behind_a_damaged_header_and_counts_what_is_lost(
    names: list[str], lost: list[int], tmp_path: Path, cache: Path
) -> None:
    members = [member for number in range(4) for member in sample(number)]
    path = write_tar(tmp_path / "a.tar", members, tarfile.USTAR_FORMAT)
    damage(path, *names)
    pairs = open_pairs(str(path), cache=cache)
    kept = [number for number in range(4) if number not in lost]
    assert pairs.captions() == [f"photo {number}" for number in kept]
    assert [number_of(pairs.image(row)) for row in range(len(kept))] == kept
    assert pairs.skipped == len(lost)
    assert all("damaged header at byte" in reason for reason in pairs.skip_reasons)


def test_a_part_of_zeros_is_a_gap_and_archives_in_a_row_are_one(tmp_path: Path, cache: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [*sample(0), *sample(1), *sample(2)], tarfile.USTAR_FORMAT)
    data = bytearray(path.read_bytes())
    data[6 * 512 : 9 * 512] = bytes(3 * 512)  # of the nine members' 18 blocks, the first half of sample 1
    path.write_bytes(bytes(data))
    pairs = open_pairs(str(path), cache=cache)
    assert (pairs.captions(), pairs.skipped) == (["photo 0", "photo 2"], 1)
    two = (
        write_tar(tmp_path / "b.tar", sample(0)).read_bytes()
        + write_tar(tmp_path / "b.tar", sample(1)).read_bytes()
    )
    (tmp_path / "b.tar").write_bytes(two)
    pairs = open_pairs(str(tmp_path / "b.tar"), cache=cache)
    assert (pairs.captions(), pairs.skipped) == (["photo 0", "photo 1"], 0)


def test_a_shard_without_the_mark_of_its_end_is_named(tmp_path: Path, cache: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [*sample(0), *sample(1)], tarfile.USTAR_FORMAT)
    path.write_bytes(path.read_bytes()[: 6 * 512])
    pairs = open_pairs(str(path), cache=cache)
    assert pairs.captions() == ["photo 0"]
    assert pairs.skip_reasons == (
        "a.tar: ends without the mark of its end, as a download that was cut off does",
    )


@pytest.mark.parametrize("order", [("jpg", "json", "txt"), ("txt", "jpg", "json"), ("json", "txt", "jpg")])
def test_archives_made_kind_by_kind(order: tuple[str, ...], tmp_path: Path, cache: Path) -> None:
    members = [member for number in range(30) for member in sample(number)]
    members.sort(key=lambda member: order.index(member[0].rpartition(".")[2]))
    pairs = open_pairs(str(write_tar(tmp_path / "a.tar", members)), cache=cache)
    assert pairs.captions() == [f"photo {number}" for number in range(30)]
    assert [number_of(pairs.image(row)) for row in range(30)] == list(range(30))
    assert pairs.skipped == 0


def test_names_with_dots_and_every_image_ending_that_is_read(tmp_path: Path, cache: Path) -> None:
    names = ["photo.final.1", "photo.final.2", "a.b/v1.0.3", "x"]
    endings = ["jpg", "PNG", "tiff", "bmp"]
    members = [
        m for n, (name, end) in enumerate(zip(names, endings, strict=True)) for m in sample(n, name, end)
    ]
    pairs = open_pairs(
        str(write_tar(tmp_path / "a.tar", [*members, ("photo.final.3.jpg", b"")])), cache=cache
    )
    assert pairs.captions() == [f"photo {number}" for number in range(4)]
    assert pairs.skip_reasons == ("a.tar/photo.final.3: has no caption (.txt or .json)",)


def test_hidden_members_are_left_out(tmp_path: Path, cache: Path) -> None:
    members = [
        *sample(0, "./a"),
        *sample(1, "__MACOSX/._a"),
        *sample(2, "._a"),
        *sample(3, ".ipynb_checkpoints/a"),
    ]
    pairs = open_pairs(str(write_tar(tmp_path / "a.tar", members)), cache=cache)
    assert (pairs.captions(), pairs.skipped) == (["photo 0"], 0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"is empty \(0 bytes\).*download it again"),
        (bytes(10_240), "no usable pair"),
        (b"this is text " * 100, "not a tar archive"),
        (b"short", "not a tar archive"),
        (gzip.compress(bytes(10_240), mtime=0), "is compressed: unpack it"),  # no time: equal test ids
    ],
)
def test_files_that_are_not_shards(content: bytes, words: str, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(DataError, match=words):
        open_pairs(str(tmp_path / "a.tar"), cache=cache)


def test_bad_images_name_row_shard_and_member(tmp_path: Path, cache: Path) -> None:
    members = [
        *sample(0),
        ("1.jpg", numbered(1)[:30]),
        ("1.txt", b"cut"),
        ("2.png", b""),
        ("2.txt", b"empty"),
    ]
    pairs = open_pairs(str(write_tar(tmp_path / "a.tar", members)), cache=cache)
    with pytest.raises(ImageError, match=r"Row 1 of a.tar, image 'a.tar/1.jpg': "):
        pairs.image(1)
    with pytest.raises(ImageError, match="the file is empty"):
        pairs.image(2)


def test_a_shard_that_changes_after_indexing(tmp_path: Path, cache: Path) -> None:
    spec = shards(tmp_path / "set", 2)
    opened = open_pairs(spec, cache=cache)
    number_of(opened.image(0))
    later = pickle.loads(pickle.dumps(opened))
    os.utime(tmp_path / "set" / "00000.tar", (1, 1))
    with pytest.raises(ImageError, match="has changed since it was indexed"):
        later.image(0)
    (tmp_path / "set" / "00000.tar").unlink()
    with pytest.raises(ImageError, match="cannot be read"):
        later.image(0)


def test_names_that_repeat(tmp_path: Path, cache: Path) -> None:
    """Samples one after the other are read; where two wait at once, nothing tells what belongs together."""
    one, two = sample(1, "a"), sample(2, "a")
    pairs = open_pairs(str(write_tar(tmp_path / "a.tar", [*one, *two])), cache=cache)
    assert pairs.captions() == ["photo 1", "photo 2"]
    assert [number_of(pairs.image(row)) for row in range(2)] == [1, 2]
    apart = [*one, *sample(3), *two]
    pairs = open_pairs(str(write_tar(tmp_path / "b.tar", apart)), cache=cache)
    assert pairs.captions() == ["photo 1", "photo 3", "photo 2"]
    by_kind = sorted(apart, key=lambda member: member[0].rpartition(".")[2])
    pairs = open_pairs(str(write_tar(tmp_path / "c.tar", by_kind)), cache=cache)
    assert (pairs.captions(), pairs.skipped) == (["photo 3"], 2)
    assert set(pairs.skip_reasons) == {f"c.tar/a: {tar_samples.REPEATED}"}


def test_names_of_other_bytes_are_other_names(tmp_path: Path, cache: Path) -> None:
    members = [
        ("\udcff.jpg", numbered(1)),
        ("\udcfe.jpg", numbered(2)),
        ("\udcfe.txt", b"two"),
        ("\udcff.txt", b"one"),
    ]
    path = write_tar(tmp_path / "a.tar", members, tarfile.GNU_FORMAT)
    pairs = open_pairs(str(path), cache=cache)
    assert {pairs.caption(row): number_of(pairs.image(row)) for row in range(2)} == {"one": 1, "two": 2}
    assert pairs.image_ref(0) == r"a.tar/\xfe.jpg"


@pytest.mark.parametrize("name", ["1.tar.gz", "1.tgz"])
def test_a_compressed_shard_beside_others_is_not_left_out(name: str, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "set").mkdir()
    write_tar(tmp_path / "set" / "0.tar", sample(0))
    (tmp_path / "set" / name).write_bytes(b"x")
    with pytest.raises(DataError, match=rf"{name}' is compressed, .* unpack it"):
        open_pairs(str(tmp_path / "set"), cache=cache)
    (tmp_path / "set" / name).rename(tmp_path / "set" / "backup.gz")  # no shard
    assert len(open_pairs(str(tmp_path / "set"), cache=cache)) == 1


def test_too_many_incomplete_samples(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_samples, "MAX_PENDING", 10)
    path = write_tar(tmp_path / "a.tar", [(f"{n}.jpg", b"x") for n in range(20)])
    with pytest.raises(DataError, match="over 10 images without an adjacent caption"):
        open_pairs(str(path), cache=cache)


def members_of(path: Path) -> list[tar.Member | tar.Gap]:
    with open_shard(path) as shard:
        return list(tar.members(shard))


def reference(path: Path) -> list[tuple[str, bool, int, int]]:
    """Members as the standard library sees them."""
    with tarfile.open(path) as archive:
        return [
            (member.name, member.isreg(), member.offset_data, member.size if member.isreg() else 0)
            for member in archive
            if not member.isdir()
        ]


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=180
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(NAMES.filter(lambda name: not name.endswith("/")), min_size=1, max_size=5),
    sizes=st.lists(st.integers(0, 1500), min_size=5, max_size=5),
    format=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    links=st.lists(st.booleans(), min_size=5, max_size=5),
)
def test_members_agree_with_the_standard_library(
    names: list[str], sizes: list[int], format: int, links: list[bool], tmp_path: Path
) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=format) as archive:
        for name, size, link in zip(names, sizes, links, strict=False):
            info = tarfile.TarInfo(name)
            info.mtime = 1.5  # makes a pax header of its own
            if link:
                info.type, info.linkname = tarfile.SYMTYPE, "x" * 150
                archive.addfile(info)
            else:
                info.size = size
                archive.addfile(info, io.BytesIO(b"a" * size))
    members = [member for member in members_of(path) if isinstance(member, tar.Member)]
    ours = [(member.name, member.regular, member.offset, member.size) for member in members]
    assert ours == reference(path)


def test_sizes_from_8_gib_in_base_256(tmp_path: Path) -> None:
    info = tarfile.TarInfo("big.jpg")
    info.size = 9 * 2**30
    path = tmp_path / "a.tar"
    with open(path, "wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(512 + info.size + 1024)  # sparse: takes no disk
    (member,) = members_of(path)
    assert isinstance(member, tar.Member)
    assert (member.size, member.offset) == (9 * 2**30, 512)
    path.write_bytes(info.tobuf(tarfile.PAX_FORMAT))
    (gap,) = members_of(path)
    assert isinstance(gap, tar.Gap)
    assert "cut off" in gap.reason


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.tuples(st.integers(0, 5119), st.integers(0, 255)), max_size=8))
def test_scrambled_headers_end_in_damage_or_in_members_inside_the_file(
    places: list[tuple[int, int]], tmp_path: Path
) -> None:
    path = write_tar(
        tmp_path / "a.tar", [("a.jpg", b"x" * 600), ("b" * 150 + ".jpg", b"y")], tarfile.PAX_FORMAT
    )
    data = bytearray(path.read_bytes())
    for place, value in places:
        if place < len(data):
            data[place] = value
    path.write_bytes(bytes(data))
    try:
        for member in members_of(path):
            if isinstance(member, tar.Member):
                assert 0 <= member.offset <= member.offset + member.size <= len(data)
    except DataError:
        pass


@pytest.mark.slow
def test_scanning_takes_microseconds_a_member(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [(f"{n}.txt", b"x") for n in range(20_000)])
    started = time.perf_counter()
    assert len(members_of(path)) == 20_000
    ours = time.perf_counter() - started
    started = time.perf_counter()
    assert len(reference(path)) == 20_000
    assert ours < time.perf_counter() - started
