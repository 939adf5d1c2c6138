"""`bench analyze overall`: the table, the notes and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

RUN = ("run", "--task", "reviews_demo", "--backend", "majority,tfidf", "--lang", "en,ja", "--limit", 40)


@pytest.fixture
def two_languages(bench: Any, project: Path) -> None:
    assert bench(*RUN).code == 0


@pytest.mark.slow
def test_a_table_over_two_languages(bench: Any, two_languages: None) -> None:
    said = bench("analyze", "overall")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[0].startswith("2 configurations on 2 datasets with ")
    rows = [line.split("\t") for line in lines if "\t" in line]
    assert rows[0] == ["configuration", "mean rank", "95%", "gap to the best", "95% of the gap"]
    assert len(rows) == 3
    assert "2 datasets are few" in said.err
    found = bench("analyze", "overall", "--reference", "majority", "--rope", 0.02, "--json").json
    assert set(found) == {
        "datasets", "standings", "reference", "compared_with", "rope", "few", "shares_groups", "friedman", "left_out",
        "incomplete", "notes",
    }  # fmt: skip
    assert (found["few"], found["rope"]) == (True, 0.02)
    assert found["reference"].startswith("majority")
    assert [one["gap"]["value"] for one in found["standings"] if one["name"] == found["reference"]] == [0]
    assert sum(one["rank"]["value"] for one in found["standings"]) == pytest.approx(3)


def test_slips_name_the_way_out(bench: Any, project: Path) -> None:
    nothing = bench("analyze", "overall")
    assert nothing.code == 2
    assert "bench run" in nothing.err
    assert bench("analyze", "overall", "--split", "tests").code == 2
    assert bench("analyze", "overall", "--rope", "nan").code == 2
    assert bench("analyze", "overall", "--rope", -1).code == 2
