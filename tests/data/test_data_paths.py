"""Source descriptions, and image paths that must stay where they may point."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipdefend.data.decode import ImageError
from clipdefend.data.paths import ImageFolders, expand
from clipdefend.errors import DataError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names_of(spec: str) -> list[str]:
    return [path.name for path in expand(spec)[1]]


def test_braces_wildcards_and_joins_in_order(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{number:05d}.tar" for number in range(12)), "b.tar", "a.tar")
    assert names_of(f"{tmp_path}/{{00008..00011}}.tar") == [
        "00008.tar",
        "00009.tar",
        "00010.tar",
        "00011.tar",
    ]
    assert names_of(f"{tmp_path}/{{b,a}}.tar") == ["b.tar", "a.tar"]
    assert names_of(f"{tmp_path}/0000?.tar")[:2] == ["00000.tar", "00001.tar"]
    assert names_of(f"{tmp_path}/b.tar::{tmp_path}/0000{{1..2}}.tar") == ["b.tar", "00001.tar", "00002.tar"]
    touch(tmp_path, "1/8.tar", "1/9.tar", "1/10.tar", "2/8.tar", "2/9.tar", "2/10.tar")
    joined = [f"{path.parent.name}/{path.name}" for path in expand(f"{tmp_path}/{{1..2}}/{{8..10}}.tar")[1]]
    assert joined == ["1/8.tar", "1/9.tar", "1/10.tar", "2/8.tar", "2/9.tar", "2/10.tar"]


def test_wildcards_match_what_is_visible(tmp_path: Path) -> None:
    touch(tmp_path, "a/0.tar", "a/._0.tar", "__MACOSX/0.tar", ".hidden/0.tar", "lost+found/0.tar")
    assert expand(f"{tmp_path}/*/*.tar")[1] == [tmp_path / "a" / "0.tar"]
    assert expand(f"{tmp_path}/.hidden/?.tar")[1] == [tmp_path / ".hidden" / "0.tar"]  # named, not matched


def test_the_description_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "0.tar", "1.tar", "with space.csv")
    monkeypatch.chdir(tmp_path)
    assert expand("{0..1}.tar")[0] == f"{tmp_path}/{{0..1}}.tar"
    assert expand("0.tar::./1.tar")[0] == f"{tmp_path}/0.tar::{tmp_path}/1.tar"
    assert expand("with space.csv")[0] == f"{tmp_path}/with space.csv"


def test_an_existing_name_is_not_a_pattern(tmp_path: Path) -> None:
    touch(tmp_path, "a[1].csv", "a1.csv", "{x}.csv")
    assert names_of(f"{tmp_path}/a[1].csv") == ["a[1].csv"]
    assert names_of(f"{tmp_path}/{{x}}.csv") == ["{x}.csv"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("a.tar::", "does not exist|empty"),
        ("missing.csv", "does not exist"),
        ("{00000..00003}.tar", "4 of the 4 files"),
        ("*.tar", "matches no file"),
        ("https://example.org/a.tar", "Remote source"),
        ("s3://bucket/{0..9}.tar", "copy it to a local disk"),
        ("pipe:curl example.org", "Remote source"),
        ("hf://datasets/x", "Remote source"),
        ("{0..99999999}.tar", "files"),
    ],
)
def test_wrong_descriptions(spec: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("clipdefend.data.paths.MAX_FILES", 1000)
    with pytest.raises(DataError, match=words) as caught:
        expand(spec)
    assert "\n" not in str(caught.value)


def test_a_gap_in_the_shards_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "0.tar", "2.tar")
    with pytest.raises(DataError, match=r"1 of the 3 files .* first .*/1.tar"):
        expand(f"{tmp_path}/{{0..2}}.tar")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    touch(tmp_path, "set/images/a.png", "elsewhere/b.png", "secret.png")
    (tmp_path / "set" / "link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "set" / "inner.png").symlink_to("images/a.png")
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "loop").symlink_to("loop")
    return tmp_path / "set", tmp_path / "elsewhere"


def test_paths_inside_are_found(folders: tuple[Path, Path]) -> None:
    inside = ImageFolders.of(folders[0])
    expected = str(folders[0] / "images" / "a.png")
    for ref in ("images/a.png", "./images/../images/a.png", "inner.png", expected):
        assert inside.locate(ref) == expected


@pytest.mark.parametrize(
    "ref", ["../secret.png", "link.png", "linked/b.png", "/etc/hostname", "images/../../secret.png"]
)
def test_paths_that_leave_are_refused(ref: str, folders: tuple[Path, Path]) -> None:
    with pytest.raises(ImageError, match=r"outside .*--image-root"):
        ImageFolders.of(folders[0]).locate(ref)


@pytest.mark.parametrize("ref", ["", "a\0b", "x" * 5000, "absent.png", "loop", "."])
def test_paths_that_name_nothing(ref: str, folders: tuple[Path, Path]) -> None:
    with pytest.raises(ImageError):
        ImageFolders.of(folders[0]).locate(ref)


def test_a_sibling_with_the_same_beginning_is_outside(tmp_path: Path) -> None:
    touch(tmp_path, "set/a.png", "set2/a.png")
    with pytest.raises(ImageError, match="outside"):
        ImageFolders.of(tmp_path / "set").locate("../set2/a.png")


def test_image_root_allows_and_comes_first(folders: tuple[Path, Path], tmp_path: Path) -> None:
    wider = ImageFolders.of(folders[0], folders[1])
    assert wider.locate("b.png") == str(folders[1] / "b.png")
    assert wider.locate("linked/b.png") == str(folders[1] / "b.png")
    assert wider.locate(str(folders[1] / "b.png")) == str(folders[1] / "b.png")
    assert wider.locate("images/a.png") == str(folders[0] / "images" / "a.png")
    with pytest.raises(ImageError, match="outside"):
        wider.locate("link.png")
    with pytest.raises(DataError, match="--image-root"):
        ImageFolders.of(folders[0], tmp_path / "nowhere")
