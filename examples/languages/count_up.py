#!/usr/bin/env python3
"""Counts up the number in a file under a lock, with the standard library alone: see README.md.

    count_up.py FILE TIMES

Exits 0 when all is done, 70 when the lock was lost, 75 when it could not be had.
"""

import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid

SERVER = os.environ.get("LOCKDB_SERVER_URL", "http://127.0.0.1:5625")
BASE = f"{SERVER}/v1/services/{os.environ.get('LOCKDB_SERVICE_ID', 'examples')}"
KEY = os.environ["LOCKDB_API_KEY"]
LEASE_MS = int(os.environ.get("LEASE_MS", "10000"))
WORK_MS = int(os.environ.get("WORK_MS", "0"))


class NotAcquired(Exception):
    pass


class LockLost(Exception):
    pass


def post(path, body, timeout):
    """Sends a JSON body. Gives the status and the answer; status 0: no answer came."""
    request = urllib.request.Request(
        BASE + path, json.dumps(body).encode(), {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.loads(refused.read() or b"{}")
    except (OSError, ValueError):
        return 0, {}


class Lease:
    """A lock, kept by renewals in a thread until `with` ends. `check` asks no network: it reads the clock."""

    def __init__(self, name, wait_ms=60_000):
        body = {"names": name, "waitMs": wait_ms, "leaseMs": LEASE_MS, "requestId": str(uuid.uuid4()), "owner": "python"}
        while True:
            sent = time.monotonic()
            status, answer = post("/acquire", body, timeout=35)
            if status == 200:
                break
            if status == 423:
                raise NotAcquired(answer["error"]["message"])
            if status in (0, 429, 503):
                time.sleep(1)  # Try again later; the id makes it the same request.
            elif status != 202:  # 202: still waiting. The same again, at once.
                raise RuntimeError(f"refused: {status} {answer}")
        self.token = answer["token"]
        self._lost = None
        self._trust(sent, answer)
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def _trust(self, sent, answer):
        # Counted from before the request was sent, less what clocks may differ.
        self._until = sent + answer["expiresInMs"] / 1000 * 0.97 - 0.2

    def _keep(self):
        while not self._over.wait(LEASE_MS / 3000):
            sent = time.monotonic()
            status, answer = post("/renew", {"token": self.token}, timeout=LEASE_MS / 3000)
            if status == 200:
                self._trust(sent, answer)
            elif status == 409:
                self._lost = answer["error"]["message"]
                return

    def check(self):
        """Raises LockLost when the lock cannot be trusted any more."""
        if self._lost is not None:
            raise LockLost(self._lost)
        if time.monotonic() >= self._until:
            raise LockLost("nothing was heard of it in time")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._over.set()
        self._keeper.join()
        post("/release", {"token": self.token}, timeout=5)


def work(lease, path):
    """Takes its time, and writes only if the lock is held and nobody with a higher token was here."""
    with open(path) as file:
        count = int(file.read().split()[0])
    end = time.monotonic() + WORK_MS / 1000
    while time.monotonic() < end:
        lease.check()
        time.sleep(min(0.05, max(0, end - time.monotonic())))
    with open(path) as file:
        fence = int(file.read().split()[1])
    if fence > lease.token:
        raise LockLost(f"a later holder was here: {fence} > {lease.token}")
    lease.check()
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w") as file:
        file.write(f"{count + 1} {lease.token}\n")
    os.replace(temporary, path)


def main():
    path, times = sys.argv[1], int(sys.argv[2])
    try:
        for _ in range(times):
            with Lease("counter") as lease:
                work(lease, path)
    except NotAcquired as error:
        print(f"not acquired: {error}", file=sys.stderr)
        return 75
    except LockLost as error:
        print(f"lost the lock: {error}", file=sys.stderr)
        return 70
    return 0


if __name__ == "__main__":
    sys.exit(main())
