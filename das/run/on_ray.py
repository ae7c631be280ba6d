"""On Ray: a run's jobs done by actors of a cluster (https://docs.ray.io), each of which loads the network once.

An actor that is lost, with its node or by itself, is replaced, and its job is tried again by whoever is free. Where an actor
does not see the run's folder, it is sent what is there, and sends back what it writes.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from das.errors import DasError
from das.progress import Reporter
from das.run.lock import LOCK
from das.run.mirror import Files, files_of, keep, lay, news
from das.run.settings import Settings
from das.run.workers import Job, Sender
from das.text import count

TRIES = 3
"""How often a job is tried that loses its actor without having come any further than before."""

PARTS = 4
"""Jobs per actor in a stage, so that one that is free takes what another has not begun."""

PATIENCE = 600.0
"""Seconds in which at least one actor must have found room in the cluster."""

LOOK = 0.3
"""Seconds between two looks at what the actors tell."""


# --- in the cluster ---


class _Actor:
    """One that does jobs, one after another, in the folder from which the run was started, where there is one."""

    def __init__(self, number: int, board: Any, place: str) -> None:
        if Path(place).is_dir():
            os.chdir(place)
        self.report = Sender(lambda message: board.tell.remote(number, message))
        self.mirrors: dict[Path, Path] = {}

    def sees(self, folder: Path, lock: str) -> bool:
        """Whether what is called so here is the run's folder: it is held by the same."""
        return (folder / LOCK).is_file() and (folder / LOCK).read_text() == lock

    def do(self, job: Job) -> None:
        job(self.report)

    def do_apart(self, job: Job, files: Files) -> Files:
        """Does a job in a mirror of the run's folder; what it has written."""
        if job.folder not in self.mirrors:
            self.mirrors[job.folder] = Path(tempfile.mkdtemp(prefix="das-"))
        mirror = self.mirrors[job.folder]
        lay(files, mirror)
        job.does(mirror, self.report)
        return news(files, mirror)


class _Board:
    """Where actors tell how far they are."""

    def __init__(self) -> None:
        self.messages: list[tuple[int, tuple[Any, ...]]] = []

    def tell(self, number: int, message: tuple[Any, ...]) -> None:
        self.messages.append((number, message))

    def told(self) -> list[tuple[int, tuple[Any, ...]]]:
        """What is new."""
        new, self.messages = self.messages, []
        return new


# --- where the run is ---


@dataclass
class _Hand:
    """An actor, and what it was asked last: whether it sees the run's folder, or to do a job. sees: None until it has said.
    far, total: see `hear`."""

    number: int
    actor: Any
    asked: Any = None
    job: int | None = None
    sees: bool | None = None
    far: tuple[int, float] = (0, 0.0)
    total: float = 1.0

    def hear(self, kind: str, *rest: Any) -> None:
        """Takes note of how far its job is: the number of its task, and what is done of it."""
        if kind == "begin":
            self.far, self.total = (self.far[0] + 1, 0.0), rest[1]
        elif kind == "step":
            self.far = self.far[0], rest[0]

    @property
    def share(self) -> float:
        """Of the task that it is at, as far as is told."""
        return 0.0 if self.job is None else min(0.95, self.far[1] / max(1e-9, self.total))


@dataclass
class _Stage:
    """Jobs of a stage, all in one folder: which are still to be begun, how far each has come at most, and how often it was lost
    since. files: what those are sent who do not see the folder, once there is one."""

    jobs: Sequence[Job]
    files: Any = None
    waiting: deque[int] = field(init=False)
    reached: dict[int, tuple[int, float]] = field(default_factory=dict)
    lost: Counter[int] = field(default_factory=Counter)
    done: int = 0

    def __post_init__(self) -> None:
        self.waiting = deque(range(len(self.jobs)))

    def again(self, job: int, far: tuple[int, float], why: BaseException) -> None:
        """Has a job done again, before all others; DasError where it was lost too often at one place."""
        if far > self.reached.get(job, (0, 0.0)):
            self.reached[job], self.lost[job] = far, 0
        self.lost[job] += 1
        if self.lost[job] >= TRIES:
            raise DasError(
                f"{self.jobs[job].what}: the actor that was at it was lost {TRIES} times and had come no further "
                f"({_line(why)}). All that is finished is kept: run again to go on, perhaps with more memory per actor"
            ) from why
        self.waiting.appendleft(job)


class OnRay:
    """Actors of a Ray cluster, for as long as the `with` block takes.

    address: `ray://host:port`; None for the cluster that the environment (RAY_ADDRESS) or this machine has, else one of this
    machine that lives as long. settings: workers says how many actors there are, 1 for as many as find room; threads how many
    processors each takes. On CUDA each takes one GPU. shared: False where actors are to take it that they do not see the run's
    folder, whatever they see.
    """

    def __init__(self, address: str | None, settings: Settings, shared: bool = True) -> None:
        self.address, self.settings, self.shared = address, settings, shared
        self.hands: list[_Hand] = []
        self.made = self.failed = 0
        self.note = ""

    def __enter__(self) -> Self:
        self.ray = _ray()
        self.mine = not self.ray.is_initialized()
        if self.mine:
            _connect(self.ray, self.address)
        try:
            self.each = self._resources()
            self.count = self._count()
            self.board = self.ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_Board).remote()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._dismiss()
        if self.mine:
            self.ray.shutdown()

    def _dismiss(self) -> None:
        for hand in self.hands:
            self.ray.kill(hand.actor)
        self.hands = []

    @property
    def parts(self) -> int:
        return PARTS * self.count

    def _resources(self) -> dict[str, float]:
        """What an actor takes of a node."""
        s = self.settings
        cuda = s.device.startswith("cuda") or (s.device == "auto" and self.ray.cluster_resources().get("GPU", 0) >= 1)
        return {"num_cpus": max(1, s.threads), "num_gpus": int(cuda)}

    def _count(self) -> int:
        """How many actors there are to be; DasError where the cluster has no room for one."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        fits = sum(_fits(node, self.each) for node in nodes)
        if not fits:
            raise DasError(
                f"no node of the cluster has {self.each['num_cpus']:g} CPUs and {self.each['num_gpus']:g} GPUs for an actor: "
                "give fewer threads, or device: cpu"
            )
        return fits if self.settings.workers == 1 else self.settings.workers

    # --- jobs ---

    def do(self, jobs: Sequence[Job], report: Reporter) -> None:
        """See `das.run.workers.Workers`. DasError where a job loses its actor `TRIES` times."""
        stage = _Stage([replace(job, folder=job.folder.resolve()) for job in jobs])
        for hand in self.hands:
            hand.sees = None
        try:
            self._do(stage, report)
        except BaseException:
            self._dismiss()  # what they are at is not wanted any more
            raise

    def _do(self, stage: _Stage, report: Reporter) -> None:
        jobs, self.seen = stage.jobs, time.monotonic()
        while len(self.hands) < min(self.count, len(jobs)):
            self._hire()
        with report.task(f"{count(len(jobs), 'jobs')} on {count(len(self.hands), 'actors')}", len(jobs)) as step:
            said: set[str] = set()
            while stage.done < len(jobs):
                ended = self._wait(stage)
                self._hear(said, report)
                for hand in ended:
                    self._end(hand, stage, report)
                step(stage.done + sum(hand.share for hand in self.hands), self.note)

    def _hear(self, said: set[str], report: Reporter) -> None:
        """Takes note of what the actors tell. What several say is told once."""
        hands = {hand.number: hand for hand in self.hands}
        for number, (kind, *rest) in self.ray.get(self.board.told.remote()):
            if kind == "say" and rest[0] not in said:
                said.add(rest[0])
                report.say(rest[0])
            elif number in hands:
                hands[number].hear(kind, *rest)
            if kind == "begin":
                self.note = f"actor {number}: {rest[0]}"

    def _hire(self) -> None:
        self.made += 1
        make = self.ray.remote(max_restarts=0, **self.each)(_Actor)
        self.hands.append(_Hand(self.made, make.remote(self.made, self.board, os.getcwd())))

    def _wait(self, stage: _Stage) -> list[_Hand]:
        """Gives actors that are free something to do, and waits a moment; those that are done."""
        for hand in (hand for hand in self.hands if hand.asked is None):
            self._ask(hand, stage)
        busy = {hand.asked: hand for hand in self.hands if hand.asked is not None}
        ended = [busy[asked] for asked in self.ray.wait(list(busy), timeout=LOOK)[0]]
        if ended or any(hand.sees is not None for hand in self.hands):
            self.seen = time.monotonic()
        elif time.monotonic() - self.seen > PATIENCE:
            raise DasError(f"the cluster has had no room for an actor for {PATIENCE / 60:.0f} minutes: run again to go on")
        return ended

    def _ask(self, hand: _Hand, stage: _Stage) -> None:
        """Gives an actor that is free something to do, if there is something."""
        if hand.sees is None:
            folder = stage.jobs[0].folder
            hand.asked = hand.actor.sees.remote(folder, (folder / LOCK).read_text() if self.shared else "")
        elif stage.waiting:
            hand.job, hand.far = stage.waiting.popleft(), (0, 0.0)
            job = stage.jobs[hand.job]
            if not hand.sees and stage.files is None:
                stage.files = self.ray.put(files_of(job.folder))
            hand.asked = hand.actor.do.remote(job) if hand.sees else hand.actor.do_apart.remote(job, stage.files)

    def _end(self, hand: _Hand, stage: _Stage, report: Reporter) -> None:
        """Takes note of what an actor was given: it is done, or failed, or the actor was lost."""
        errors = self.ray.exceptions
        try:
            found = self.ray.get(hand.asked)
        except errors.RayTaskError as error:
            raise _own(error) from None
        except errors.RayError as error:
            report.say(f"actor {hand.number} is lost ({_line(error)}){': its job is tried again' * (hand.job is not None)}")
            self.hands.remove(hand)
            if hand.job is None:
                self._never_ready(error)
            else:
                stage.again(hand.job, hand.far, error)
            self._hire()
            return
        self.failed = 0
        if hand.job is None:
            hand.sees = found
        else:
            keep(found or {}, stage.jobs[hand.job].folder)
            stage.done += 1
        hand.asked = hand.job = None

    def _never_ready(self, error: BaseException) -> None:
        """DasError where one actor after another is lost before it is ready."""
        self.failed += 1
        if self.failed >= TRIES * self.count:
            raise DasError(f"no actor becomes ready in the cluster: {_line(error)}") from error


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as it is to be; unset, Ray warns of it
    try:
        import ray
    except ImportError as error:
        raise DasError('launcher ray needs Ray: pip install "boundless-das[ray]"') from error
    return ray


def _connect(ray: Any, address: str | None) -> None:
    quiet = {"logging_level": "error", "log_to_driver": False}
    try:
        if address or "RAY_ADDRESS" in os.environ:
            ray.init(address, **quiet)
            return
        ray.init("auto", **quiet)
    except ConnectionError as error:
        if address or "RAY_ADDRESS" in os.environ:
            raise DasError(f"no Ray cluster answers at {address or os.environ['RAY_ADDRESS']}: {_line(error)}") from error
        ray.init(include_dashboard=False, **quiet)


def _fits(node: dict[str, float], each: dict[str, float]) -> int:
    """How many actors find room on a node."""
    wanted = [(node.get("CPU", 0), each["num_cpus"]), (node.get("GPU", 0), each["num_gpus"])]
    return int(min(there // takes for there, takes in wanted if takes))


def _own(error: Any) -> BaseException:
    """What a job met, as it was raised there."""
    cause: BaseException = error.cause
    if not isinstance(cause, DasError):
        cause.add_note(f"in an actor:\n{error}")
    return cause


def _line(error: BaseException) -> str:
    """The first line of an error."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
