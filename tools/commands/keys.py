"""``kinestream keys``: who may listen.

kinestream keys ~/stream-keys                       keys of this publisher
kinestream keys ~/stream-keys --client robot        allow one listener; give it the folder that is printed
kinestream run 0 --bind tcp://0.0.0.0:5556 --keys ~/stream-keys
kinestream listen tcp://tracker.local:5556 --keys robot
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kinestream.tools.commands.error_reporting import report_errors


def keys(
    folder: Annotated[Path, typer.Argument(help="Where the publisher's keys are, or shall be.")],
    client: Annotated[
        str | None, typer.Option("--client", help="Allow one more listener of this name.")
    ] = None,
) -> None:
    """Make the keys of a publisher, or allow a listener (with --client).

    Exit code 1 where something would be overwritten.
    """
    from kinestream.stream import create_client_keys, create_publisher_keys

    console = Console(highlight=False, soft_wrap=True)
    with report_errors():
        if client is None:
            create_publisher_keys(folder)
            console.print(f"made {folder}; keep publisher.key_secret to yourself")
            console.print(f"next: kinestream keys {folder} --client NAME, for everybody who shall listen")
            console.print(f"then: kinestream run 0 --bind tcp://0.0.0.0:5556 --keys {folder}")
            return
        bundle = create_client_keys(folder, client)
        console.print(f"allowed {client}; give it the folder {bundle}, over a safe way, and delete it here")
        console.print(f"there: kinestream listen tcp://THIS-COMPUTER:5556 --keys {bundle.name}")
        console.print(f"in browsers: the token in {bundle.name}/websocket.token, for kinestream run --ws")
        console.print(f"to withdraw: delete {folder / 'allowed' / client}.key")
