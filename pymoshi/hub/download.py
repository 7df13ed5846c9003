"""Gets published files from the hub into its shared cache: checked, resumable, with errors that say what to do.

The transfer is huggingface_hub's, and so are the cache's layout, the token and the settings (HF_HOME, HF_TOKEN,
HF_ENDPOINT, HF_HUB_OFFLINE). Two things are added here. A file is put into the cache only after its checksum has been
found right. And a transfer that breaks, or is stopped, goes on where it was in the next run: huggingface_hub itself
throws a partial file away when its process gives up.
"""

import errno
import hashlib
import io
import logging
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from huggingface_hub import constants, get_token, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import get_hf_file_metadata, http_get, repo_folder_name
from huggingface_hub.utils import WeakFileLock, build_hf_headers  # type: ignore[attr-defined]

from pymoshi.errors import (
    Cancelled,
    ChecksumError,
    DiskSpaceError,
    DownloadError,
    GatedModelError,
    OfflineError,
    PymoshiError,
)
from pymoshi.hub.catalog import RemoteFile

__all__ = ["FileState", "Hub", "Progress", "WeakFileLock", "file_digest", "free_bytes", "human_size", "tell"]

log = logging.getLogger("pymoshi")

Progress = Callable[[int, int, str], bool | None]
"""Called with (bytes done, bytes in all, what is being done); returning False stops the work with `Cancelled`."""

READ_BLOCK = 4 << 20
MAX_REFRESHES = 20  # new links that one file may need while it grows; the hub's links live for an hour
PARTIAL = ".pymoshi-partial"
ETAG = re.compile(r"[A-Za-z0-9_-]{1,128}")


@dataclass(frozen=True, slots=True)
class FileState:
    """A published file as the hub describes it now, and what of it is here already."""

    file: RemoteFile
    size: int  # bytes
    local: Path | None  # in the cache, complete; None if it must be fetched
    partial: int = 0  # bytes that an earlier run has fetched
    commit: str = ""
    etag: str = ""
    url: str = ""

    @property
    def missing(self) -> int:
        """Bytes still to be fetched."""
        return 0 if self.local else self.size - self.partial


class Hub:
    """The hub and its cache on this machine.

    Args:
        endpoint: address of the hub; None for HF_ENDPOINT or the public one.
        cache: folder of the cache; None for the one of HF_HUB_CACHE or HF_HOME.
        offline: never use the network; None for HF_HUB_OFFLINE.
    """

    def __init__(self, endpoint: str | None = None, cache: Path | None = None, offline: bool | None = None) -> None:
        self.endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self.cache = cache or Path(constants.HF_HUB_CACHE)
        self.offline = constants.HF_HUB_OFFLINE if offline is None else offline

    def look(self, file: RemoteFile) -> FileState:
        """Finds out size and whereabouts of a file, without fetching it.

        Raises:
            DownloadError: the hub cannot be reached, wants a login, or does not have the file (see the subclasses).
        """
        cached = self.cached(file)
        if cached is not None:
            return FileState(file, cached.stat().st_size, cached, commit=cached.parent.name)
        if self.offline:
            raise OfflineError(
                f"{file} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it. "
                "Unset it, or bring the model here with `pymoshi models export` and `import`."
            )
        try:
            url = hf_hub_url(file.repo, file.path, revision=file.revision, endpoint=self.endpoint)
            found = get_hf_file_metadata(url, token=get_token(), endpoint=self.endpoint)
        except Exception as error:
            raise explain(error, file, self.endpoint) from error
        if not found.etag or not found.commit_hash or found.size is None:
            raise DownloadError(
                f"{self.endpoint} does not answer as the hub does (no size or checksum for {file}). "
                "Check HF_ENDPOINT, a proxy or a firewall in between."
            )
        if not ETAG.fullmatch(found.etag):  # it becomes the name of a file
            raise DownloadError(f"{self.endpoint} gave the odd checksum {found.etag[:80]!r} for {file}.")
        partial = self._partial(file, found.etag)
        n_partial = min(partial.stat().st_size, found.size) if partial.is_file() else 0
        return FileState(file, found.size, None, n_partial, found.commit_hash, found.etag, found.location)

    def cached(self, file: RemoteFile) -> Path | None:
        """The file in the cache if it is there, whoever put it there. Never uses the network."""
        try:
            found = hf_hub_download(
                file.repo, file.path, revision=file.revision, cache_dir=self.cache, local_files_only=True
            )
        except (LocalEntryNotFoundError, OSError, ValueError):
            return None
        return Path(found)

    def fetch(self, state: FileState, progress: Progress | None = None) -> Path:
        """Brings one file into the cache and checks its content. Resumes what an earlier run has left.

        Raises:
            ChecksumError: the content is not the published one; the file is removed.
            DownloadError: the transfer failed; running it again goes on from there.
        """
        file = state.file
        if state.local is not None:
            if self._is_sound(state.local, file, progress):
                return state.local
            log.warning("%s in the hub's cache is damaged: it is fetched again", file)
            self.discard(state.local)
            state = self.look(file)
        partial = self._partial(file, state.etag)
        blob = self._blobs(file) / state.etag
        try:
            lock = self.cache / ".locks" / self._repo_folder(file) / f"{state.etag}.pymoshi.lock"
            lock.parent.mkdir(parents=True, exist_ok=True)
            partial.parent.mkdir(parents=True, exist_ok=True)
            with WeakFileLock(lock):
                if not blob.exists():
                    self._transfer(state, partial, progress)
                    self._check(partial, state, progress)
                    os.replace(partial, blob)
            # The content is there: this makes the cache's links to it, after the hub's own rules.
            return Path(
                hf_hub_download(
                    file.repo,
                    file.path,
                    revision=file.revision,
                    cache_dir=self.cache,
                    endpoint=self.endpoint,
                    token=get_token(),
                )
            )
        except (PymoshiError, KeyboardInterrupt):
            raise
        except Exception as error:
            raise explain(error, file, self.endpoint) from error

    def discard(self, path: Path) -> None:
        """Removes a file from the cache, with its content."""
        content = path.resolve()
        path.unlink(missing_ok=True)
        if content.parent.name == "blobs" and self.cache.resolve() in content.parents:
            content.unlink(missing_ok=True)

    def snapshot(self, repo: str) -> Path | None:
        """The folder of a repository in the cache, as its last download left it; None if it is not there."""
        folder = self.cache / repo_folder_name(repo_id=repo, repo_type="model")
        main = folder / "refs" / "main"
        if main.is_file():
            current = folder / "snapshots" / main.read_text(encoding="utf-8").strip()
            if current.is_dir():
                return current
        snapshots = [path for path in (folder / "snapshots").glob("*") if path.is_dir()]
        return max(snapshots, key=lambda path: path.stat().st_mtime, default=None)

    def unfinished(self) -> list[Path]:
        """What interrupted downloads have left in the cache, to go on with."""
        return sorted(self.cache.glob(f"models--*/blobs/*{PARTIAL}"))

    def _transfer(self, state: FileState, partial: Path, progress: Progress | None) -> None:
        """Appends to `partial` until it is whole, asking for a new link whenever the old one has run out."""
        url = state.url
        for attempt in range(MAX_REFRESHES):
            with partial.open("ab") as target:
                start = target.tell()
                if start > state.size:  # left by something else
                    target.truncate(start := 0)
                output = _Counted(
                    target, start, lambda done: tell(progress, done, state.size, f"fetching {state.file.path}")
                )
                try:
                    http_get(
                        url,
                        output,  # type: ignore[arg-type]  # a BinaryIO as far as http_get goes
                        resume_size=start,
                        headers=self._headers(url),
                        expected_size=state.size,
                        tqdm_class=_NoBar,
                    )
                    return
                except Exception as error:
                    grown = target.tell() > start
                    if not grown or attempt + 1 == MAX_REFRESHES or not _is_worth_another_try(error):
                        raise
                    log.info("%s: %s; going on with a new link", state.file, error)
            url = self.look(state.file).url

    def _headers(self, url: str) -> dict[str, str]:
        headers: dict[str, str] = build_hf_headers(token=get_token())
        if not url.startswith(self.endpoint + "/"):  # a storage host gets a signed link, not the token
            headers.pop("authorization", None)
        return headers

    def _check(self, partial: Path, state: FileState, progress: Progress | None) -> None:
        if partial.stat().st_size != state.size or not self._is_sound(partial, state.file, progress, state.etag):
            found = file_digest(partial)
            partial.unlink()
            raise ChecksumError(
                f"{state.file} arrived, but its content is not the published one (SHA-256 {found[:16]}..., expected "
                f"{(state.file.sha256 or state.file.git_sha1 or state.etag)[:16]}...). It was removed. Try again; if "
                "that does not help, something between here and the hub changes files."
            )

    def _is_sound(self, path: Path, file: RemoteFile, progress: Progress | None, etag: str = "") -> bool:
        """Whether the content is what the catalog, or else the hub, says it should be."""
        expected = file.sha256 or file.git_sha1 or etag
        if len(expected) == 40:  # git's blob id: SHA-1 of a header and the content
            return file_digest(path, "sha1", b"blob %d\0" % path.stat().st_size) == expected
        if len(expected) != 64:  # nothing stated: the size is all there is to check
            return file.size is None or path.stat().st_size == file.size
        size = path.stat().st_size
        what = f"checking {file.path}"
        return file_digest(path, report=lambda done: tell(progress, done, size, what)) == expected

    def _repo_folder(self, file: RemoteFile) -> str:
        return repo_folder_name(repo_id=file.repo, repo_type="model")

    def _blobs(self, file: RemoteFile) -> Path:
        return self.cache / self._repo_folder(file) / "blobs"

    def _partial(self, file: RemoteFile, etag: str) -> Path:
        return self._blobs(file) / f"{etag}{PARTIAL}"


class _Counted(io.RawIOBase):
    """A file that reports how far it has been written: progress without a progress bar in the library."""

    def __init__(self, target: BinaryIO, start: int, report: Callable[[int], None]) -> None:
        self._target, self._report, self._done = target, report, start

    def write(self, data: Any) -> int:
        written = self._target.write(data)
        self._done += written
        self._report(self._done)
        return written

    def seek(self, offset: int, whence: int = 0) -> int:
        self._done = self._target.seek(offset, whence)
        return self._done

    def tell(self) -> int:
        return self._target.tell()

    def truncate(self, size: int | None = None) -> int:
        return self._target.truncate(size)


class _NoBar:
    """Stands in for huggingface_hub's progress bar, which would write to the terminal."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def update(self, n: float | None = 1) -> None:
        pass

    def __enter__(self) -> "_NoBar":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def explain(error: Exception, file: RemoteFile, endpoint: str) -> PymoshiError:
    """The typed error, with advice, for whatever the hub's client has raised."""
    # The client's network library differs between its major versions, so its errors are known by their names.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    status = error.response.status_code if isinstance(error, HfHubHTTPError) and error.response is not None else None
    if isinstance(error, PymoshiError):
        return error
    if isinstance(error, OfflineModeIsEnabled):
        return OfflineError(f"{file} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it.")
    if isinstance(error, GatedRepoError) or (
        file.gated and (isinstance(error, RepositoryNotFoundError) or status in (401, 403))
    ):
        return GatedModelError(_three_steps(file))
    if isinstance(error, (EntryNotFoundError, RevisionNotFoundError, RepositoryNotFoundError)):
        return DownloadError(
            f"The hub no longer has {file} (revision {file.revision[:12]}): it was moved, renamed or withdrawn. "
            "A newer pymoshi may know the new place."
        )
    if status in (401, 403):
        return DownloadError(
            f"The hub refuses {file} ({status}). If HF_TOKEN is set or `hf auth login` was used, the token may have "
            "run out; otherwise the repository has been made private."
        )
    if status is not None:
        return DownloadError(f"The hub answered {status} when asked for {file}. Try again later.")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskSpaceError(f"The disk became full while {file} was fetched. Make room and run it again to go on.")
    if "TimeoutException" in kinds:
        return DownloadError(f"{endpoint} did not answer in time for {file}. Run it again to go on where it stopped.")
    if "ConnectError" in kinds or "ProxyError" in kinds:
        return DownloadError(f"{endpoint} cannot be reached ({error}). Check the network, a proxy, or HF_ENDPOINT.")
    if "HTTPError" in kinds or "Consistency check" in str(error):
        return DownloadError(f"The connection broke while {file} was fetched. Run it again to go on where it stopped.")
    return DownloadError(f"{file} could not be fetched: {type(error).__name__}: {error}")


def _three_steps(file: RemoteFile) -> str:
    page = f"{constants.ENDPOINT.rstrip('/')}/{file.repo}"
    return (
        f"The authors of {file.repo} ask everybody to accept their licence before the download. Three steps, once:\n"
        f"  1. Open {page}, log in, and accept the licence.\n"
        f"  2. Make a token with read access at {constants.ENDPOINT.rstrip('/')}/settings/tokens.\n"
        "  3. Run `hf auth login` and paste it (or set HF_TOKEN), then run this command again."
    )


def _is_worth_another_try(error: Exception) -> bool:
    """Broken connections and links that ran out; not a full disk, not a stop by the user."""
    if isinstance(error, Cancelled):
        return False
    if isinstance(error, HfHubHTTPError):
        return error.response is not None and error.response.status_code in (401, 403, 410)
    return "Consistency check" in str(error) or "HTTPError" in {kind.__name__ for kind in type(error).__mro__}


def file_digest(
    path: Path, algorithm: str = "sha256", prefix: bytes = b"", report: Callable[[int], None] | None = None
) -> str:
    """Checksum of a file's content in hexadecimal; `prefix` is hashed before it."""
    digest = hashlib.new(algorithm, prefix)
    done = 0
    with path.open("rb") as file:
        while block := file.read(READ_BLOCK):
            digest.update(block)
            done += len(block)
            if report is not None:
                report(done)
    return digest.hexdigest()


def free_bytes(folder: Path) -> int:
    """Free disk space at `folder`, which need not exist yet."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def human_size(n_bytes: float) -> str:
    """Bytes for people: "4.7 GB"."""
    for unit in ("B", "kB", "MB"):
        if n_bytes < 999.5:
            return f"{n_bytes:.0f} {unit}" if unit != "MB" or n_bytes >= 10 else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} GB"


def tell(progress: Progress | None, done: int, total: int, what: str) -> None:
    """Reports to a progress callback, if there is one, and stops if it says so."""
    if progress is not None and progress(done, total, what) is False:
        raise Cancelled(f"Stopped while {what}.")
