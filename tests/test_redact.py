"""No password of an address leaves the process."""

import logging

import pytest

from kinestream.redact import MaskingFormatter, mask_secrets


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://admin:s3cr3t@127.0.0.1:8091/stream", "http://***@127.0.0.1:8091/stream"),
        ("rtsp://admin:p@ss:w0rd@camera.local:554/live/ch0", "rtsp://***@camera.local:554/live/ch0"),
        ("rtsp://admin:pa/s?s#@camera/live", "rtsp://***@camera/live"),
        ("rtsp://tokenonly@camera/live", "rtsp://***@camera/live"),
        ("rtsp://u:p@[fe80::1]:554/live", "rtsp://***@[fe80::1]:554/live"),
        ("http://camera/cgi?user=admin&pwd=s3cr3t", "http://camera/cgi?user=***&pwd=***"),
        ("http://camera/video?s3cr3t", "http://camera/video?***"),
        ("http://camera/video?mail=a@b", "http://camera/video?mail=***"),
        ("http://camera/a@2x.mjpg", "http://camera/a@2x.mjpg"),
        ("http://[::1]:8080/a@2x.mjpg", "http://[::1]:8080/a@2x.mjpg"),
        ("http://camera:8080/video#token=s3cr3t", "http://camera:8080/video#token=***"),
        ("rtsp://admin:it's<5>@camera/live", "rtsp://***@camera/live"),
        ("HTTPS://u:p@h", "HTTPS://***@h"),
        ("tcp://127.0.0.1:5556", "tcp://127.0.0.1:5556"),
        ("clip.mp4", "clip.mp4"),
    ],
)
def test_addresses(address: str, shown: str) -> None:
    assert mask_secrets(address) == shown
    assert mask_secrets(shown) == shown, "twice is as good as once"
    assert (
        mask_secrets(f"{address}: lost; trying {address}, again") == f"{shown}: lost; trying {shown}, again"
    )


def test_log_records_and_tracebacks() -> None:
    try:
        raise OSError("http://admin:s3cr3t@camera/ does not answer")
    except OSError as error:
        info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("k", 30, "f", 1, "lost %s", ("rtsp://u:s3cr3t@camera/",), info)
    shown = MaskingFormatter("%(message)s").format(record)
    assert "s3cr3t" not in shown and "rtsp://***@camera/" in shown and "http://***@camera/" in shown
