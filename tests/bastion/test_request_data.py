"""Unit tests beside the proofs in test_request_data.py."""

from __future__ import annotations

from pathlib import Path

from ..edges.test_request_data import BEFORE, ROWS


def test_what_is_found_is_told_with_its_place_and_its_cure(tmp_path: Path) -> None:
    from ..request_scan import check

    (tmp_path / "pages.py").write_text(BEFORE + ROWS, "utf-8")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "pages.py").write_text("@public\ndef go():\n    return redirect(request.args['x'])\n", "utf-8")
    _, faults = check(tmp_path)
    assert faults["redirect"][0].startswith("more/pages.py:3: redirect(...) in go(): the request chooses where")
    assert "use url_for(...)" in faults["redirect"][0]
    assert [one.partition(": the request")[0] for one in faults["owner"]][-1].endswith("get_one(...) in Item.get()")


def test_a_declared_exception_is_for_one_use_in_one_function(tmp_path: Path) -> None:
    from ..request_scan import check

    source = "".join(
        f"@public\ndef {name}():\n    requests.get(request.json['url'])\n    return open(request.json['file'])\n"
        for name in ("preview", "other")
    )
    (tmp_path / "links.py").write_text(source, "utf-8")
    (tmp_path / "exceptions.toml").write_text(
        '[[request_data]]\nfunction = "links.py:preview"\nuse = "outbound"\nreason = "r"\nowner = "o"\n'
        "until = 2027-06-30\n",
        "utf-8",
    )
    _, faults = check(tmp_path)
    assert [one.partition(": ")[0] for one in faults["outbound"]] == ["links.py:7"]
    assert [one.partition(": ")[0] for one in faults["file"]] == ["links.py:4", "links.py:8"]
    assert faults["unused"] == []
    (tmp_path / "links.py").write_text("def preview():\n    pass\n", "utf-8")
    assert check(tmp_path)[1]["unused"] == [
        "exceptions.toml: nothing is left to the request for outbound in links.py:preview; remove that exception, or "
        "name the function where it is"
    ]
