import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import sim_picture
from bench.sim_fleets import FLEETS


def test_the_picture_is_well_formed_and_has_a_dot_for_every_figure(tmp_path: Path) -> None:
    rows = [
        {"fleet": fleet, "variant": variant, "mean": 12.0 if variant.startswith("round") else 1.1}
        for fleet in sim_picture.FLEETS
        for variant in sim_picture.SERIES
    ]
    figures, out = tmp_path / "figures.json", tmp_path / "docs" / "picture.svg"
    figures.write_text(json.dumps(rows))
    assert sim_picture.main([str(figures), str(out)]) == 0
    root = ElementTree.fromstring(out.read_text())
    titles = [element for element in root.iter() if element.tag.endswith("title")]
    assert len(titles) == len(rows)
    assert set(sim_picture.FLEETS) <= set(FLEETS)


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.9), (1.0, 1.1), (9.0, 11.0)])
def test_more_is_further_right_and_never_off_the_scale(low: float, high: float) -> None:
    assert sim_picture.LEFT <= sim_picture.place(low) < sim_picture.place(high)
    assert sim_picture.place(high) <= sim_picture.WIDTH - sim_picture.RIGHT
