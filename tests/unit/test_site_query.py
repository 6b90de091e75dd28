"""The query language of site checks behaves as MongoDB's, for the part that it has."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlmdm_core.errors import SettingsError
from qlmdm_core.server.audit.query import Query

REPORT = {
    "firewall": {"state": "off", "ipv4": "off", "zone": None},
    "os_info": {"id": "arch", "version": 3, "rolling": True},
    "disks": {"volumes": [{"mount": "/", "size": 10}, {"mount": "/home", "size": 90}]},
    "client": {"hostname": "laptop7", "tags": ["dev", "berlin"]},
}


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        ({"firewall.state": "off"}, True),
        ({"firewall.state": "on"}, False),
        ({"firewall.state": "off", "os_info.id": "debian"}, False),
        ({"$or": [{"firewall.state": "on"}, {"os_info.id": "arch"}]}, True),
        ({"$nor": [{"firewall.state": "on"}, {"os_info.id": "arch"}]}, False),
        ({"$and": [{"firewall.state": "off"}, {"os_info.version": {"$gte": 3}}]}, True),
        ({"os_info.version": {"$gt": 3}}, False),
        ({"os_info.version": {"$lt": "4"}}, False),
        ({"os_info.rolling": 1}, False),
        ({"os_info.rolling": True}, True),
        ({"os_info.rolling": {"$gt": 0}}, False),
        ({"firewall.zone": None}, True),
        ({"firewall.missing": None}, True),
        ({"firewall.missing": {"$exists": False}}, True),
        ({"firewall.zone": {"$exists": True}}, True),
        ({"firewall.missing": {"$ne": "x"}}, True),
        ({"firewall.state": {"$ne": "off"}}, False),
        ({"client.tags": "berlin"}, True),
        ({"client.tags": ["dev", "berlin"]}, True),
        ({"client.tags": {"$nin": ["paris"]}}, True),
        ({"client.tags.0": "dev"}, True),
        ({"client.tags.9": "dev"}, False),
        ({"disks.volumes.mount": "/home"}, True),
        ({"disks.volumes.size": {"$gt": 50}}, True),
        ({"disks.volumes.1.size": {"$lt": 50}}, False),
        ({"client.hostname": {"$regex": "^laptop[0-9]+$"}}, True),
        ({"client.hostname": {"$not": {"$regex": "^server"}}}, True),
        ({"os_info.version": {"$regex": "3"}}, False),
        ({"no.such.thing": {"$gt": 1}}, False),
    ],
)
def test_a_query_matches_as_in_mongodb(query: Any, matches: bool) -> None:
    assert Query(query).matches(REPORT) is matches


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({}, "expected a mapping"),
        ([], "expected a mapping"),
        ({"$where": "1"}, "not an operator here"),
        ({"a": {"$foo": 1}}, "unknown operator"),
        ({"a": {"$in": 3}}, "expected a list"),
        ({"$or": {}}, "expected a list of queries"),
        ({"a": {"$gt": None}}, "expected a number or text"),
        ({"a": {"$regex": "("}}, "$regex"),
        ({"a": {"$regex": "(a+)+$"}}, "can take for ever"),
        ({"a": {"$regex": "(?:a*){3,}"}}, "can take for ever"),
        ({"a": {"$regex": "x" * 501}}, "at most 500"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(query: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        Query(query, file="s.yml", key="audit.site_checks.x.query")


def test_a_query_knows_the_collectors_it_reads() -> None:
    query = Query({"$or": [{"firewall.state": "on"}, {"client.tags": "x"}, {"sshd.state": "y"}]})
    assert query.collectors == ("firewall", "sshd")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
OPERATORS = st.sampled_from(["$eq", "$ne", "$gt", "$in", "$nin", "$exists", "$regex", "$not", "a"])


@given(st.dictionaries(OPERATORS | st.text(max_size=4), JSON, max_size=3), JSON)
def test_any_query_is_answered_or_refused(query: Any, report: Any) -> None:
    with contextlib.suppress(SettingsError):
        assert Query({"a": query}).matches({"a": report}) in (True, False)
