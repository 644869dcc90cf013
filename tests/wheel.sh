#!/usr/bin/env bash
# sdist → wheel → a fresh environment outside the checkout → one default of each kind is there.
set -euo pipefail
bin=$1
repo=$(pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$bin/python" -m build --quiet --installer uv --outdir "$work/dist" "$repo"
"$bin/uv" venv --quiet --python "$bin/python" "$work/venv"
VIRTUAL_ENV="$work/venv" "$bin/uv" pip install --quiet "$work"/dist/*.whl
cd "$work"
"$work/venv/bin/python" - <<'PY'
import consensus
from pathlib import Path
assert Path(consensus.__file__).is_relative_to(Path.cwd()), consensus.__file__
from consensus.panel.book import load_prompts
from consensus.policy.load import load_policy
table = load_policy(None)
book = load_prompts(None)
assert table.tiers, "the wheel carries no strategies"
assert book.framing("plain"), "the wheel carries no prompts"
print(f"wheel: consensus {consensus.__version__}, {len(table.tiers)} tiers, {len(book.framings)} framings")
PY
"$work/venv/bin/consensus" --version
