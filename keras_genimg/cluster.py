"""The workers of a training, from the environment variable TF_CONFIG, checked before they wait."""

import contextlib
import json
import os
import socket
import threading
import time
from typing import NamedTuple

from keras_genimg.errors import InputError, tell

__all__ = ["CONNECT_TIMEOUT", "EXAMPLE", "Cluster", "leads", "meet", "read_cluster"]

CONNECT_TIMEOUT = 300.0  # seconds to wait for other workers
GREETING = b"keras-genimg worker "

EXAMPLE = (
    '{"cluster": {"worker": ["host1:12345", "host2:12345"]}, '
    '"task": {"type": "worker", "index": 0}}'
)


class Cluster(NamedTuple):
    """The workers that train together, and which of them this process is.

    Attributes:
        workers: tuple of strings, the addresses `host:port`, a chief first.
        index: int. This process, by its place in `workers`.
    """

    workers: tuple
    index: int

    @property
    def peers(self) -> list:
        """Addresses of the other workers."""
        return [address for place, address in enumerate(self.workers) if place != self.index]


def read_cluster(text: str | None = None) -> Cluster | None:
    """Reads TF_CONFIG.

    Args:
        text: string, by default the environment variable's.

    Returns:
        `Cluster`; None without workers.

    Raises:
        InputError: text that is not what TensorFlow takes, or names no task of this process.
    """
    text = os.environ.get("TF_CONFIG", "") if text is None else text
    if not text.strip():
        return None
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _error(f"JSON like {EXAMPLE}", f"{_short(repr(text))} ({error})") from None
    if not isinstance(config, dict) or not isinstance(config.get("cluster", {}), dict):
        raise _error(f"a JSON object like {EXAMPLE}", repr(text))
    cluster = config.get("cluster", {})
    if not cluster:
        return None
    workers = {kind: _addresses(kind, cluster.get(kind, [])) for kind in ("chief", "worker")}
    others = sorted(set(cluster) - set(workers))
    if others:
        raise _error("chief and worker tasks only", f"also {', '.join(map(repr, others))}")
    if len(workers["chief"]) > 1:
        raise _error("at most one chief", str(len(workers["chief"])))
    everyone = (*workers["chief"], *workers["worker"])
    if not everyone:
        raise _error("at least one worker", repr(cluster))
    twice = sorted({address for address in everyone if everyone.count(address) > 1})
    if twice:
        raise _error("a different address for each worker", f"{', '.join(twice)} more than once")
    return Cluster(everyone, _place(config.get("task"), workers))


def leads() -> bool:
    """Whether this process is the first worker, or the only one."""
    cluster = read_cluster()
    return cluster is None or cluster.index == 0


def _error(wanted, found):
    return InputError(f"TF_CONFIG must hold {wanted}. Received: {_short(found, 300)}.")


def _short(text, length=100):
    return text if len(text) <= length else f"{text[:length]}..."


def _addresses(kind, addresses):
    if not isinstance(addresses, list):
        raise _error(f"a list of addresses as {kind}", repr(addresses))
    for address in addresses:
        host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
        number = int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0
        if not (host.isprintable() and host.split() == [host] and 0 < number < 65536):
            raise _error(f"addresses host:port with a port from 1 to 65535 as {kind}",
                         repr(address))
    return addresses


def _place(task, workers):
    """The place of this process among all workers."""
    if not isinstance(task, dict):
        raise _error('the task of this process, like {"type": "worker", "index": 0}', repr(task))
    kind, index = task.get("type"), task.get("index")
    if not isinstance(kind, str) or not workers.get(kind):
        found = ", ".join(each for each in workers if workers[each])
        raise _error(f"a task type of its cluster ({found})", repr(kind))
    count = len(workers[kind])
    if type(index) is not int or not 0 <= index < count:  # JSON: true is no number
        raise _error(f"a task index from 0 to {count - 1}, the places in {kind}", repr(index))
    return index + (len(workers["chief"]) if kind == "worker" else 0)


def meet(cluster: Cluster, seconds: float) -> None:
    """Waits until all workers are there: each listens at its address and calls all others.

    Args:
        cluster: `Cluster`.
        seconds: float. The longest wait.

    Raises:
        InputError: a port that cannot be used; workers that did not come.
    """
    if not cluster.peers:
        return
    own = cluster.workers[cluster.index]
    tell(
        f"worker {cluster.index} of {len(cluster.workers)}, at {own}, waits for "
        f"{_short(', '.join(cluster.peers), 300)}, at most {seconds:g} seconds."
    )
    deadline, called, heard = time.monotonic() + seconds, set(), set()
    with _answering(own, heard):
        while missing := [peer for peer in cluster.peers if not (peer in called and peer in heard)]:
            if time.monotonic() > deadline:
                raise InputError(
                    f"All workers of TF_CONFIG must start within {seconds:g} seconds. Received: "
                    f"nothing from {_short(', '.join(missing), 300)} at {own}."
                )
            for peer in missing:
                reply = _call(peer, own) if peer not in called else None
                if reply is not None:
                    called.add(peer)
                    if not reply.startswith(GREETING):  # it has gone on to TensorFlow
                        heard.add(peer)
            time.sleep(0.1)


@contextlib.contextmanager
def _answering(own, heard):
    """Notes who calls, in a thread, and answers."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", int(own.rpartition(":")[2])))
            listener.listen(64)
        except OSError as error:
            raise InputError(
                f"This worker must listen at {own} of TF_CONFIG. "
                f"Received: {error.strerror or error}."
            ) from error
        listener.settimeout(0.1)
        ended = threading.Event()
        thread = threading.Thread(target=_answer, args=(listener, own, heard, ended), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()  # or TensorFlow would find the port in use


def _answer(listener, own, heard, ended):
    while not ended.is_set():
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(2)
                said = connection.recv(1000)
                if said.startswith(GREETING):
                    connection.sendall(GREETING + own.encode())
                    heard.add(said.removeprefix(GREETING).decode(errors="replace"))


def _call(peer, own):
    """What another worker replies: bytes, empty for none in time; None where nobody listens."""
    host, _, port = peer.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2) as connection:
            connection.sendall(GREETING + own.encode())
            try:
                return connection.recv(1000)
            except TimeoutError:
                return b""
    except OSError:
        return None
