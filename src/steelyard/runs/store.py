"""The run store: every sample's result, every run and every decision, in one database.

A result is written once and never changed: its key (model, task, settings, sample id) is the cache and the
point at which a killed run resumes. SQLite by default, PostgreSQL by URL, the same code for both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, Engine, Table, and_, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError, StatementError

from steelyard.contracts import Result, ResultKey
from steelyard.errors import StoreError, UsageError
from steelyard.runs.connection import WRITE, Place, connect, errors_at, find_place
from steelyard.runs.records import (
    RunRecord,
    json_problem,
    new_run_id,
    now,
    plain_text,
    result_of,
    result_row,
    run_of,
    storable,
    to_json,
)
from steelyard.runs.schema import check_version, create_tables, records, results, run_results, runs

_IDS_PER_QUERY = 10_000  # SQLite takes 32766 variables in a statement, PostgreSQL 65535


class RunStore:
    """An open run store; safe to share between threads, and between processes that open it each.

        with RunStore.open() as store:
            key = ResultKey(model=card.fingerprint, task=task.fingerprint, settings="...")
            done = store.get(key)
            store.put(key, results)

    Do not carry an open store over a fork; open it anew in the child.
    """

    def __init__(self, engine: Engine, place: Place) -> None:
        self._engine = engine
        self._place = place

    @classmethod
    def open(cls, url_or_path: str | Path | None = None, *, timeout: float = 30.0) -> Self:
        """Open a store, creating it where there is none.

        ``url_or_path`` is a file path or an SQLAlchemy URL; by default the environment variable
        ``STEELYARD_STORE``, else ``.steelyard/runs.db`` under the current folder. ``timeout`` is how many
        seconds to wait for another process's lock. Raises :class:`StoreError` if it cannot be opened, is not a
        run store, or was written by a newer release.
        """
        place = find_place(url_or_path)
        store = cls(connect(place, timeout), place)
        try:
            with store._transaction() as connection:
                ready = check_version(connection, place.name)
            if not ready:
                with store._transaction(write=True) as connection:
                    create_tables(connection, place.name)
        except BaseException:
            store.close()
            raise
        return store

    @property
    def location(self) -> str:
        """Path, or URL without user name and password, to show to people."""
        return self._place.name

    def close(self) -> None:
        """Close all connections; the store can be opened again."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------------------------- results

    def put(self, key: ResultKey, items: Sequence[Result]) -> int:
        """Store results in one transaction and return how many were new.

        A sample that is already stored under ``key`` stays as it is. Either all of ``items`` are stored or,
        after an error, none. Raises :class:`StoreError` for NaN, infinities and what else JSON cannot hold.
        """
        _check_key(key)
        created = now().isoformat()
        # One order everywhere: two processes that insert the same samples then never wait for each other in turn.
        rows = sorted((result_row(key, item, created) for item in items), key=lambda row: str(row["sample_id"]))
        if not rows:
            return 0
        try:
            with self._transaction(write=True) as connection:
                return self._insert_new(connection, results, rows)
        except (StatementError, TypeError, ValueError, RecursionError) as error:  # drivers differ in wrapping
            raise _not_storable(rows, error) from error

    def get(self, key: ResultKey, sample_ids: Sequence[str] | None = None) -> dict[str, Result]:
        """Stored results by sample id: of the given samples in the given order, or all, sorted by id."""
        _check_key(key)
        for sample in sample_ids or ():
            plain_text(sample, "sample id")
        with self._transaction() as connection:
            if sample_ids is None:
                rows = connection.execute(select(results).where(_is_key(results, key))).all()
                return {row.sample_id: result_of(row) for row in sorted(rows, key=lambda row: str(row.sample_id))}
            found: dict[str, Result] = {}
            for start in range(0, len(sample_ids), _IDS_PER_QUERY):
                some = sample_ids[start : start + _IDS_PER_QUERY]
                wanted = select(results).where(_is_key(results, key), results.c.sample_id.in_(some))
                found |= {row.sample_id: result_of(row) for row in connection.execute(wanted)}
        return {sample: found[sample] for sample in sample_ids if sample in found}

    def count(self, key: ResultKey) -> int:
        """How many samples are stored under ``key``."""
        with self._transaction() as connection:
            return connection.scalar(select(func.count()).where(_is_key(results, key))) or 0

    def pages(self, key: ResultKey, size: int = 1000) -> Iterator[list[Result]]:
        """All results of ``key``, ``size`` at a time, so that memory does not grow with their number."""
        column = results.c.sample_id
        page = select(results).where(_is_key(results, key)).order_by(column).limit(size)
        rows = self._all(page)
        while rows:
            yield [result_of(row) for row in rows]
            rows = self._all(page.where(column > rows[-1].sample_id)) if len(rows) == size else []

    def metric_names(self, key: ResultKey) -> tuple[set[str], set[str]]:
        """Names of the metrics stored under ``key``, and of those among them that carry weights."""
        names: set[str] = set()
        weighted: set[str] = set()
        with self._transaction() as connection:
            columns = select(results.c.metrics, results.c.metric_weights).where(_is_key(results, key))
            for metrics, weights in connection.execute(columns):
                names |= metrics.keys()
                weighted |= weights.keys()
        return names, weighted

    # ---------------------------------------------------------------------------------------- runs

    def start(self, verb: str, settings: Mapping[str, Any]) -> str:
        """Note the start of a run and return its id; secrets in ``settings`` are replaced by ``***``."""
        clean = storable(settings, f"the settings of {verb!r}")
        while True:
            moment = now()
            run_id = new_run_id(moment)
            row = {
                "id": run_id,
                "verb": plain_text(verb, "verb"),
                "status": "running",
                "created": moment.isoformat(timespec="microseconds"),
                "settings": clean,
            }
            with self._transaction(write=True) as connection:
                if self._insert_new(connection, runs, [row]):
                    return run_id

    def finish(self, run_id: str, status: str, summary: Mapping[str, Any] | None = None) -> None:
        """Note how a run ended (``"done"``, ``"failed"``, ...); secrets in ``summary`` are not written."""
        values = {
            "status": plain_text(status, "status"),
            "finished": now().isoformat(timespec="microseconds"),
            "summary": None if summary is None else storable(summary, f"the summary of run {run_id}", prose=True),
        }
        with self._transaction(write=True) as connection:
            changed = connection.execute(update(runs).where(runs.c.id == run_id).values(values)).rowcount
        if not changed:
            raise self._unknown_run(run_id)

    def run(self, run_id: str) -> RunRecord:
        """The run with this id, or whose id alone begins or ends with it; otherwise :class:`UsageError`."""
        alike = or_(
            runs.c.id.startswith(run_id, autoescape=True),
            runs.c.id.endswith(f"-{run_id}", autoescape=True),
        )
        found = self._all(select(runs).where(alike).order_by(runs.c.id).limit(6)) if run_id else []
        exact = [row for row in found if row.id == run_id]
        if len(exact or found) == 1:
            return run_of((exact or found)[0])
        if found:
            raise UsageError(
                f"several runs match {run_id!r}: {', '.join(row.id for row in found)}; type more of it"
            )
        raise self._unknown_run(run_id)

    def runs(self, limit: int | None = 20, *, verb: str | None = None) -> list[RunRecord]:
        """The most recent runs, newest first; ``limit`` ``None`` for all of them."""
        newest = select(runs).order_by(runs.c.created.desc(), runs.c.id.desc()).limit(limit)
        return [run_of(row) for row in self._all(newest if verb is None else newest.where(runs.c.verb == verb))]

    def latest(self, verb: str | None = None) -> RunRecord | None:
        """The most recent run (of ``verb``), or ``None``."""
        return next(iter(self.runs(1, verb=verb)), None)

    def link(self, run_id: str, label: str, key: ResultKey) -> None:
        """Note that ``run_id`` used the results of ``key`` under ``label``, so that it can be reported again.

        Saying so twice changes nothing; a label that already names other results is refused.
        """
        _check_key(key)
        row = {"run_id": run_id, "label": plain_text(label, "label"), **_key_values(key)}
        where = and_(run_results.c.run_id == run_id, run_results.c.label == label)
        try:
            with self._transaction(write=True) as connection:
                self._insert_new(connection, run_results, [row])
                stored = connection.execute(select(run_results).where(where)).one()
        except IntegrityError as error:
            raise self._unknown_run(run_id) from error
        if _key_of(stored) != key:
            raise UsageError(
                f"run {run_id} already has other results under the label {label!r}; use another label"
            )

    def keys(self, run_id: str) -> dict[str, ResultKey]:
        """What :meth:`link` noted for a run, by label, sorted by label."""
        rows = self._all(select(run_results).where(run_results.c.run_id == run_id))
        return {row.label: _key_of(row) for row in sorted(rows, key=lambda row: str(row.label))}

    # ------------------------------------------------------------------- measurements and decisions

    def record(self, scope: str, name: str, value: Any) -> Any:
        """Store a JSON value under ``scope`` and ``name`` unless there is one, and return the stored one.

        So whatever a process decides or measures once is what every later process continues with.
        """
        row = {
            "scope": plain_text(scope, "scope"),
            "name": plain_text(name, "name"),
            "value": storable(value, f"{name!r} of {scope!r}", prose=True),
            "created": now().isoformat(),
        }
        where = and_(records.c.scope == scope, records.c.name == name)
        with self._transaction(write=True) as connection:
            self._insert_new(connection, records, [row])
            return connection.execute(select(records.c.value).where(where)).scalar_one()

    def recorded(self, scope: str) -> dict[str, Any]:
        """Everything recorded under ``scope``, by name, sorted by name."""
        rows = self._all(select(records.c.name, records.c.value).where(records.c.scope == scope))
        return {row.name: row.value for row in sorted(rows, key=lambda row: str(row.name))}

    # ------------------------------------------------------------------------------------- plumbing

    @contextmanager
    def _transaction(self, *, write: bool = False) -> Iterator[Connection]:
        with (
            errors_at(self._place),
            self._engine.connect().execution_options(**{WRITE: write}) as connection,
            connection.begin(),
        ):
            yield connection

    def _all(self, statement: Any) -> Sequence[Any]:
        with self._transaction() as connection:
            return connection.execute(statement).all()

    @staticmethod
    def _insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
        """Insert the rows whose primary key is not there yet and return how many that were."""
        insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        key = list(table.primary_key.columns)
        # The inserted keys are asked for because drivers do not agree on the row count of many inserts at once.
        statement = insert(table).on_conflict_do_nothing(index_elements=key).returning(key[-1])
        return len(connection.execute(statement, rows).all())

    def _unknown_run(self, run_id: str) -> UsageError:
        recent = ", ".join(f"{run.id} ({run.verb})" for run in self.runs(5))
        known = f"the most recent are {recent}" if recent else "there are none yet"
        return UsageError(f"no run {run_id!r} in {self.location}; {known}")


@contextmanager
def opened_store(store: str | Path | RunStore | None) -> Iterator[RunStore]:
    """The store given, which stays open, or one opened for as long as the block runs."""
    if isinstance(store, RunStore):
        yield store
    else:
        with RunStore.open(store) as own:
            yield own


def _is_key(table: Table, key: ResultKey) -> ColumnElement[bool]:
    return and_(table.c.model == key.model, table.c.task == key.task, table.c.settings == key.settings)


def _key_values(key: ResultKey) -> dict[str, str]:
    return {"model": key.model, "task": key.task, "settings": key.settings}


def _key_of(row: Any) -> ResultKey:
    return ResultKey(row.model, row.task, row.settings)


def _check_key(key: ResultKey) -> None:
    for field, value in _key_values(key).items():
        plain_text(value, f"the {field} of a result's key")


def _not_storable(rows: Sequence[Mapping[str, Any]], error: Exception) -> StoreError:
    """The error for a result that JSON cannot hold, found by trying them one by one."""
    for row in rows:
        content = {name: row[name] for name in ("prediction", "requests", "responses")}
        try:
            to_json(content)
        except (TypeError, ValueError, RecursionError) as problem:
            return StoreError(f"sample {row['sample_id']!r} cannot be stored: {json_problem(content, problem)}")
    return StoreError(f"results cannot be stored: {error}")
