"""What a file is that is not a pickle, by its bytes, and what to do with it."""

import codecs
import re

_UNPACK = "unpack it and give the .pkl that is in it"
_SAVE = "load it and save a dict of plain numpy arrays with pickle"
_AGAIN = "download the feature file itself again"
# Beginnings that no pickle has.
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "a gzip file", "unpack it (gunzip) and give the .pkl that is in it"),
    (b"BZh", "a bzip2 file", "unpack it (bunzip2) and give the .pkl that is in it"),
    (b"\xfd7zXZ\0", "an xz file", "unpack it (unxz) and give the .pkl that is in it"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "unpack it (unzstd) and give the .pkl that is in it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it (7z x) and give the .pkl that is in it"),
    (b"Rar!\x1a\x07", "a rar archive", _UNPACK),
    (b"\x93NUMPY", "a single numpy array (.npy)", "save a dict of all fields with pickle"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (.h5, .csd)", _SAVE),
    (b"PAR1", "a Parquet file", _SAVE),
    (b"ARROW1", "an Arrow file", "give the folder of prepared data, or the .pkl it was made from"),
    (b"MATLAB 5", "a MATLAB file", _SAVE),
    (
        b"version https://git-lfs.github.com/",
        "a Git LFS pointer, which only names the file",
        "fetch the file itself with `git lfs pull`",
    ),
    # The number that older versions of torch.save begin with, itself a pickle.
    (
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
        "a file of torch.save (.pt)",
        "load it with torch.load and save plain numpy arrays (x.numpy()) with pickle",
    ),
    # Byte 0x80, which pickles begin with, as text editors and converters replace it.
    (
        b"\xef\xbf\xbd",
        "a binary file that was saved as text",
        "copy it again in binary mode; its bytes are lost",
    ),
)
_ZIP = b"PK\x03\x04"
_TAR = slice(257, 262)
_PROTOCOL_0 = re.compile(rb"\([dlt]|c[\w.]+\r?\n\w+\r?\n|[\]}]")  # how its pickles begin


def foreign(head: bytes) -> str | None:
    """What a file is whose beginning no pickle has, and the remedy; None if it may be one.

    Args:
        head: the first bytes of the file, at least 512 if it has them.
    """
    if not head:
        return "an empty file: the download or copy failed, so fetch it again"
    for beginning, kind, remedy in _SIGNATURES:
        if head.startswith(beginning):
            return f"{kind}: {remedy}"
    if head.startswith(_ZIP):
        return _zip(head)
    if head[_TAR] == b"ustar":
        return f"a tar archive: {_UNPACK}"
    if not head.strip(b"\0"):
        return "a file of zeros, so an unfinished download: fetch it again"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return f"a web page (HTML), such as a login or an error page: {_AGAIN}"
    if text.startswith((b"{", b"[")):
        return f"a JSON file: {_SAVE}"
    return None


def _zip(head: bytes) -> str:
    """By the name of the first member."""
    size = int.from_bytes(head[26:28], "little")
    member = head[30 : 30 + size]
    if member.endswith((b"/data.pkl", b"/byteorder", b"/.format_version", b"/version")):
        return (
            "a file of torch.save (.pt): load it with torch.load and save plain numpy arrays "
            "(x.numpy()) with pickle"
        )
    if member.endswith(b".npy"):
        return "a numpy archive (.npz): load it with numpy.load and save a dict with pickle"
    return f"a zip archive: {_UNPACK}"


def damage(head: bytes, why: str, *, ended: bool) -> str | None:
    """What became of a file that began like a pickle and could not be read to its end.

    Args:
        head: the first bytes of the file, the more the better.
        why: the error that reading it ended with.
        ended: the file has no more bytes.
    """
    if not _PROTOCOL_0.match(head) and _is_text(head[:512]):
        return f"a text file (CSV?): {_SAVE}"
    lines, kept = head.count(b"\n"), head.count(b"\r\n")
    if kept > 2 and kept == lines:
        return (
            "a pickle whose line ends were changed to CRLF: copy it again in binary mode (ftp: "
            "`binary`; git: `*.pkl binary` in .gitattributes)"
        )
    if "invalid load key, '\\x00'" in why:
        return "a file with zeros where data should be, so an unfinished download: fetch it again"
    if ended:
        return "the beginning of one, it is truncated: copy it again"
    return None


def _is_text(head: bytes) -> bool:
    try:
        # The last letter may be cut off, nothing else may be wrong.
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter in "\t\r\n" for letter in text)
