"""What must hold for the text of every script. That scripts create no globals, write nothing when they only read
and touch no key of another slot is told by real servers, in the conformance and integration tests.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from dbgrains.redisio.script import Script, load_scripts

PACKAGE = Path(__file__).parents[3] / "dbgrains"
FOLDERS = [PACKAGE / "storage/redis_scripts", PACKAGE / "providers/redis_scripts"]
SCRIPTS = [script for folder in FOLDERS for script in load_scripts(folder).values()]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_no_number_is_printed_in_luas_own_way(script: Script):
    """There tostring(1.8e15) is '1.8e+15'."""
    assert "tostring" not in script.text


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_names_its_keys_by_their_place_and_builds_none(script: Script):
    named = re.findall(r"redis\.p?call\('(?:H|S(?!C)|DEL|EXISTS)\w*', ([^,)]+)", script.text)

    assert named or script.name == "probe"
    assert [key for key in named if ".." in key or key.startswith(("'", "ARGV"))] == []


def test_scripts_that_only_read_say_so():
    assert {script.name for script in SCRIPTS if script.reads_only} == {"lookup", "expired", "probe", "list"}


def test_a_loaded_script_is_whole_and_named_by_its_hash():
    scripts = load_scripts(FOLDERS[0])

    assert "-- include" not in "".join(script.text for script in scripts.values())
    assert all(not name.startswith("_") for name in scripts)
    assert all(script.sha == hashlib.sha1(script.text.encode()).hexdigest() for script in scripts.values())
