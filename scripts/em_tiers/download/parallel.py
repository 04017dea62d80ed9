"""Several files of one source at once, each resumed and verified by `em_tiers.download.http`.

The hub's own client downloads in parallel too, but starts a file again that a killed process left
unfinished (huggingface_hub 2.4, `_download_to_tmp_and_move`). Here its last byte counts, because a
shard of 5 GB can take hours.
"""

import threading
from collections.abc import Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

import httpx2

from em_tiers.download.http import Expected, Patience, fetch

AT_ONCE = 4


def fetch_all(
    client: httpx2.Client,
    urls: Mapping[str, str],
    folder: Path,
    expected: Mapping[str, Expected],
    patience: Patience,
    headers: Mapping[str, str],
) -> None:
    """Fetch each URL into `folder` under its name; see `fetch`.

    Raises:
        UserError: of the first file that fails; the others keep what has arrived of them.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(AT_ONCE, "download") as threads:
        running = [
            threads.submit(
                fetch, client, url, folder / name, expected[name], patience, dict(headers), stop
            )
            for name, url in urls.items()
        ]
        try:
            done, _ = wait(running, return_when=FIRST_EXCEPTION)
        finally:
            # Without this a failure, or Ctrl-C, would wait for the other files to their end.
            stop.set()
            threads.shutdown(cancel_futures=True)
    failed = [future for future in running if future in done and future.exception()]
    if failed:
        raise failed[0].exception()
