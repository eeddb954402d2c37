"""Heads of the audit chain: signed, kept, and held against the chain."""

from pathlib import Path

import pytest

from fhir_server.access.principal import Principal
from fhir_server.access.token import Keys, TokenChecker
from fhir_server.audit import anchor, ledger, seal
from fhir_server.audit.ledger import Ledger
from fhir_server.context import RequestContext, now
from fhir_server.postgres.database import Database
from resources.errors import Invalid, Unauthenticated

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("R014.1")]

URL = "https://record.example"


async def written(database: Database, rows: int) -> seal.Seal:
    """Write rows and seal them; the head."""
    context = RequestContext(Principal.system("test"), "read")
    entries = [ledger.entry(context, type="Patient", id=str(n)) for n in range(rows)]
    keeper = Ledger(database)
    for entry in entries:
        await keeper.append(entry)
    await seal.seal(database, now())
    head = await seal.head(database)
    assert head is not None
    return head


async def test_what_was_kept_agrees_with_the_chain_it_was_kept_of(
    database: Database, keys: Keys, tmp_path: Path
) -> None:
    heads = []
    for _ in range(3):
        heads.append(await written(database, 5))
        anchor.add(tmp_path, keys, URL, heads[-1], now())

    kept = list(anchor.read(anchor.kept(anchor.path(tmp_path)), keys))

    assert kept == heads
    assert await seal.verify(database, *kept) == []


@pytest.mark.standard("threats T5")
@pytest.mark.parametrize(
    "rewriting",
    ["delete from audit where id = '2'", "update audit set subject = 'x' where id = '2'"],
)
async def test_a_ledger_sealed_anew_after_tampering_is_found_out_by_any_head_kept(
    database: Database, keys: Keys, tmp_path: Path, rewriting: str
) -> None:
    anchor.add(tmp_path, keys, URL, await written(database, 5), now())
    anchor.add(tmp_path, keys, URL, await written(database, 5), now())
    await database.run(rewriting)
    await database.run("delete from audit_seal")
    await seal.seal(database, now())
    assert await seal.verify(database) == []

    kept = list(anchor.read(anchor.kept(anchor.path(tmp_path)), keys))

    assert await seal.verify(database, *kept) != []
    assert await seal.verify(database, kept[0]) != []


async def test_a_head_that_was_changed_or_is_anothers_is_none(
    database: Database, keys: Keys, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    anchor.add(tmp_path, keys, URL, await written(database, 3), now())
    (head,) = anchor.kept(anchor.path(tmp_path))
    parts = head.split(".")
    others = Keys.load(tmp_path_factory.mktemp("others"))

    for bad in (".".join([parts[0], parts[1], parts[2][::-1]]), "x.y.z", others.sign({}, "JWT")):
        with pytest.raises(Invalid):
            list(anchor.read([bad], keys))
    with pytest.raises(Invalid):
        list(anchor.read([head], others))


def test_a_head_gives_no_access(keys: Keys, tmp_path: Path) -> None:
    anchor.add(tmp_path, keys, URL, seal.Seal(1, 1, 1, 1, 1, bytes(32)), now())
    (head,) = anchor.kept(anchor.path(tmp_path))

    with pytest.raises(Unauthenticated):
        TokenChecker(keys, URL).check(head)


def test_a_line_that_was_cut_short_is_no_head(keys: Keys, tmp_path: Path) -> None:
    anchor.add(tmp_path, keys, URL, seal.Seal(1, 1, 1, 1, 1, bytes(32)), now())
    file = anchor.path(tmp_path)
    with file.open("a") as lines:
        lines.write("eyJhbGciOiJS")

    assert len(list(anchor.kept(file))) == 1
    anchor.add(tmp_path, keys, URL, seal.Seal(2, 1, 1, 2, 1, bytes(32)), now())
    assert [head.number for head in anchor.read(anchor.kept(file), keys)] == [1, 2]
