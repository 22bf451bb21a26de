"""The OCI distribution specification 1.1, and what its next version adds, clause by clause.

Written from the specification's text; section names are those of spec.md.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.kit.registryclient import (
    EMPTY,
    INDEX,
    MANIFEST,
    Repository,
    descriptor,
    digest_of,
    error_code,
)
from tests.kit.servers import bpfpack_registry

ALGORITHMS = pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
BLOB = bytes(range(256)) * 8
_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with bpfpack_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry.url


@pytest.fixture
def repo(base: str) -> Iterator[Repository]:
    """A repository that nothing was pushed to."""
    with requests.Session() as session:
        yield Repository(base, f"conformance/test-{next(_NUMBERS)}", session)


@pytest.fixture
def other(repo: Repository) -> Repository:
    return Repository(repo.base, f"{repo.name}/other", repo.session)


class TestDeterminingSupport:
    def test_the_base_answers(self, repo: Repository) -> None:
        assert repo.call("GET", "/v2/").status_code == 200

    def test_unknown_endpoints_are_404_in_the_specs_shape(self, repo: Repository) -> None:
        for path in ("/", "/v1/", "/v2/x/y/nothing", "/v2/x/manifests", "/v2/blobs/uploads/"):
            reply = repo.call("GET", path)
            assert reply.status_code in (400, 404)
            error_code(reply)

    def test_a_wrong_method_is_405(self, repo: Repository) -> None:
        reply = repo.call("POST", "tags/list")
        assert (reply.status_code, error_code(reply)) == (405, "UNSUPPORTED")
        assert reply.headers["Allow"] == "GET"


class TestPushingBlobs:
    @ALGORITHMS
    def test_post_then_put(self, repo: Repository, algorithm: str) -> None:
        digest = digest_of(BLOB, algorithm)
        reply = repo.finish(repo.begin(), digest, BLOB)
        assert reply.status_code == 201
        assert reply.headers["Docker-Content-Digest"] == digest
        assert repo.call("GET", reply.headers["Location"]).content == BLOB

    @ALGORITHMS
    def test_single_post(self, repo: Repository, algorithm: str) -> None:
        digest = digest_of(BLOB, algorithm)
        reply = repo.call("POST", "blobs/uploads/", params={"digest": digest}, data=BLOB)
        assert reply.status_code == 201
        assert repo.call("GET", reply.headers["Location"]).content == BLOB

    @ALGORITHMS
    def test_chunks_with_an_unannounced_algorithm(self, repo: Repository, algorithm: str) -> None:
        reply = repo.chunk(repo.begin(), BLOB[:1000], "0-999")
        assert (reply.status_code, reply.headers["Range"]) == (202, "0-999")
        reply = repo.chunk(reply.headers["Location"], BLOB[1000:1500], "1000-1499")
        assert (reply.status_code, reply.headers["Range"]) == (202, "0-1499")
        location, digest = reply.headers["Location"], digest_of(BLOB, algorithm)
        reply = repo.finish(location, digest, BLOB[1500:], **{"Content-Range": "1500-2047"})
        assert reply.status_code == 201
        assert repo.call("GET", reply.headers["Location"]).content == BLOB
        assert repo.call("GET", location).status_code == 404

    @ALGORITHMS
    def test_announced_algorithm(self, repo: Repository, algorithm: str) -> None:
        asked = {"digest-algorithm": algorithm}
        reply = repo.call("POST", "blobs/uploads/", params=asked)
        assert reply.status_code == 202
        digest = digest_of(BLOB, algorithm)
        assert repo.finish(reply.headers["Location"], digest, BLOB).status_code == 201

    def test_unsupported_algorithm(self, repo: Repository) -> None:
        reply = repo.call("POST", "blobs/uploads/", params={"digest-algorithm": "md5"})
        assert (reply.status_code, error_code(reply)) == (400, "DIGEST_INVALID")

    @ALGORITHMS
    def test_streamed_without_content_range(self, repo: Repository, algorithm: str) -> None:
        location = repo.begin()
        reply = repo.call("PATCH", location, data=iter([BLOB[:700], BLOB[700:]]))
        assert (reply.status_code, reply.headers["Range"]) == (202, "0-2047")
        digest = digest_of(BLOB, algorithm)
        assert repo.finish(reply.headers["Location"], digest).status_code == 201
        assert repo.call("GET", f"blobs/{digest}").content == BLOB

    def test_the_empty_blob(self, repo: Repository) -> None:
        digest = repo.push_blob(b"")
        reply = repo.call("GET", f"blobs/{digest}")
        assert (reply.status_code, reply.content) == (200, b"")
        assert repo.call("HEAD", f"blobs/{digest}").headers["Content-Length"] == "0"

    def test_the_location_holds_a_uuid(self, repo: Repository) -> None:
        uuid = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
        assert re.search(uuid, repo.begin())

    def test_a_second_first_chunk_is_416_and_get_says_where_to_go_on(
        self, repo: Repository
    ) -> None:
        location = repo.begin()
        reply = repo.chunk(location, BLOB[:10], "5-14")
        assert reply.status_code == 416
        assert repo.call("GET", location).headers["Range"] == "0-0"
        assert repo.chunk(location, BLOB[:10], "0-9").status_code == 202
        assert repo.chunk(location, BLOB[:10], "0-9").status_code == 416
        found = repo.call("GET", location)
        assert (found.status_code, found.headers["Range"]) == (204, "0-9")
        assert found.headers["Location"] == location
        reply = repo.finish(location, digest_of(BLOB), BLOB[9:], **{"Content-Range": "9-2047"})
        assert reply.status_code == 416
        reply = repo.finish(location, digest_of(BLOB), BLOB[10:], **{"Content-Range": "10-2047"})
        assert reply.status_code == 201

    @pytest.mark.parametrize("where", ["0-98", "0-100"])
    def test_a_chunk_of_another_length_leaves_no_trace(self, repo: Repository, where: str) -> None:
        location = repo.begin()
        for body in (BLOB[:100], iter([BLOB[:100]])):
            reply = repo.call("PATCH", location, data=body, headers={"Content-Range": where})
            assert (reply.status_code, error_code(reply)) == (400, "SIZE_INVALID")
            repo.session.close()
            assert repo.call("GET", location).headers["Range"] == "0-0"
        assert repo.finish(location, digest_of(BLOB), BLOB).status_code == 201

    @pytest.mark.parametrize(
        "where", ["bytes 0-9/10", "9-0", "0-", "-9", "a-b", "0-99999999999999999999", ""]
    )
    def test_a_malformed_content_range_is_400(self, repo: Repository, where: str) -> None:
        reply = repo.call("PATCH", repo.begin(), data=BLOB[:10], headers={"Content-Range": where})
        assert (reply.status_code, error_code(reply)) == (400, "BLOB_UPLOAD_INVALID")

    @pytest.mark.parametrize("digest", ["sha256:baddigeststring", "x", "md5:00", ""])
    def test_a_malformed_digest_is_400(self, repo: Repository, digest: str) -> None:
        for reply in (
            repo.finish(repo.begin(), digest, BLOB),
            repo.call("POST", "blobs/uploads/", params={"digest": digest}, data=BLOB),
            repo.call("POST", "blobs/uploads/", params={"mount": digest}),
        ):
            assert (reply.status_code, error_code(reply)) == (400, "DIGEST_INVALID")

    def test_a_missing_digest_is_400_and_the_upload_stays(self, repo: Repository) -> None:
        location = repo.begin()
        reply = repo.call("PUT", location, data=BLOB)
        assert (reply.status_code, error_code(reply)) == (400, "DIGEST_INVALID")
        assert repo.finish(location, digest_of(BLOB), BLOB).status_code == 201

    @ALGORITHMS
    def test_other_bytes_than_the_digest_names(self, repo: Repository, algorithm: str) -> None:
        digest = digest_of(b"promised", algorithm)
        for reply in (
            repo.finish(repo.begin(), digest, BLOB),
            repo.call("POST", "blobs/uploads/", params={"digest": digest}, data=BLOB),
        ):
            assert (reply.status_code, error_code(reply)) == (400, "DIGEST_INVALID")
        assert repo.call("HEAD", f"blobs/{digest}").status_code == 404

    def test_cancelling(self, repo: Repository) -> None:
        location = repo.begin()
        repo.chunk(location, BLOB)
        assert repo.call("DELETE", location).status_code == 204
        for method in ("GET", "PATCH", "DELETE"):
            assert repo.call(method, location).status_code == 404
        reply = repo.finish(location, digest_of(BLOB))
        assert (reply.status_code, error_code(reply)) == (404, "BLOB_UPLOAD_UNKNOWN")

    def test_an_upload_belongs_to_its_repository(self, repo: Repository, other: Repository) -> None:
        upload = repo.begin().rpartition("/")[2]
        assert other.call("GET", f"blobs/uploads/{upload}").status_code == 404

    def test_content_encoding_is_refused(self, repo: Repository) -> None:
        reply = repo.finish(repo.begin(), digest_of(BLOB), BLOB, **{"Content-Encoding": "gzip"})
        assert reply.status_code == 415


class TestMounting:
    def test_from_another_repository(self, repo: Repository, other: Repository) -> None:
        digest = other.push_blob(b"mount me")
        asked = {"mount": digest, "from": other.name}
        reply = repo.call("POST", "blobs/uploads/", params=asked)
        assert reply.status_code == 201
        assert repo.call("GET", reply.headers["Location"]).content == b"mount me"

    def test_from_wherever_it_is(self, repo: Repository, other: Repository) -> None:
        digest = other.push_blob(b"mount me too")
        reply = repo.call("POST", "blobs/uploads/", params={"mount": digest})
        assert reply.status_code == 201
        assert repo.call("HEAD", f"blobs/{digest}").status_code == 200

    def test_a_missing_blob_opens_an_upload(self, repo: Repository, other: Repository) -> None:
        missing = b"nobody has this"
        asked = {"mount": digest_of(missing), "from": other.name}
        reply = repo.call("POST", "blobs/uploads/", params=asked)
        assert reply.status_code == 202
        finished = repo.finish(reply.headers["Location"], digest_of(missing), missing)
        assert finished.status_code == 201


class TestPullingBlobs:
    @ALGORITHMS
    def test_get_and_head(self, repo: Repository, algorithm: str) -> None:
        digest = repo.push_blob(BLOB, algorithm)
        for method, body in (("GET", BLOB), ("HEAD", b"")):
            reply = repo.call(method, f"blobs/{digest}")
            assert (reply.status_code, reply.content) == (200, body)
            assert reply.headers["Content-Length"] == "2048"
            assert reply.headers["Docker-Content-Digest"] == digest

    def test_unknown(self, repo: Repository) -> None:
        reply = repo.call("GET", f"blobs/{digest_of(b'unknown')}")
        assert (reply.status_code, error_code(reply)) == (404, "BLOB_UNKNOWN")
        assert repo.call("HEAD", f"blobs/{digest_of(b'unknown')}").status_code == 404

    def test_only_through_its_own_repository(self, repo: Repository, other: Repository) -> None:
        digest = other.push_blob(b"private to the other")
        assert repo.call("GET", f"blobs/{digest}").status_code == 404

    @pytest.mark.parametrize(
        ("asked", "start", "end"),
        [
            ("0-0", 0, 1),
            ("500-999", 500, 1000),
            ("2000-", 2000, 2048),
            ("-48", 2000, 2048),
            ("2000-9999", 2000, 2048),
            ("-9999", 0, 2048),
        ],
    )
    def test_ranges(self, repo: Repository, asked: str, start: int, end: int) -> None:
        digest = repo.push_blob(BLOB)
        reply = repo.call("GET", f"blobs/{digest}", headers={"Range": f"bytes={asked}"})
        assert (reply.status_code, reply.content) == (206, BLOB[start:end])
        assert reply.headers["Content-Range"] == f"bytes {start}-{end - 1}/2048"

    @pytest.mark.parametrize("asked", ["500-0", "5000-10000", "2048-", "-0"])
    def test_ranges_that_no_byte_satisfies(self, repo: Repository, asked: str) -> None:
        digest = repo.push_blob(BLOB)
        reply = repo.call("GET", f"blobs/{digest}", headers={"Range": f"bytes={asked}"})
        assert reply.status_code == 416
        assert reply.headers["Content-Range"] == "bytes */2048"

    @pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "lines=1-2", "bytes=-", "bytes=a-b"])
    def test_other_ranges_are_ignored(self, repo: Repository, asked: str) -> None:
        digest = repo.push_blob(BLOB)
        reply = repo.call("GET", f"blobs/{digest}", headers={"Range": asked})
        assert (reply.status_code, reply.content) == (200, BLOB)

    def test_conditions(self, repo: Repository) -> None:
        digest = repo.push_blob(BLOB)
        path, tag = f"blobs/{digest}", f'"{digest}"'
        assert repo.call("GET", path).headers["ETag"] == tag
        assert repo.call("GET", path, headers={"If-None-Match": tag}).status_code == 304
        assert repo.call("GET", path, headers={"If-None-Match": '"x"'}).status_code == 200
        part = {"Range": "bytes=0-9"}
        assert repo.call("GET", path, headers={**part, "If-Range": tag}).status_code == 206
        assert repo.call("GET", path, headers={**part, "If-Range": '"x"'}).status_code == 200


class TestManifests:
    @ALGORITHMS
    def test_by_tag_and_by_digest_byte_for_byte(self, repo: Repository, algorithm: str) -> None:
        raw = json.dumps(repo.artifact(), indent=3).encode() + b"\n"
        digest = digest_of(raw, algorithm)
        reply = repo.put_manifest(digest, raw)
        assert reply.status_code == 201
        assert reply.headers["Docker-Content-Digest"] == digest
        assert repo.call("GET", reply.headers["Location"]).content == raw
        assert repo.put_manifest("latest", raw).status_code == 201
        for reference, name in (("latest", digest_of(raw)), (digest, digest)):
            for method, body in (("GET", raw), ("HEAD", b"")):
                reply = repo.call(method, f"manifests/{reference}")
                assert (reply.status_code, reply.content) == (200, body)
                assert reply.headers["Content-Type"] == MANIFEST
                assert reply.headers["Content-Length"] == str(len(raw))
                assert reply.headers["Docker-Content-Digest"] == name

    @pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
    @pytest.mark.parametrize("reference", ["nothing", digest_of(b"unknown"), "-not-a-tag"])
    def test_unknown(self, repo: Repository, method: str, reference: str) -> None:
        reply = repo.call(method, f"manifests/{reference}")
        assert reply.status_code == 404
        assert method == "HEAD" or error_code(reply) == "MANIFEST_UNKNOWN"

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
    @pytest.mark.parametrize("digest", ["sha256:baddigeststring", "sha384:" + "0" * 96])
    def test_malformed_digest(self, repo: Repository, method: str, digest: str) -> None:
        reply = repo.call(
            method, f"manifests/{digest}", data=b"{}", headers={"Content-Type": MANIFEST}
        )
        assert (reply.status_code, error_code(reply)) == (400, "DIGEST_INVALID")

    def test_under_another_digest(self, repo: Repository) -> None:
        reply = repo.put_manifest(digest_of(b"other"), repo.artifact())
        assert (reply.status_code, error_code(reply)) == (400, "DIGEST_INVALID")

    def test_parameters_of_the_content_type_are_ignored(self, repo: Repository) -> None:
        manifest = repo.artifact()
        assert repo.put_manifest("x", manifest, f"{MANIFEST}; charset=utf-8").status_code == 201
        assert repo.call("GET", "manifests/x").headers["Content-Type"] == MANIFEST

    def test_a_tag_moves(self, repo: Repository) -> None:
        for version in ("1", "2"):
            manifest = repo.artifact(annotations={"version": version})
            assert repo.put_manifest("moving", manifest).status_code == 201
            assert repo.call("GET", "manifests/moving").json() == manifest

    def test_large(self, repo: Repository) -> None:
        manifest = repo.artifact(annotations={f"key-{i}": "x" * 10_000 for i in range(390)})
        assert repo.put_manifest("large", manifest).status_code == 201
        assert repo.call("GET", "manifests/large").json() == manifest

    @pytest.mark.parametrize("streamed", [False, True])
    def test_too_large(self, repo: Repository, streamed: bool) -> None:
        raw = b" " * (4 * 1024 * 1024 + 1)
        reply = repo.call(
            "PUT",
            "manifests/large",
            data=iter([raw]) if streamed else raw,
            headers={"Content-Type": MANIFEST},
        )
        assert (reply.status_code, error_code(reply)) == (413, "SIZE_INVALID")

    def test_indexes_nested_empty_and_sparse(self, repo: Repository) -> None:
        raw = json.dumps(repo.artifact()).encode()
        assert repo.put_manifest(digest_of(raw), raw).status_code == 201
        child = descriptor(raw, MANIFEST)
        absent = descriptor(b"another platform's", MANIFEST)
        inner = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]}
        nested = [descriptor(json.dumps(inner).encode(), INDEX)]
        assert repo.put_manifest("inner", inner).status_code == 201
        for name, children in (("nested", nested), ("empty", []), ("sparse", [child, absent])):
            index = inner | {"manifests": children}
            assert repo.put_manifest(name, index).status_code == 201
            reply = repo.call("GET", f"manifests/{name}")
            assert (reply.headers["Content-Type"], reply.json()) == (INDEX, index)

    def test_blobs_must_be_there(self, repo: Repository) -> None:
        layer = descriptor(b"never pushed", "application/x")
        reply = repo.put_manifest("x", repo.artifact(layers=[layer]))
        assert (reply.status_code, error_code(reply)) == (404, "MANIFEST_BLOB_UNKNOWN")
        assert layer["digest"] in reply.text
        assert repo.call("GET", "manifests/x").status_code == 404

    @pytest.mark.parametrize(
        "media_type",
        [
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ],
    )
    def test_non_distributable_layers_need_not_be(self, repo: Repository, media_type: str) -> None:
        layer = descriptor(b"elsewhere", media_type, urls=["https://store.example/layer"])
        assert repo.put_manifest("x", repo.artifact(layers=[layer])).status_code == 201

    def test_embedded_data_custom_fields_and_sha512_layers(self, repo: Repository) -> None:
        repo.push_blob(BLOB, "sha512")
        manifest = repo.artifact(
            config={**EMPTY, "data": "e30="},
            layers=[descriptor(BLOB, "application/x", "sha512", custom={"a": [1, None]})],
            **{"org.example.custom": "kept"},
        )
        assert repo.put_manifest("x", manifest).status_code == 201
        assert repo.call("GET", "manifests/x").json() == manifest

    def test_without_layers(self, repo: Repository) -> None:
        assert repo.put_manifest("x", repo.artifact(layers=[])).status_code == 201

    def test_many_tags_at_once(self, repo: Repository) -> None:
        raw, tags = json.dumps(repo.artifact()).encode(), [f"v{i}" for i in range(10)]
        reply = repo.call(
            "PUT",
            f"manifests/{digest_of(raw)}",
            params=[("tag", tag) for tag in tags],
            data=raw,
            headers={"Content-Type": MANIFEST},
        )
        assert reply.status_code == 201
        assert [t.strip() for t in reply.headers["OCI-Tag"].split(",")] == tags
        assert repo.call("GET", "tags/list").json()["tags"] == tags
        reply = repo.call(
            "PUT",
            f"manifests/{digest_of(raw)}",
            params=[("tag", f"t{i}") for i in range(101)],
            data=raw,
            headers={"Content-Type": MANIFEST},
        )
        assert reply.status_code == 414


class TestTags:
    def push_tags(self, repo: Repository, *tags: str) -> None:
        manifest = repo.artifact()
        for tag in tags:
            assert repo.put_manifest(tag, manifest).status_code == 201

    def listed(self, repo: Repository, **query: str) -> tuple[list[str], str | None]:
        reply = repo.call("GET", "tags/list", params=query)
        assert reply.status_code == 200
        assert reply.json()["name"] == repo.name
        return reply.json()["tags"], reply.links.get("next", {}).get("url")

    def test_an_unknown_repository(self, repo: Repository) -> None:
        reply = repo.call("GET", "tags/list")
        assert (reply.status_code, error_code(reply)) == (404, "NAME_UNKNOWN")

    def test_order_n_and_last(self, repo: Repository) -> None:
        self.push_tags(repo, "b", "a", "C", "_x", "10", "9")
        everything = ["10", "9", "C", "_x", "a", "b"]
        assert self.listed(repo) == (everything, None)
        assert self.listed(repo, last="C") == (["_x", "a", "b"], None)
        assert self.listed(repo, last="D") == (["_x", "a", "b"], None)
        assert self.listed(repo, n="0") == ([], None)
        assert self.listed(repo, n="6") == (everything, None)
        assert self.listed(repo, n="2", last="a") == (["b"], None)

    def test_following_links(self, repo: Repository) -> None:
        self.push_tags(repo, *"abcde")
        pages: list[str] = []
        tags, following = self.listed(repo, n="2")
        while following:
            pages.append("".join(tags))
            reply = repo.call("GET", following)
            tags, following = reply.json()["tags"], reply.links.get("next", {}).get("url")
        assert [*pages, "".join(tags)] == ["ab", "cd", "e"]

    @pytest.mark.parametrize("n", ["-1", "x", "1.5", "\u0663", "9" * 400])
    def test_n_that_is_no_number(self, repo: Repository, n: str) -> None:
        self.push_tags(repo, "a")
        assert repo.call("GET", "tags/list", params={"n": n}).status_code == 400

    @pytest.mark.parametrize("tag", ["-x", ".x", "x" * 129, "a b", "é"])
    def test_names_that_are_none(self, repo: Repository, tag: str) -> None:
        reply = repo.put_manifest(tag, repo.artifact())
        assert (reply.status_code, error_code(reply)) == (400, "MANIFEST_INVALID")


class TestReferrers:
    SUBJECT = descriptor(b"a subject that was never pushed", MANIFEST)

    def put(self, repo: Repository, manifest: dict[str, Any]) -> dict[str, Any]:
        raw = json.dumps(manifest).encode()
        reply = repo.put_manifest(digest_of(raw), raw)
        assert reply.status_code == 201
        assert reply.headers["OCI-Subject"] == self.SUBJECT["digest"]
        found: dict[str, Any] = descriptor(raw, manifest["mediaType"])
        return found

    def listed(self, repo: Repository, **query: str) -> tuple[list[Any], requests.Response]:
        reply = repo.call("GET", f"referrers/{self.SUBJECT['digest']}", params=query)
        assert reply.status_code == 200
        assert reply.headers["Content-Type"] == INDEX
        index = reply.json()
        assert (index["schemaVersion"], index["mediaType"]) == (2, INDEX)
        return index["manifests"], reply

    def test_none_in_an_unknown_repository(self, repo: Repository) -> None:
        assert self.listed(repo)[0] == []

    def test_a_malformed_digest(self, repo: Repository) -> None:
        reply = repo.call("GET", "referrers/sha256:baddigeststring")
        assert (reply.status_code, error_code(reply)) == (400, "DIGEST_INVALID")

    def test_what_descriptors_say(self, repo: Repository) -> None:
        typed = repo.artifact(subject=self.SUBJECT, annotations={"a": "b"})
        plain = repo.artifact(subject=self.SUBJECT)
        del plain["artifactType"]
        index = {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [],
            "subject": self.SUBJECT,
        }
        wanted = [
            {
                **self.put(repo, typed),
                "artifactType": "application/vnd.test",
                "annotations": {"a": "b"},
            },
            {**self.put(repo, plain), "artifactType": EMPTY["mediaType"]},
            self.put(repo, index),
            {**self.put(repo, {**index, "artifactType": "x/y"}), "artifactType": "x/y"},
        ]
        found, reply = self.listed(repo)
        assert sorted(found, key=str) == sorted(wanted, key=str)
        assert "OCI-Filters-Applied" not in reply.headers
        found, reply = self.listed(repo, artifactType="x/y")
        assert found == [wanted[3]]
        assert reply.headers["OCI-Filters-Applied"] == "artifactType"
        assert self.listed(repo, artifactType="no/such")[0] == []

    def test_pages(self, repo: Repository) -> None:
        large = {f"key-{i}": "x" * 10_000 for i in range(100)}
        pushed = {
            self.put(repo, repo.artifact(subject=self.SUBJECT, annotations={**large, "n": str(n)}))[
                "digest"
            ]
            for n in range(5)
        }
        found, reply = self.listed(repo, artifactType="application/vnd.test")
        pages = [found]
        while "next" in reply.links:
            assert len(reply.content) <= 4 * 1024 * 1024
            reply = repo.call("GET", reply.links["next"]["url"])
            assert reply.headers["OCI-Filters-Applied"] == "artifactType"
            pages.append(reply.json()["manifests"])
        assert len(pages) > 1
        assert sorted(d["digest"] for page in pages for d in page) == sorted(pushed)

    def test_a_deleted_referrer_is_gone_and_a_deleted_subject_keeps_its_own(
        self, repo: Repository
    ) -> None:
        subject = json.dumps(repo.artifact()).encode()
        name = digest_of(subject)
        assert repo.put_manifest(name, subject).status_code == 201
        raw = json.dumps(repo.artifact(subject=descriptor(subject, MANIFEST))).encode()
        assert repo.put_manifest(digest_of(raw), raw).status_code == 201
        assert repo.call("DELETE", f"manifests/{name}").status_code == 202
        assert len(repo.call("GET", f"referrers/{name}").json()["manifests"]) == 1
        assert repo.call("DELETE", f"manifests/{digest_of(raw)}").status_code == 202
        assert repo.call("GET", f"referrers/{name}").json()["manifests"] == []


class TestDeleting:
    def test_a_tag_leaves_the_manifest(self, repo: Repository) -> None:
        raw = json.dumps(repo.artifact()).encode()
        for tag in ("a", "b"):
            repo.put_manifest(tag, raw)
        assert repo.call("DELETE", "manifests/a").status_code == 202
        assert repo.call("HEAD", "manifests/a").status_code == 404
        assert repo.call("DELETE", "manifests/a").status_code == 404
        assert repo.call("GET", "manifests/b").content == raw
        assert repo.call("GET", "tags/list").json()["tags"] == ["b"]

    def test_a_manifest_takes_its_tags_along(self, repo: Repository) -> None:
        raw = json.dumps(repo.artifact()).encode()
        for tag in ("a", "b"):
            repo.put_manifest(tag, raw)
        assert repo.call("DELETE", f"manifests/{digest_of(raw)}").status_code == 202
        for reference in ("a", "b", digest_of(raw)):
            assert repo.call("HEAD", f"manifests/{reference}").status_code == 404
        assert repo.call("GET", "tags/list").json()["tags"] == []
        assert repo.put_manifest("a", raw).status_code == 201
        assert repo.call("GET", "manifests/a").content == raw

    def test_a_blob_leaves_other_repositories_alone(
        self, repo: Repository, other: Repository
    ) -> None:
        digest = repo.push_blob(b"shared by two")
        other.push_blob(b"shared by two")
        assert repo.call("DELETE", f"blobs/{digest}").status_code == 202
        assert repo.call("HEAD", f"blobs/{digest}").status_code == 404
        reply = repo.call("DELETE", f"blobs/{digest}")
        assert (reply.status_code, error_code(reply)) == (404, "BLOB_UNKNOWN")
        assert other.call("GET", f"blobs/{digest}").content == b"shared by two"
        assert other.call("DELETE", f"blobs/{digest}").status_code == 202
        assert repo.push_blob(b"shared by two") == digest
        assert repo.call("GET", f"blobs/{digest}").content == b"shared by two"


def test_the_kits_own_constants_are_right() -> None:
    assert EMPTY["digest"] == f"sha256:{hashlib.sha256(b'{}').hexdigest()}"
