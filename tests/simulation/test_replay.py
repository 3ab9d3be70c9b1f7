"""A seed is a run: the same again in this process and in another, and a failure tells how to have it again."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dbgrains.testing.simulation.faults import ALL_FAULTS, Fault
from dbgrains.testing.simulation.storm import explain, run_storm, smallest_schedule
from tests.simulation import ablations
from tests.simulation.test_storms import storm_of
from tests.simulation.workload import STORM

ROOT = Path(__file__).parents[2]
SEEDS = range(2)

PRINT_FINGERPRINTS = f"""
from dbgrains.testing.simulation.storm import run_storm
from tests.simulation.test_storms import storm_of
for seed in {list(SEEDS)}:
    print(run_storm(storm_of(seed), seed).fingerprint)
"""


def test_a_seed_is_the_same_run_in_another_process_whatever_its_hashes():
    here = [run_storm(storm_of(seed), seed).fingerprint for seed in SEEDS]

    for hashes in ("0", "4711"):
        there = subprocess.run(
            [sys.executable, "-c", PRINT_FINGERPRINTS],
            env={**os.environ, "PYTHONHASHSEED": hashes},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=170,
        )
        assert there.stdout.split() == here


def test_seeds_differ():
    assert len({run_storm(STORM, seed).fingerprint for seed in SEEDS}) == len(SEEDS)


def test_every_kind_of_fault_is_drawn_and_named_in_the_schedule():
    faults = [fault for seed in range(200) for fault in STORM.schedule(seed)]

    assert {fault.kind for fault in faults} == set(ALL_FAULTS)
    assert all(fault.kind in str(fault) for fault in faults)


def test_leaving_a_fault_out_leaves_the_others_as_they_were():
    schedule = STORM.schedule(3)

    assert run_storm(STORM, 3, schedule).fingerprint == run_storm(STORM, 3).fingerprint
    assert run_storm(STORM, 3, schedule[1:]).schedule == schedule[1:]


CUT = Fault(0.5, "cut", 0, 1.5)
CRASH = Fault(1.0, "crash", 1, 0.3)
STALL = Fault(0.2, "stall", seconds=0.2)
ISOLATE = Fault(0.5, "isolate", 0, 1.5)


def test_a_failure_names_its_seed_its_schedule_and_the_few_faults_that_suffice(monkeypatch: pytest.MonkeyPatch):
    ablations.no_soft_fence(monkeypatch)
    storm = replace(STORM, storm_s=2.5)
    schedules = [[STALL, *sorted([CUT, ISOLATE], key=lambda fault: fault.who), CRASH]] * 6
    reports = [run_storm(storm, seed, schedule) for seed, schedule in enumerate(schedules)]
    broken = next(report for report in reports if report.violations)

    smallest = smallest_schedule(storm, broken)
    text = explain(storm, broken)

    assert 0 < len(smallest.schedule) < len(broken.schedule)
    assert f"seed {broken.seed}:" in text
    assert all(str(fault) in text for fault in broken.schedule)
    assert "smallest schedule that still breaks it" in text
    assert "fault" in text.partition("s before:")[2]
    assert "acts" in text.partition("s before:")[2]


def test_what_a_report_tells_can_be_run_again():
    report = run_storm(STORM, 5)

    assert run_storm(STORM, report.seed, report.schedule).fingerprint == report.fingerprint
