from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from consensus.errors import PromptError
from consensus.panel.book import load_prompts
from consensus.panel.framings import PLAIN
from consensus.resources import packaged
from consensus.tasks import KINDS, Kind
from tests.panel.helpers import book

GOOD = "---\nname: mine\ntitle: Mine\nkinds: [approve]\nversion: 1\n---\nLook twice.\n"


def project(tmp_path: Path, files: Mapping[str, str | bytes]) -> Path:
    folder = tmp_path / "prompts"
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_plain_is_the_first_framing_of_every_kind(kind: Kind) -> None:
    assert book().framings_for(kind)[0].name == PLAIN


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "generate"])
def test_every_judging_kind_has_at_least_eight_framings(kind: Kind) -> None:
    assert len(book().framings_for(kind)) >= 8


def test_no_two_framings_share_a_sentence() -> None:
    sentences = [
        sentence
        for framing in book().framings.values()
        for sentence in re.split(r"(?<=[.?])\s+", framing.body)
    ]
    assert len(sentences) == len(set(sentences))


def test_every_framing_has_two_to_five_sentences() -> None:
    counts = {
        name: len(re.findall(r"[.?](?:\s|$)", framing.body))
        for name, framing in book().framings.items()
    }
    assert all(2 <= count <= 5 for count in counts.values()), counts


def test_the_name_of_every_packaged_framing_is_its_files() -> None:
    assert all(Path(f.file).stem == f.name for f in book().framings.values())


def test_no_python_lies_among_the_prompts() -> None:
    assert not list(packaged("prompts").rglob("*.py"))


def test_the_hash_is_the_same_for_the_same_prompts() -> None:
    assert load_prompts(None).sha256 == book().sha256


def test_a_projects_framing_joins_the_defaults(tmp_path: Path) -> None:
    mine = load_prompts(project(tmp_path, {"framings/mine.md": GOOD}))
    assert mine.framing("mine").body == "Look twice."
    assert mine.framing("sceptic").body == book().framing("sceptic").body


def test_a_projects_framing_goes_over_the_default_of_its_name(tmp_path: Path) -> None:
    text = GOOD.replace("name: mine", "name: sceptic")
    mine = load_prompts(project(tmp_path, {"framings/other-file.md": text}))
    assert mine.framing("sceptic").body == "Look twice."


def test_a_framing_without_an_order_comes_last(tmp_path: Path) -> None:
    mine = load_prompts(project(tmp_path, {"framings/mine.md": GOOD}))
    assert mine.framings_for("approve")[-1].name == "mine"


def test_a_framing_changes_the_hash_of_the_kinds_it_suits_and_no_other(tmp_path: Path) -> None:
    mine = load_prompts(project(tmp_path, {"framings/mine.md": GOOD}))
    changed = {k for k in KINDS if mine.kind_sha256(k) != book().kind_sha256(k)}
    assert changed == {"approve"}
    assert mine.sha256 != book().sha256


def test_line_ends_do_not_change_the_hash(tmp_path: Path) -> None:
    unix = load_prompts(project(tmp_path / "a", {"framings/mine.md": GOOD}))
    dos = load_prompts(project(tmp_path / "b", {"framings/m.md": GOOD.replace("\n", "\r\n")}))
    assert unix.sha256 == dos.sha256


def test_a_projects_template_goes_over_the_default(tmp_path: Path) -> None:
    text = (packaged("prompts") / "templates/approve.md").read_text()
    text = text.replace("Submission:", "Request:")
    mine = load_prompts(project(tmp_path, {"templates/approve.md": text}))
    assert mine.kind_sha256("approve") != book().kind_sha256("approve")
    assert mine.kind_sha256("choose") == book().kind_sha256("choose")


def test_a_copy_of_the_packaged_folder_is_the_packaged_book(tmp_path: Path) -> None:
    source = packaged("prompts")
    files = {str(p.relative_to(source)): p.read_bytes() for p in source.rglob("*.md")}
    assert load_prompts(project(tmp_path, files)).sha256 == book().sha256


def test_an_unknown_framing_is_refused_with_those_there_are() -> None:
    with pytest.raises(PromptError, match=r'unknown framing "nope" \(one of advocate, auditor'):
        book().framing("nope")


def test_a_framing_is_refused_for_a_kind_it_does_not_suit() -> None:
    with pytest.raises(PromptError, match='"concise" does not suit tasks of kind "approve"'):
        book().sequence("approve", ("concise",))


APPROVE_MD = (packaged("prompts") / "templates/approve.md").read_text()
SUBJECT_LINE = APPROVE_MD.split("\n").index("{{ subject }}") + 1

BROKEN: dict[str, tuple[dict[str, str | bytes], str]] = {
    "no front matter": ({"framings/x.md": "Look."}, r"x\.md:1: has no front matter"),
    "front matter without end": ({"framings/x.md": "---\nname: x\n"}, r"x\.md:1: .*does not end"),
    "broken yaml": (
        {"framings/x.md": GOOD.replace("kinds: [approve]", "kinds: [approve")},
        r"x\.md:[45]: the front matter is not YAML",
    ),
    "unknown kind": (
        {"framings/x.md": GOOD.replace("[approve]", "[approve, judge]")},
        r'x\.md:4: unknown kind "judge" \(a list of some of approve, choose',
    ),
    "no kinds": ({"framings/x.md": GOOD.replace("[approve]", "[]")}, r'x\.md:4: "kinds" must be'),
    "missing name": ({"framings/x.md": GOOD.replace("name: mine\n", "")}, r'x\.md:1: .* no "name"'),
    "not a name": (
        {"framings/x.md": GOOD.replace("name: mine", "name: ../Mine")},
        r'x\.md:2: "\.\./Mine" is not a name',
    ),
    "unknown key": (
        {"framings/x.md": GOOD.replace("version: 1", "version: 1\nweight: 3")},
        r'x\.md:6: unknown key "weight"',
    ),
    "key twice": (
        {"framings/x.md": GOOD.replace("title: Mine", "title: Mine\nname: other")},
        r'x\.md:4: "name" is given twice \(first on line 2\)',
    ),
    "version is no number": (
        {"framings/x.md": GOOD.replace("version: 1", "version: true")},
        r'x\.md:5: "version" must be a whole number',
    ),
    "no body": ({"framings/x.md": GOOD.replace("Look twice.", " ")}, r"x\.md:7: has no instruc"),
    "duplicate name": (
        {"framings/a.md": GOOD, "framings/b.md": GOOD},
        r'b\.md:2: framing "mine" is declared twice \(also in .*a\.md',
    ),
    "plain for some kinds only": (
        {"framings/x.md": GOOD.replace("name: mine", "name: plain")},
        r'x\.md:4: framing "plain" must suit every kind',
    ),
    "not utf-8": ({"framings/x.md": GOOD.encode() + b"\xff"}, r"x\.md:8: is not UTF-8"),
    "alias": (
        {"framings/x.md": GOOD.replace("[approve]", "&a [approve]")},
        r"x\.md:4: .*anchors and aliases are not allowed",
    ),
    "python object": (
        {"framings/x.md": GOOD.replace("title: Mine", "title: !!python/name:os.system ''")},
        r"x\.md:3: the front matter is not YAML",
    ),
    "large": ({"framings/x.md": GOOD + "x" * 70_000}, r"x\.md: is larger than 65,536 bytes"),
    "large front matter": (
        {"framings/x.md": GOOD.replace("Mine", "M" * 5_000)},
        r"x\.md:1: the front matter is larger",
    ),
    "long framing": ({"framings/x.md": GOOD + "x" * 5_000}, r"x\.md:7: .* longer than 4,000"),
    "unknown file": ({"sytem.md": GOOD}, r"sytem\.md: is not a file that prompts/ knows"),
    "unknown folder": ({"framing/x.md": GOOD}, r"framing: is not a folder that prompts/ knows"),
    "template of no kind": (
        {"templates/judge.md": APPROVE_MD},
        r'judge\.md:2: "approve" is not the kind that the file is named after',
    ),
    "missing section": (
        {"templates/approve.md": APPROVE_MD.split("<!-- section: token -->")[0]},
        r'approve\.md:5: has no section "token" \(<!-- section: token -->\)',
    ),
    "unknown section": (
        {"templates/approve.md": APPROVE_MD + "<!-- section: end -->\n"},
        r'approve\.md:\d+: unknown section "end" \(one of shared, answer, token\)',
    ),
    "section twice": (
        {"templates/approve.md": APPROVE_MD + "<!-- section: token -->\n"},
        r'approve\.md:\d+: section "token" stands twice',
    ),
    "no section": (
        {"templates/approve.md": "---\nkind: approve\nversion: 1\n---\nHello\n"},
        r"approve\.md:5: the body must begin with a section",
    ),
    "subject not shown": (
        {"templates/approve.md": APPROVE_MD.replace("{{ subject }}", "")},
        r'approve\.md:6: the section does not use "subject"',
    ),
    "criteria not shown": (
        {
            "templates/approve.md": re.sub(
                r"\{% if criteria.*?endif %\}", "", APPROVE_MD, flags=re.DOTALL
            )
        },
        r'approve\.md:6: the section does not use "criteria"',
    ),
    "unknown variable": (
        {"templates/approve.md": APPROVE_MD.replace("{{ subject }}", "{{ subject }}{{ ticket }}")},
        rf'approve\.md:{SUBJECT_LINE}: unknown variable "ticket" \(one of criteria, subject\)',
    ),
    "system is empty": ({"system.md": "---\nname: system\nversion: 1\n---\n\n"}, r"md:5: is empty"),
    "repair without its form": (
        {"repair.md": "---\nname: repair\nversion: 1\n---\n{{ problem }}\n"},
        r'repair\.md:5: the section does not use "form"',
    ),
    "name of another file": (
        {"repair.md": "---\nname: system\nversion: 1\n---\nx\n"},
        r"repair\.md:2: the name is not the file's \(name: repair\)",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_one_line_with_its_place(case: str, tmp_path: Path) -> None:
    files, pattern = BROKEN[case]
    with pytest.raises(PromptError, match=pattern) as caught:
        load_prompts(project(tmp_path, files))
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="is not a folder of prompts"):
        load_prompts(tmp_path / "nowhere")


def test_a_readme_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    folder = project(tmp_path, {"README.md": "x", ".DS_Store": "x", "framings/README.md": "x"})
    assert load_prompts(folder).sha256 == book().sha256
