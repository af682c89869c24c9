"""Queries and relevance judgements as BEIR and TREC publish them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from steelyard.errors import InputError, UsageError

QUERY_FILES = ("queries.jsonl",)
QREL_FILES = ("qrels.tsv", "qrels/test.tsv", "qrels.txt")
BEIR_COLUMNS = ["query-id", "corpus-id", "score"]


@dataclass(frozen=True, slots=True)
class JudgedQueries:
    """Queries by id, and for each the grades of its judged documents: above 0 is relevant.

    ``unjudged`` counts queries without a relevant document, which are left out.
    """

    texts: Mapping[str, str]
    grades: Mapping[str, Mapping[str, int]]
    unjudged: int


def read_judged(data: str | None, queries: str, qrels: str) -> JudgedQueries:
    """The queries that have a relevant document.

    Args:
        data: A folder in BEIR's layout: queries.jsonl, and qrels.tsv or qrels/test.tsv.
        queries: A file of queries instead: JSON Lines with ``_id`` (or ``id``) and ``text``, or a table of id and
            text with a tab between them.
        qrels: A file of judgements instead: BEIR's table of query-id, corpus-id and score with a header line, or
            TREC's four columns query, iteration, document, grade.

    Raises:
        UsageError: No files are named.
        InputError: A file is missing or damaged, or no query has a relevant document.
    """
    asked = _file(data, queries, QUERY_FILES, "queries")
    judged = _file(data, qrels, QREL_FILES, "qrels")
    texts = _queries(asked)
    grades: dict[str, dict[str, int]] = {}
    for place, query, document, grade in _judgements(judged):
        if document in grades.setdefault(query, {}):
            raise InputError(f"{place}: document {document!r} is judged twice for query {query!r}")
        grades[query][document] = grade
    relevant = {query: own for query, own in grades.items() if any(grade > 0 for grade in own.values())}
    unknown = [query for query in relevant if query not in texts]
    if unknown:
        raise InputError(f"{judged}: judges query {unknown[0]!r}, which {asked} does not have")
    if not relevant:
        raise InputError(f"{judged}: no query has a relevant document, that is one with a score above 0")
    found = {query: text for query, text in texts.items() if query in relevant}
    return JudgedQueries(found, {query: relevant[query] for query in found}, len(texts) - len(found))


def _file(data: str | None, given: str, usual: tuple[str, ...], what: str) -> Path:
    if given:
        file = Path(given).expanduser()
        if not file.is_file():
            raise InputError(f"{file}: no such file of {what}")
        return file
    if data is None:
        raise UsageError(
            "retrieval-metrics: give a folder as data=FOLDER, or files as queries=FILE and qrels=FILE"
        )
    folder = Path(data).expanduser()
    for name in usual:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder}: holds no {' or '.join(usual)}; give the file as {what}=FILE")


def _queries(file: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    for place, line in _lines(file):
        name, text = _json_query(place, line) if line.startswith("{") else _table_query(place, line)
        if name in texts:
            raise InputError(f"{place}: a second query with the id {name!r}")
        if not text.strip():
            raise InputError(f"{place}: query {name!r} is empty")
        texts[name] = text.strip()
    return texts


def _json_query(place: str, line: str) -> tuple[str, str]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise InputError(f"{place}: is no JSON") from None
    name = record.get("_id", record.get("id"))
    if not isinstance(name, str | int) or not isinstance(record.get("text"), str):
        raise InputError(f"{place}: a query has '_id' and 'text'")
    return str(name), str(record["text"])


def _table_query(place: str, line: str) -> tuple[str, str]:
    name, separator, text = line.partition("\t")
    if not separator:
        raise InputError(f"{place}: a query is a JSON object, or an id and a text with a tab between them")
    return name.strip(), text


def _judgements(file: Path) -> Iterator[tuple[str, str, str, int]]:
    """Place, query, document and grade; a header line says that it is BEIR's table, without one it is TREC's."""
    beir = False
    for number, (place, line) in enumerate(_lines(file)):
        fields = [field.strip() for field in line.split("\t")]
        if number == 0 and fields[:3] == BEIR_COLUMNS:
            beir = True
            continue
        if not beir:
            columns = line.split()
            fields = [columns[0], *columns[2:]] if len(columns) == 4 else columns
        try:
            query, document, grade = fields[:3]
            yield place, query, document, int(grade)
        except ValueError:
            wanted = "query-id, corpus-id and score" if beir else "query, iteration, document and grade"
            raise InputError(
                f"{place}: a judgement has {wanted}, the last a whole number; BEIR's table begins with the line "
                f"{' '.join(BEIR_COLUMNS)}, with tabs"
            ) from None


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({str(error).splitlines()[0]})") from None
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield f"{file}:{number}", line
