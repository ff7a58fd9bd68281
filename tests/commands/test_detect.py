"""``evaluate --detect``: figures of each detector, and what they need."""

from __future__ import annotations

import shutil

from command_lines import EVAL, Shell


def test_detectors_are_measured_beside_asr(chain: Shell) -> None:
    done = chain(
        *("evaluate", *EVAL, "--workers", 0, "--from", "002-finetune-attack-badnet", "--out", "detected"),
        *("--detect", "bdetclip,lorex,strip", "--detect-images", 12),
    )
    assert done.code == 0, done.err
    metrics, details = done.manifest["metrics"], done.manifest["details"]["detect"]
    for name in ("bdetclip", "lorex", "strip"):
        low, value, high = (metrics[f"detect_{name}_auroc{end}"] for end in ("_low", "", "_high"))
        assert 0 <= low <= value <= high <= 1
    assert metrics["n_detect_clean"] == details["known"] == 12
    assert 0 < metrics["n_detect_triggered"] < 12  # without those of the target's class
    assert details["detectors"]["strip"] == {"overlays": 8, "alpha": 0.5}
    assert f"Detection: 12 clean, {metrics['n_detect_triggered']} triggered images" in done.err


def test_what_detection_needs(chain: Shell) -> None:
    run = ("--from", "002-finetune-attack-badnet", "--workers", 0, "--out", "wrong")
    unknown = chain("evaluate", *EVAL, *run, "--detect", "stripes")
    assert unknown.code == 2
    assert "Unknown detector 'stripes'. Did you mean 'strip'?" in unknown.errors[0]
    bare = chain(
        "evaluate",
        *EVAL,
        "--model",
        "small.json",
        "--pretrained",
        "none",
        "--detect",
        "strip",
        "--out",
        "wrong",
    )
    assert bare.code == 2
    assert "needs a trigger: name an attack with --attack-from" in bare.errors[0]
    assert not (chain.folder / "wrong").exists()


def test_images_of_the_target_alone_are_refused(chain: Shell) -> None:
    folder = chain.folder / "bananas"
    folder.mkdir()
    for name in ("banana", "cat"):
        (folder / name).mkdir()
    first, *_ = sorted((chain.folder / "eval" / "banana").iterdir())
    for number in range(20):
        shutil.copy(first, folder / "banana" / f"{number}{first.suffix}")
    shutil.copy(first, folder / "cat" / first.name)
    run = ("--from", "002-finetune-attack-badnet", "--workers", 0, "--out", "wrong")
    data = ("--eval-data", folder, "--topk", 1, "--templates", "simple")
    done = chain("evaluate", *data, *run, "--detect", "bdetclip", "--detect-images", 2, "--seed", 1)
    assert done.code == 2, done.err
    assert "--detect needs images of other classes than the target's" in done.errors[0]
    assert not (chain.folder / "wrong" / "manifest.yaml").exists()
