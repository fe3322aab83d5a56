"""`ebt-policy compare`: two result files, episode by episode."""

import json

import pytest

from ebt_policy_ros.cli.main import main


def result(path, successes, *, first_seed=1000, **settings):
    episodes = [{"seed": first_seed + index, "success": bool(value)} for index, value in enumerate(successes)]
    path.write_text(json.dumps({"model": "lift", "episodes": episodes, "settings": {"task": "lift", **settings}}))
    return str(path)


def test_the_same_seeds_are_compared(tmp_path, capsys):
    first = result(tmp_path / "a.json", [1, 1, 1, 0, 1, 1], policy="ebt", retry="on")
    second = result(tmp_path / "b.json", [1, 0, 0, 0, 1], policy="dp", sampler="ddim16", retry="off")
    assert main(["compare", first, second, "--json", str(tmp_path / "c.json")]) == 0
    said = capsys.readouterr().out
    assert "lift (ebt) 4 of 5, lift (dp, ddim16) 2 of 5 on the same seeds" in said
    assert "difference +40.0 points" in said
    assert "note: retry was on and off" in said
    compared = json.loads((tmp_path / "c.json").read_text())
    assert (compared["both"], compared["only_first"], compared["only_second"], compared["neither"]) == (2, 2, 0, 1)
    assert compared["interval"][0] < 0.4 < compared["interval"][1]
    assert compared["p_value"] == 0.5


def test_what_cannot_be_compared_is_refused(tmp_path, capsys):
    first = result(tmp_path / "a.json", [1, 1])
    other_task = tmp_path / "can.json"
    other_task.write_text(json.dumps({"episodes": [{"seed": 1, "success": True}], "settings": {"task": "can"}}))
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    demo = tmp_path / "demo.json"
    demo.write_text(json.dumps({"success_rate": 1.0}))
    for second, words in (
        (result(tmp_path / "b.json", [1, 1], first_seed=2000), "no seed in common: the first has 1000 to 1001"),
        (str(other_task), "is of task 'lift'"),
        (str(broken), "broken.json is not JSON"),
        (str(demo), "expected a result of `ebt-policy eval --json` with 'episodes'"),
        (str(tmp_path / "missing.json"), "missing.json"),
    ):
        assert main(["compare", first, second]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [{"seed": 1}, 7])
def test_an_episode_without_an_outcome_is_named(tmp_path, capsys, wrong):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({"episodes": [wrong]}))
    assert main(["compare", str(path), str(path)]) == 2
    assert "episode 0 has no 'seed' and 'success'" in capsys.readouterr().err
