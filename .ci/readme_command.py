"""Print the first shell block under a heading of a Markdown file, so that CI runs what readers run.

python3 .ci/readme_command.py README.md "Run it"
"""

import re
import sys
from pathlib import Path


def shell_block(text: str, heading: str) -> str:
    """The body of the first ```sh block after the line ``## heading``; exits when there is none."""
    section = re.search(rf"^#+ {re.escape(heading)}$(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    block = section and re.search(r"^```sh\n(.*?)^```$", section.group(1), re.MULTILINE | re.DOTALL)
    if not block:
        sys.exit(f"no ```sh block under the heading '{heading}'")
    return block.group(1).strip()


if __name__ == "__main__":
    sys.stdout.write(shell_block(Path(sys.argv[1]).read_text(encoding="utf-8"), sys.argv[2]) + "\n")
