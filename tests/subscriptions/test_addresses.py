"""Which endpoints are called: threats T9, over what a name resolves to at that very moment."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.errors import Invalid, Unprocessable
from subscriptions.addresses import Addresses, endpoint, is_public, listed

pytestmark = pytest.mark.standard("threats T9")


def resolving(*addresses: str) -> Addresses:
    async def resolve(host: str, port: int) -> list[str]:
        return list(addresses)

    return Addresses(resolver=resolve)


@pytest.mark.parametrize(
    "text",
    [
        "http://hooks.example/fhir",
        "ftp://hooks.example/",
        "file:///etc/passwd",
        "gopher://hooks.example/",
        "javascript:alert(1)",
        "//hooks.example/",
        "hooks.example",
        "",
        "https://",
        "https:///path",
        "https://user:secret@hooks.example/",
        "https://hooks.example@127.0.0.1/",
        "https://hooks.example/#fragment",
        "https://hooks.example:0/",
        "https://hooks.example:99999/",
        "https://hooks.example\\@127.0.0.1/",
        "https://hooks.example/a b",
        "https://hooks.example/\r\nX-Injected: 1",
        "https://hooks.example/\x00",
        "https://-hooks.example/",
        "https://hooks..example/",
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://0x7f.1/",
        "https://127.0.0.1./",
        "https://10.0.0.1/",
        "https://172.16.0.1/",
        "https://192.168.1.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://100.64.0.1/",
        "https://0.0.0.0/",
        "https://255.255.255.255/",
        "https://224.0.0.1/",
        "https://[::1]/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://[::127.0.0.1]/",
        "https://[fe80::1]/",
        "https://[fe80::1%25eth0]/",
        "https://[fc00::1]/",
        "https://[ff02::1]/",
        "https://" + "a" * 3000 + ".example/",
    ],
)
def test_an_endpoint_that_is_never_called_is_refused_when_it_is_named(text: str) -> None:
    with pytest.raises(Unprocessable) as refused:
        Addresses().check(text, "lead")

    assert refused.value.at == "Subscription.channel.endpoint"
    assert text == "" or text not in refused.value.reason


@pytest.mark.parametrize(
    "text",
    ["https://hooks.example/fhir", "https://hooks.example:8443/a?b=c", "https://1.1.1.1/"],
)
def test_a_public_https_address_will_do(text: str) -> None:
    assert Addresses().check(text, "lead").url == text


@pytest.mark.anyio
@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "::ffff:169.254.169.254", "fd00::1"],
)
async def test_the_address_is_checked_after_resolution(address: str) -> None:
    with pytest.raises(Unprocessable):
        await resolving(address).reach("https://hooks.example/", "lead")


@pytest.mark.anyio
async def test_every_address_of_a_host_is_checked() -> None:
    with pytest.raises(Unprocessable):
        await resolving("1.1.1.1", "10.0.0.1").reach("https://hooks.example/", "lead")


@pytest.mark.anyio
async def test_the_very_addresses_that_were_checked_are_given() -> None:
    answers = [["1.1.1.1"], ["127.0.0.1"]]

    async def rebinding(host: str, port: int) -> list[str]:
        return answers.pop(0)

    found = await Addresses(resolver=rebinding).reach("https://hooks.example/", "lead")

    assert found[1] == ["1.1.1.1"]
    assert answers == [["127.0.0.1"]], "the name was resolved once"


@pytest.mark.anyio
async def test_loopback_is_called_by_explicit_setting_only_and_there_without_tls() -> None:
    allowed = Addresses("127.0.0.1:8090")

    assert await allowed.reach("http://127.0.0.1:8090/hook", "lead")
    for other in ("http://127.0.0.1:8091/", "http://127.0.0.2:8090/", "http://localhost:8090/"):
        with pytest.raises(Unprocessable):
            await allowed.reach(other, "lead")


def test_plain_http_is_for_loopback_alone() -> None:
    with pytest.raises(Unprocessable):
        Addresses("10.0.0.0/8").check("http://10.0.0.1/", "lead")


def test_a_list_may_be_for_one_organisation() -> None:
    addresses = Addresses("lead@10.0.0.0/8")

    assert addresses.check("https://10.1.1.1/", "lead").host == "10.1.1.1"
    with pytest.raises(Unprocessable):
        addresses.check("https://10.1.1.1/", "other")


def test_an_operator_may_allow_only_what_is_listed() -> None:
    addresses = Addresses("hooks.example", public=False)

    assert addresses.check("https://hooks.example/", "lead").host == "hooks.example"
    for other in ("https://elsewhere.example/", "https://1.1.1.1/"):
        with pytest.raises(Unprocessable):
            addresses.check(other, "lead")


@pytest.mark.parametrize("text", ["http://a", "a:b:c", "10.0.0.0/99", "a/b", "@", "lead@"])
def test_a_list_that_is_none_is_refused_when_the_server_starts(text: str) -> None:
    with pytest.raises(Invalid):
        listed(text)


@given(st.text(max_size=60))
def test_whatever_is_given_is_taken_apart_or_refused(text: str) -> None:
    for whole in (text, f"https://{text}"):
        try:
            found = endpoint(whole)
        except Unprocessable:
            continue
        assert found.scheme in ("http", "https")
        assert found.host
        assert not set(whole) & set(" \r\n\t\0@#\\")


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_within_an_ipv6_one_is_judged_by_itself(
    address: ipaddress.IPv4Address,
) -> None:
    mapped = ipaddress.ip_address(f"::ffff:{address}")

    assert is_public(address) or not is_public(mapped)
