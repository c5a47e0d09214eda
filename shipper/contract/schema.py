"""The vendor's documentation of an event, written by shipper as a JSON Schema (draft-07).

It holds only rules that the vendor has documented. It has no rule where the vendor is silent: the
shortest id, the smallest quantity, an order without lines. The vendor matches an event against
every type; this schema looks at `type` first, so that one mistake is one violation. It refuses
types that aren't listed; that is the difference between the modes `schema` and `envelope`.
"""

from typing import Any

# ISO 4217, list one, with the codes that were withdrawn since 2023: an order in a currency that
# ended recently is more likely than a misspelling that happens to be one of them.
CURRENCIES = (  # noqa: SIM905 - as a list it fills 183 lines
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BOV BRL BSD BTN "
    "BWP BYN BZD CAD CDF CHE CHF CHW CLF CLP CNY COP COU CRC CUC CUP CVE CZK DJF DKK DOP DZD EGP "
    "ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HRK HTG HUF IDR ILS INR IQD IRR "
    "ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD "
    "MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR "
    "PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SLL SOS SRD SSP STN SVC SYP SZL "
    "THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD USN UYI UYU UYW UZS VED VES VND VUV WST XAF "
    "XAG XAU XBA XBB XBC XBD XCD XCG XDR XOF XPD XPF XPT XSU XTS XUA XXX YER ZAR ZMW ZWG ZWL"
).split()

CONTENT_TYPES = (
    "customSet",
    "similarProducts",
    "matchingProductClusters",
    "productSet",
    "setCompose",
)

_STRING = {"type": "string"}
_NUMBER = {"type": "number"}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/definitions/{name}"}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    properties = {**required, **(optional or {})}
    return {"type": "object", "required": list(required), "properties": properties}


def _closed(required: dict[str, Any]) -> dict[str, Any]:
    return {**_object(required), "additionalProperties": False}


def _tagged(
    bodies: dict[str, dict[str, Any]],
    required: dict[str, Any] | None = None,
    optional: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the schema of an object whose `type` names the property that holds its body."""
    tag = {"type": {"enum": list(bodies)}}
    cases = [
        {
            "if": {"required": ["type"], "properties": {"type": {"const": name}}},
            "then": {"required": [name], "properties": {name: body}},
        }
        for name, body in bodies.items()
    ]
    return {**_object({**tag, **(required or {})}, optional), "allOf": cases}


_CONTEXT = {
    "type": "array",
    "items": _ref("contextEntry"),
    "uniqueItems": True,
    "contains": {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"const": "user"}},
    },
}

_PAYLOADS = {"view": _ref("content"), "interact": _ref("interact"), "order": _ref("order")}

EVENT_SCHEMA: dict[str, Any] = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "title": "An event for 8SELECT Analytics v3",
    **_tagged(_PAYLOADS, required={"context": _CONTEXT}),
    "definitions": {
        "content": _tagged(dict.fromkeys(CONTENT_TYPES, _ref("identified"))),
        "identified": _object({"id": _STRING}),
        "interact": _tagged({"product": _ref("product")}, optional={"action": _STRING}),
        "product": _closed({"sku": _STRING}),
        "order": _closed({"id": _STRING, "lines": {"type": "array", "items": _ref("line")}}),
        "line": _closed({"sku": _STRING, "quantity": _NUMBER, "grossPrice": _ref("price")}),
        "price": _closed({"amount": _NUMBER, "currency": {"enum": CURRENCIES}}),
        "contextEntry": _tagged(
            {
                "user": _ref("user"),
                "content": _ref("content"),
                "page": _object({"url": _STRING}),
                "session": _ref("identified"),
                "widget": _object({"id": _STRING, "type": _STRING}),
                "api": _object({"id": _STRING}, {"sourceIp": _STRING, "userAgent": _STRING}),
            }
        ),
        "user": _closed({"id": _STRING}),
    },
}
