"""Keys: what tokens are signed with, and how one key follows another while the server runs.

``keys/signing.json`` in the data folder is a JSON Web Key Set. Each key has two members of RFC 7519
more: ``nbf``, from when it signs, and ``exp``, until when what it signed is accepted. Of the keys
that have begun the latest one signs. A new key is published before it signs, so that whoever keeps
our key set for as long as it may knows the key by then; the key before it stays until the last
token that it can have signed has ended. Every process looks at the file again by itself.

RFC 7517 Section 5 (JWK Set), 4 (further members); OpenID Connect Core 1.0 Section 10.1.1 (rotation
of asymmetric signing keys).
"""

import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from resources.errors import Conflict, NotFound

ALGORITHM: Final = "RS256"
TYPE: Final = "at+jwt"
"""RFC 9068 Section 2.1: only a token of this type gives access."""
KEY_BITS: Final = 2048
LONGEST_TOKEN_SECONDS: Final = 30 * 86_400
"""No token lives longer."""
PUBLISHED_SECONDS: Final = 60
"""How long whoever asked for our key set may keep it; a new key is known that long before."""

_OURS: Final = frozenset({"nbf", "exp"})


class Key(NamedTuple):
    """A key, and when it is what.

    Parameters
    ----------
    begins
        Seconds since 1970 UTC from which it signs.
    ends
        Seconds since 1970 UTC until which what it signed is accepted; None as long as it is the
        latest key.
    """

    key: RSAKey
    begins: int
    ends: int | None

    @property
    def id(self) -> str:
        """Its ``kid``."""
        return str(self.key.kid)

    def is_accepted(self, at: float) -> bool:
        """Say whether a token that it signed can still be good."""
        return self.ends is None or at < self.ends

    @property
    def public(self) -> dict[str, Any]:
        """Its public half, and nothing else."""
        return {name: v for name, v in self.key.as_dict(private=False).items() if name not in _OURS}


class Keys:
    """The signing keys of this installation, as one process knows them.

    Parameters
    ----------
    path
        The file they are in.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: object = None
        self._keys: tuple[Key, ...] = ()
        self.generation = 0
        """Counts how often the file was read."""
        self.look()

    @classmethod
    def load(cls, data_dir: Path) -> Self:
        """Read ``keys/signing.json`` in the data folder; make it, readable by us alone, if new."""
        path = path_in(data_dir)
        if not path.exists():
            _create(path)
        return cls(path)

    @property
    def signing(self) -> Key:
        """The key that signs now."""
        self.look()
        return _signing(self._keys, time.time())

    def look(self) -> int:
        """Read the file again if it has changed; give the generation."""
        try:
            seen = os.stat(self._path)
        except FileNotFoundError:
            return self.generation
        if (stamp := (seen.st_mtime_ns, seen.st_ino, seen.st_size)) != self._seen:
            self._keys = tuple(_read(self._path))
            self._seen = stamp
            self.generation += 1
        return self.generation

    def sign(self, claims: dict[str, Any], type: str = TYPE) -> str:
        """Make a token of these claims; only one of type `TYPE` gives access."""
        signing = self.signing
        header = {"alg": ALGORITHM, "typ": type, "kid": signing.id}
        return jwt.encode(header, claims, signing.key, algorithms=[ALGORITHM])

    def find(self, kid: object) -> RSAKey | None:
        """Give the key with this id, if what it signed is accepted."""
        found = self._of(kid)
        return found.key if found is not None and found.is_accepted(time.time()) else None

    def ever(self, kid: object) -> RSAKey | None:
        """Give the key with this id, whether or not it has ended: for records, not for tokens."""
        found = self._of(kid)
        return None if found is None else found.key

    def public(self) -> dict[str, Any]:
        """Give the public halves of what is accepted as a JSON Web Key Set."""
        self.look()
        at = time.time()
        return {"keys": [key.public for key in self._keys if key.is_accepted(at)]}

    def _of(self, kid: object) -> Key | None:
        """Find a key; another process may have begun with one that is new to us."""
        self.look()
        return next((key for key in self._keys if key.id == kid), None)


def path_in(data_dir: Path) -> Path:
    """Where the keys of a data folder are."""
    return data_dir / "keys" / "signing.json"


def every(data_dir: Path) -> list[Key]:
    """List all keys, the first one first."""
    return _read(path_in(data_dir))


def roll(
    data_dir: Path, *, at_once: bool = False, before: Callable[[Key], None] = lambda key: None
) -> Key:
    """Make a new key, which signs as soon as it can be known everywhere, or at once.

    What the keys before it have signed is accepted until it ends by itself.

    Parameters
    ----------
    before
        Called with the key before it is kept; what it raises leaves everything as it was.
    """
    with _changing(data_dir) as (keys, write):
        at = int(time.time())
        begins = at + (0 if at_once else PUBLISHED_SECONDS)
        ends = begins + LONGEST_TOKEN_SECONDS
        begun = [key for key in keys if key.begins <= at]  # of one that has not there is no need
        signing = _signing(begun or keys, at)
        kept = [
            key._replace(ends=ends) if key is signing or key.ends is None else key
            for key in begun or keys
        ]
        made = Key(_generated(), begins, None)
        before(made)
        write([*kept, made])
        return made


def retire(data_dir: Path, kid: str, *, before: Callable[[Key], None] = lambda key: None) -> None:
    """End a key: no token that it signed is accepted any more.

    Parameters
    ----------
    before
        As `roll` takes it.

    Raises
    ------
    NotFound
        There is no such key.
    Conflict
        It is the one that signs, or will: first make another one.
    """
    with _changing(data_dir) as (keys, write):
        at = int(time.time())
        found = next((key for key in keys if key.id == kid), None)
        if found is None:
            raise NotFound(f"no key has the id {kid}")
        if found is _signing(keys, at) or found.ends is None:
            raise Conflict("this key signs: roll the keys first, and wait until the new one does")
        before(found)
        write([key._replace(ends=min(key.ends or at, at)) if key is found else key for key in keys])


def _signing(keys: Iterable[Key], at: float) -> Key:
    """Of the keys that have begun, the latest; by a clock that was put back, the first of all."""
    in_order = sorted(keys, key=lambda key: key.begins)
    return next((key for key in reversed(in_order) if key.begins <= at), in_order[0])


@contextmanager
def _changing(data_dir: Path) -> Iterator[tuple[list[Key], Callable[[list[Key]], None]]]:
    """Have the keys to oneself, and a function that writes them."""
    path = path_in(data_dir)
    if not path.exists():
        _create(path)
    with open(path.with_name("lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield _read(path), lambda keys: os.replace(_draft(path, keys), path)


def _read(path: Path) -> list[Key]:
    """Read a JSON Web Key Set."""
    found = KeySet.import_key_set(json.loads(path.read_text())).keys
    return [_key(key) for key in found if isinstance(key, RSAKey)]


def _key(key: RSAKey) -> Key:
    said = key.as_dict(private=False)
    ends: Any = said.get("exp")
    return Key(key, int(str(said.get("nbf", 0))), None if ends is None else int(ends))


def _generated() -> RSAKey:
    return RSAKey.generate_key(KEY_BITS, {"use": "sig", "alg": ALGORITHM}, auto_kid=True)


def _create(path: Path) -> None:
    """Make a signing key; when two processes try at once, the first to finish wins."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = _draft(path, [Key(_generated(), int(time.time()), None)])
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _draft(path: Path, keys: list[Key]) -> Path:
    """Write keys to a file beside, durable; of those that sign no more the public half alone."""
    at = time.time()
    signing = _signing(keys, at)
    written = []
    for key in keys:
        private = key is signing or key.begins > at
        times = {"nbf": key.begins} | ({} if key.ends is None else {"exp": key.ends})
        written.append((key.key.as_dict(private=True) if private else key.public) | times)
    draft = path.with_name(f".{secrets.token_hex(8)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(json.dumps({"keys": written}))
        file.flush()
        os.fsync(file.fileno())
    return draft
