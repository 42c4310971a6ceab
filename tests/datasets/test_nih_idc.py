import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

import numpy as np
import pytest

from pipeline.bundle.listing import read_datalist
from pipeline.datasets.nih_pancreas import idc as idc
from pipeline.datasets.nih_pancreas import prepare as nih_pancreas


class _Bucket(ThreadingHTTPServer):
    """As much of S3 as the client of the Imaging Data Commons asks for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _BucketHandler)
        self.objects: dict[str, bytes] = {}
        self.sent: list[str] = []


class _BucketHandler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        server, url = self.server, urlsplit(self.path)
        query = parse_qs(url.query)
        if "prefix" in query:
            prefix = query["prefix"][0]
            listing = "".join(
                f"<Contents><Key>{escape(key)}</Key><Size>{len(body)}</Size>"
                f'<ETag>"{index}"</ETag><LastModified>2020-01-01T00:00:00.000Z</LastModified>'
                "<StorageClass>STANDARD</StorageClass></Contents>"
                for index, (key, body) in enumerate(server.objects.items())
                if key.startswith(prefix)
            )
            return self._answer(
                f"<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated>{listing}"
                "</ListBucketResult>".encode()
            )
        key = url.path.removeprefix("/idc-open-data").strip("/")
        if not key:  # where is the bucket?
            return self._answer(b"")
        if key not in server.objects:
            return self.send_error(404)
        body, status = server.objects[key], 200
        if span := self.headers.get("Range"):
            first, last = span.removeprefix("bytes=").split("-")
            body, status = body[int(first) : int(last or len(body)) + 1], 206
        if self.command == "GET":
            server.sent.append(key)
        return self._answer(body, status, total=len(server.objects[key]))

    def _answer(self, body, status=200, total=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status == 206:
            self.send_header("Content-Range", f"bytes 0-{len(body) - 1}/{total}")
        self.send_header("Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT")
        self.send_header("ETag", '"0"')
        self.send_header("x-amz-bucket-region", "us-east-1")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture(scope="module")
def client():
    """The client with its whole index, which takes seconds to load."""
    pytest.importorskip("idc_index")
    return idc.new_client()


@pytest.fixture
def bucket(client, monkeypatch):
    """Two series of three files in a bucket, and the client whose index lists just these."""
    rows = client.index[
        (client.index.collection_id == "pancreas_ct") & (client.index.Modality == "CT")
    ]
    rows = rows.sort_values("PatientID").head(2).copy()
    server = _Bucket()
    for series in rows.crdc_series_uuid:
        for number in range(3):
            key = f"{series}/{number}.dcm"
            server.objects[key] = np.random.default_rng(number).bytes(5000 + number)
    rows["instanceCount"], rows["series_size_MB"] = 3, 0.015003
    monkeypatch.setattr(client, "index", rows)
    monkeypatch.setattr(
        "idc_index.index.aws_endpoint_url", f"http://127.0.0.1:{server.server_port}"
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server, client
    server.shutdown()
    server.server_close()
    thread.join()


def test_series_that_did_not_come_whole_are_told_and_completed(bucket, tmp_path):
    server, client = bucket
    wanted = idc.list_series(client, "pancreas_ct")
    assert [series.patient for series in wanted] == ["PANCREAS_0001", "PANCREAS_0002"]
    lost = sorted(server.objects)[0]
    body = server.objects.pop(lost)
    folder = tmp_path / "with space ä"
    with pytest.raises(ConnectionError, match=r"1 of 2 series .* run the same command again"):
        idc.download_series(client, wanted, folder)
    before = len(server.sent)
    server.objects[lost] = body
    idc.download_series(client, wanted, folder)
    assert server.sent[before:] == [lost]
    assert len(list(folder.glob("PANCREAS_000[12]/*.dcm"))) == 6
    idc.download_series(client, wanted, folder)
    assert server.sent[before:] == [lost]


def test_the_index_of_the_client_lists_the_usable_cases(client):
    series = idc.list_series(client, nih_pancreas.COLLECTION)
    ours = read_datalist(nih_pancreas.DATALIST)
    cases = {case["patient"] for case in ours["training"] + ours["testing"]}
    assert [one.patient for one in series] == sorted(cases)
    assert sum(one.size for one in series) == pytest.approx(10e9, rel=0.1)
