"""Korean particles, whose form hangs on the last sound of the word before them.

A text says ``v{candidate}이(가)``; once the version is in, ``v3이`` or ``v2가`` is meant.
"""

from __future__ import annotations

import re
from typing import Final

_FORMS: Final = {
    "이(가)": ("이", "가"),
    "을(를)": ("을", "를"),
    "은(는)": ("은", "는"),
    "(으)로": ("으로", "로"),
}
_WHERE: Final = re.compile(r"([0-9가-힣])(이\(가\)|을\(를\)|은\(는\)|\(으\)로)")
_FIRST, _FINALS, _RIEUL = ord("가"), 28, 8
# How a number is read tells its last sound: 0 영, 1 일, 3 삼, 6 육, 7 칠 and 8 팔 end in one.
_DIGITS_CLOSED: Final = frozenset("013678")
_DIGITS_RIEUL: Final = frozenset("178")


def settle(text: str) -> str:
    """Choose the form of every particle after a digit or a Korean letter; leave the others."""
    return _WHERE.sub(_chosen, text)


def _chosen(found: re.Match[str]) -> str:
    letter, particle = found[1], found[2]
    closed, open_ = _FORMS[particle]
    ends_closed = _is_closed(letter) and not (particle == "(으)로" and _is_rieul(letter))
    return letter + (closed if ends_closed else open_)


def _is_closed(letter: str) -> bool:
    if letter.isdigit():
        return letter in _DIGITS_CLOSED
    return (ord(letter) - _FIRST) % _FINALS != 0


def _is_rieul(letter: str) -> bool:
    if letter.isdigit():
        return letter in _DIGITS_RIEUL
    return (ord(letter) - _FIRST) % _FINALS == _RIEUL
