"""Paths and ranges: a value or a fault, nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfpack.registry.server.faults import Fault
from bpfpack.registry.server.ranges import Span, held, parse_chunk, parse_range
from bpfpack.registry.server.routes import Kind, Route, parse_path
from bpfpack.spec.reference import valid_repository


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v2/", Route(Kind.BASE)),
        ("/v2", Route(Kind.BASE)),
        ("/v2/x/blobs/uploads/", Route(Kind.UPLOADS, "x")),
        ("/v2/x/blobs/uploads", Route(Kind.UPLOADS, "x")),
        ("/v2/x/y/blobs/uploads/id", Route(Kind.UPLOAD, "x/y", "id")),
        ("/v2/x/blobs/sha256:0", Route(Kind.BLOB, "x", "sha256:0")),
        ("/v2/x/tags/list", Route(Kind.TAGS, "x")),
        ("/v2/x/referrers/sha256:0", Route(Kind.REFERRERS, "x", "sha256:0")),
        # Repositories may be called what endpoints are called.
        ("/v2/a/blobs/uploads/manifests/t", Route(Kind.MANIFEST, "a/blobs/uploads", "t")),
        ("/v2/manifests/manifests/manifests", Route(Kind.MANIFEST, "manifests", "manifests")),
        ("/v2/tags/list/tags/list", Route(Kind.TAGS, "tags/list")),
    ],
)
def test_paths_are_read_from_the_right(path: str, route: Route) -> None:
    assert parse_path(path) == route


@pytest.mark.parametrize(
    "name", ["..", "../../etc", "a/../b", "A", "a//b", "a/", "/a", "a\0", "a/.", "a_", "x" * 256]
)
def test_names_that_could_leave_the_store_are_invalid(name: str) -> None:
    with pytest.raises(Fault) as caught:
        parse_path(f"/v2/{name}/manifests/latest")
    assert (caught.value.http_status, caught.value.code) == (400, "NAME_INVALID")


@given(st.text(alphabet="/.av2_:%-\0é", max_size=40) | st.text(max_size=40))
def test_any_path_is_a_route_or_a_fault(text: str) -> None:
    try:
        route = parse_path(f"/v2/{text}")
    except Fault as fault:
        assert fault.http_status in (400, 404)
    else:
        assert route.kind is Kind.BASE or valid_repository(route.repository)


@given(st.text(alphabet="bytes=0123456789-, ", max_size=30), st.integers(0, 10_000))
def test_any_range_lies_inside_the_blob(text: str, size: int) -> None:
    try:
        span = parse_range(text, size)
    except Fault as fault:
        assert fault.http_status == 416
    else:
        assert span is None or (0 <= span.start <= span.last < size)


@given(st.text(alphabet="0123456789-", max_size=50))
def test_any_chunk_is_not_empty(text: str) -> None:
    try:
        span = parse_chunk(text)
    except Fault as fault:
        assert fault.http_status == 400
    else:
        assert span is not None
        assert span.count > 0


def test_an_empty_blob_has_no_range() -> None:
    assert parse_range(None, 0) is None
    with pytest.raises(Fault):
        parse_range("bytes=0-0", 0)
    with pytest.raises(Fault):
        parse_range("bytes=-1", 0)


def test_what_is_held() -> None:
    assert [held(0), held(1), held(1000)] == ["0-0", "0-0", "0-999"]
    assert parse_chunk("5-9") == Span(5, 5)
