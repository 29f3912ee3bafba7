"""Language codes, and the settings that are written with them."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from worker.settings.base import WrongValue
from worker.settings.values import expand_path, split_list, split_table

DEFAULT, UNSUPPORTED = "default", "unsupported"
"""Targets of a route that are not folders: the pack of `model.path`, and a dead letter."""

ANY, UNKNOWN = "*", "und"
"""Names in a route that are not languages: every other one, and an unknown one (BCP 47's own code)."""

_TAG = re.compile(r"[a-z]{2,3}(-[a-z0-9]{1,8})*")

# ISO 639-1, each with its ISO 639-3 code.
_CODES = """
aa:aar ab:abk ae:ave af:afr ak:aka am:amh an:arg ar:ara as:asm av:ava ay:aym az:aze ba:bak be:bel
bg:bul bi:bis bm:bam bn:ben bo:bod br:bre bs:bos ca:cat ce:che ch:cha co:cos cr:cre cs:ces cu:chu
cv:chv cy:cym da:dan de:deu dv:div dz:dzo ee:ewe el:ell en:eng eo:epo es:spa et:est eu:eus fa:fas
ff:ful fi:fin fj:fij fo:fao fr:fra fy:fry ga:gle gd:gla gl:glg gn:grn gu:guj gv:glv ha:hau he:heb
hi:hin ho:hmo hr:hrv ht:hat hu:hun hy:hye hz:her ia:ina id:ind ie:ile ig:ibo ii:iii ik:ipk io:ido
is:isl it:ita iu:iku ja:jpn jv:jav ka:kat kg:kon ki:kik kj:kua kk:kaz kl:kal km:khm kn:kan ko:kor
kr:kau ks:kas ku:kur kv:kom kw:cor ky:kir la:lat lb:ltz lg:lug li:lim ln:lin lo:lao lt:lit lu:lub
lv:lav mg:mlg mh:mah mi:mri mk:mkd ml:mal mn:mon mr:mar ms:msa mt:mlt my:mya na:nau nb:nob nd:nde
ne:nep ng:ndo nl:nld nn:nno no:nor nr:nbl nv:nav ny:nya oc:oci oj:oji om:orm or:ori os:oss pa:pan
pi:pli pl:pol ps:pus pt:por qu:que rm:roh rn:run ro:ron ru:rus rw:kin sa:san sc:srd sd:snd se:sme
sg:sag sh:hbs si:sin sk:slk sl:slv sm:smo sn:sna so:som sq:sqi sr:srp ss:ssw st:sot su:sun sv:swe
sw:swa ta:tam te:tel tg:tgk th:tha ti:tir tk:tuk tl:tgl tn:tsn to:ton tr:tur ts:tso tt:tat tw:twi
ty:tah ug:uig uk:ukr ur:urd uz:uzb ve:ven vi:vie vo:vol wa:wln wo:wol xh:xho yi:yid yo:yor za:zha
zh:zho zu:zul
"""
_SHORT = {long: short for short, long in (pair.split(":") for pair in _CODES.split())}
_TWO_LETTERS = frozenset(_SHORT.values())
_NO_LANGUAGE = frozenset({"und", "mis", "mul", "zxx", "art"})
"""Unknown, without a code, several, none, an artificial one of which nobody says which."""


def canonical(tag: str) -> str:
    """A tag in lower case, with the two-letter code where there is one: `ENG-US` and `en-us` are the same."""
    first, sign, rest = tag.strip().lower().replace("_", "-").partition("-")
    return _SHORT.get(first, first) + sign + rest


def primary(tag: str) -> str:
    """The language of a tag without script, country and the rest: `pt` for `POR-br`."""
    return canonical(tag).partition("-")[0]


def is_language(code: str) -> bool:
    """Whether a code of two or three letters stands for a language.

    Two letters must be in ISO 639-1. Three are taken as they are, since ISO 639-3 has thousands, but for the
    codes that say that there is no one language and those of private use, as in some platforms' posts.
    """
    code = code.lower()
    return code in _TWO_LETTERS if len(code) == 2 else code not in _NO_LANGUAGE and not "qaa" <= code <= "qtz"


def two_letters(tag: str) -> str | None:
    """The two-letter code (ISO 639-1) of a tag's language, None where it has none: `pt` for `POR-br`."""
    code = primary(tag)
    return code if code in _TWO_LETTERS else None


def check_language(value: str) -> str:
    """Return a language tag in its canonical form.

    Three letters are taken as they are: ISO 639-3 has thousands.

    Raises:
        WrongValue: it is not one, or its two letters stand for no language.
    """
    tag = canonical(value)
    code = tag.partition("-")[0]
    if _TAG.fullmatch(tag) is None or (len(code) == 2 and code not in _TWO_LETTERS):
        raise WrongValue("is not a language code; write ISO 639 codes, as in en, it or pt-BR", value)
    return tag


def check_route(table: dict[str, str]) -> dict[str, str]:
    """Return a route with canonical names and absolute folders.

    Raises:
        WrongValue: a name is not a language, a language appears twice, or a folder is not there.
    """
    route: dict[str, str] = {}
    for name, target in table.items():
        tag = name if name == ANY else check_language(name)
        if tag in route:
            raise WrongValue("appears twice", tag)
        route[tag] = target if target in {DEFAULT, UNSUPPORTED} else _folder(name, target)
    return route


def _folder(name: str, target: str) -> str:
    try:
        path = Path(str(expand_path(target))).resolve()
        found = bool(target) and path.is_dir()
    except (OSError, RuntimeError, WrongValue):
        found = False
    if not found:
        raise WrongValue(
            f"does not name a folder; write `{DEFAULT}`, `{UNSUPPORTED}` or the folder of a pack",
            f"{name}={target}",
        )
    return str(path)


LanguageTag = Annotated[str, AfterValidator(check_language)]
LanguageList = Annotated[list[LanguageTag], BeforeValidator(split_list)]
RouteTable = Annotated[dict[str, str], AfterValidator(check_route), BeforeValidator(split_table)]
