"""``abinet inspect``: says what a bundle is."""

import argparse
import json
from pathlib import Path
from typing import Optional

from service.bundle_format.manifest import compiled_graphs, read_manifest


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    parser.add_argument("--json", action="store_true", help="print the manifest as it is")


def run(args: argparse.Namespace) -> int:
    """Prints the manifest; returns the exit code."""
    manifest = read_manifest(args.bundle)
    if args.json:
        print(json.dumps(manifest, indent=2))
        return 0
    exporter, preprocessing, image = manifest["exporter"], manifest["preprocessing"], manifest["input"]
    shrunk = "shrunk by area, " if preprocessing.get("shrink_by_area") else ""
    normalised = "normalised" if preprocessing["normalise"] else "not normalised"
    facts = {
        "name": f"{manifest['name']} {manifest['version']}",
        "created": manifest["created"],
        "charset": manifest["charset"],
        "longest text": f"{manifest['max_length']} characters",
        "iterations": manifest["iterations"],
        "input": f"{tuple(image['shape'])} {image['dtype']} {image['channels']}",
        "crops are": f"{shrunk}resized ({preprocessing['interpolation']}), {normalised}",
        "confidence": _calibration(manifest.get("calibration")),
        "early stop": _early_stop(manifest.get("early_stop")),
        "precision": manifest["precision"],
        "written by": f"MindSpore {exporter['mindspore']} (MindIR version {exporter['mind_ir_version']})",
        "checkpoint": f"{manifest['checkpoint']['file']} sha256 {manifest['checkpoint']['sha256'][:12]}",
        "accuracy": _accuracy(manifest["accuracy"]),
    }
    for name, value in facts.items():
        print(f"{name:<14}{value}")
    print(f"\n{'graph':<22}{'batch':>5}{'MB':>9}{'largest difference':>21}")
    for graph in [*manifest["graphs"], *compiled_graphs(manifest)]:
        difference = f"{graph['max_difference']:.1e}" if "max_difference" in graph else "not compared"
        print(f"{graph['file']:<22}{graph['batch']:>5}{graph['bytes'] / 1e6:>9.1f}{difference:>21}")
    return 0


def _calibration(fitted: Optional[dict]) -> str:
    if fitted is None:
        return "uncalibrated: the product of the probabilities of characters and stop"
    return "calibrated on {crops} crops (slope {slope}, intercept {intercept})".format(**fitted)


def _early_stop(chosen: Optional[dict]) -> str:
    if chosen is None:
        return "thresholds not chosen by abinet calibrate"
    return "for {loss} points on {crops} crops (vision {vision}, settled {settled})".format(**chosen)


def _accuracy(figures: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in figures.items()) or "not stated"
